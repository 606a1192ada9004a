"""How far a run has come, on the terminal and in the log."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from tqdm.auto import tqdm

from genarium.files import file_errors, write_text
from genarium.training.run_folder import RunFolder


class Progress:
    """The progress of a run: steps, time, the log, and the bar on the terminal."""

    def __init__(
        self, name, accelerator: Accelerator, run: RunFolder, step: int, num_steps: int, seconds: float, on_step
    ):
        main = accelerator.is_main_process
        self.accelerator, self.on_step = accelerator, on_step
        self.step = step
        self._started = time.monotonic() - seconds
        self._bar = tqdm(initial=step, total=num_steps, desc=name, disable=not main, mininterval=1.0)
        self._log: Any = _open_log(run.log, step) if main else None  # only the main process writes it

    @property
    def seconds(self) -> float:
        """Spent on the run so far, with what came before it was resumed."""
        return time.monotonic() - self._started

    def advance(self, loss: float, images_per_second: float) -> None:
        """Show that one step is done. Only the main process calls this."""
        self._bar.update()
        self._bar.set_postfix(loss=f"{loss:.4f}", images_per_s=f"{images_per_second:.0f}")
        if self.on_step:
            self.on_step(self.step, loss)

    def log(self, scalars: dict[str, float], stage: str | None) -> None:
        self.accelerator.log(scalars, step=self.step)
        row = {"step": self.step} | ({} if stage is None else {"stage": stage})
        assert self._log is not None
        with file_errors(self._log.name):
            self._log.write(json.dumps(row | {k: round(v, 6) for k, v in scalars.items()}) + "\n")
            self._log.flush()

    def close(self) -> None:
        self._bar.close()
        if self._log:
            self._log.close()


def _open_log(path: Path, step: int):
    """Open the log to append to, without what a killed run wrote after the state it is resumed from."""
    rows = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    kept = []
    for row in rows:
        with contextlib.suppress(ValueError, KeyError, TypeError):  # a kill can leave half a line
            kept += [f"{row}\n"] if json.loads(row)["step"] <= step else []
    return write_text(path, "".join(kept)).open("a", encoding="utf-8")
