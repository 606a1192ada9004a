"""How far a run has come, on the terminal, in the log, and in a state that survives a kill."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from tqdm.auto import tqdm

from genarium.errors import GenariumError
from genarium.recipe import Recipe


class Progress:
    """How far a run has come: steps, time, the log, and what the terminal shows."""

    def __init__(self, name, accelerator: Accelerator, run: Path, step: int, num_steps: int, seconds: float, on_step):
        main = accelerator.is_main_process
        self.accelerator, self.on_step = accelerator, on_step
        self.step = step
        self._started = time.monotonic() - seconds
        self._bar = tqdm(initial=step, total=num_steps, desc=name, disable=not main, mininterval=1.0)
        self._log = _open_log(run / "log.jsonl", step) if main else None

    @property
    def seconds(self) -> float:
        """Spent on the run so far, with what came before it was resumed."""
        return time.monotonic() - self._started

    def advance(self, loss: float, images_per_second: float) -> None:
        """One step is done; main process only."""
        self._bar.update()
        self._bar.set_postfix(loss=f"{loss:.4f}", images_per_s=f"{images_per_second:.0f}")
        if self.on_step:
            self.on_step(self.step, loss)

    def log(self, scalars: dict[str, float], stage: str | None) -> None:
        self.accelerator.log(scalars, step=self.step)
        row = {"step": self.step} | ({} if stage is None else {"stage": stage})
        self._log.write(json.dumps(row | {k: round(v, 6) for k, v in scalars.items()}) + "\n")
        self._log.flush()

    def close(self) -> None:
        self._bar.close()
        if self._log:
            self._log.close()


def _open_log(path: Path, step: int):
    """The log to append to, without what a killed run wrote after the state it is resumed from."""
    rows = path.read_text().splitlines() if path.exists() else []
    kept = []
    for row in rows:
        with contextlib.suppress(ValueError):  # a kill can leave half a line
            kept += [f"{row}\n"] if json.loads(row)["step"] <= step else []
    path.write_text("".join(kept))
    return path.open("a")


def save_state(accelerator: Accelerator, run: Path, recipe: Recipe, step: int, seconds: float, stage: int) -> None:
    """Write beside, then rename: a kill at any moment leaves one whole state."""
    temporary, state = run / "state.part", run / "state"
    accelerator.wait_for_everyone()
    accelerator.save_state(str(temporary))
    if accelerator.is_main_process:
        facts = {"step": step, "seconds": seconds, "stage": stage, **_identity(recipe)}
        (temporary / "state.json").write_text(json.dumps(facts))
        old = run / "state.old"
        shutil.rmtree(old, ignore_errors=True)
        if state.exists():
            state.rename(old)
        temporary.rename(state)
        shutil.rmtree(old, ignore_errors=True)
    accelerator.wait_for_everyone()


def _identity(recipe: Recipe) -> dict[str, Any]:
    """What must not change between a saved state and the run that goes on from it."""
    spec = recipe.training
    facts = {"architecture": dict(recipe.architecture), "batch_size": spec.batch_size, "images": spec.images}
    if spec.stages:
        sections = [spec.of_stage(stage) for stage in spec.stages]
        facts["stages"] = [[a.name, b.images, b.batch_size] for a, b in zip(spec.stages, sections)]
    return json.loads(json.dumps(facts))


def _goes_on(before: Any, now: Any, key: str) -> bool:
    """Whether a saved fact allows to go on. Stages may have been added after those that were there."""
    return before == now or (key == "stages" and bool(before) and now[: len(before)] == before)


def saved_state(run: Path, recipe: Recipe) -> tuple[Path | None, dict[str, Any]]:
    """The last whole state, if any -> (its folder, {"step": steps done, "seconds": spent, "stage": index of the stage}).

    A recipe that has got further stages since goes on from a run that was finished without them.

    Raises:
        GenariumError: it is of another recipe.
    """
    for folder in (run / "state", run / "state.old"):
        if not (folder / "state.json").exists():
            continue
        facts = json.loads((folder / "state.json").read_text())
        changed = [k for k, v in _identity(recipe).items() if not _goes_on(facts.get(k), v, k)]
        if changed:
            raise GenariumError(
                f"{folder} was saved with another {' and '.join(changed)} than the recipe has now. "
                "Put the recipe back, or begin anew with --fresh."
            )
        return folder, {"stage": 0, **facts}
    return None, {"step": 0, "seconds": 0.0, "stage": 0}
