"""The folder of a run: which of its files are ours, and what the run was begun with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genarium.errors import FileError
from genarium.files import check_writable, file_errors, is_empty, matcher, remove_files, write_text

STATES = ("state", "state.old", "state.part")
STATE_FILES = (  # by accelerate, and state.json by us
    *("state.json", "model*.safetensors", "model*.safetensors.index.json", "pytorch_model*.bin"),
    *("optimizer*.bin", "scheduler*.bin", "sampler*.bin", "dl_state_dict*.bin"),
    *("random_states_*.pkl", "custom_checkpoint_*.pkl", "scaler.pt", "position_*.json"),
)
WRITTEN = (
    *("run.json", "time.json", "log.jsonl"),
    *("samples/[0-9]*.png", "samples/[0-9]*/*.wav"),
    *("logs/events.out.tfevents*", "logs/*/events.out.tfevents*", "logs/hparams.yml"),
    *("teacher/teacher.json", "teacher/[0-9]*.npy"),
    *(f"{state}/{name}" for state in STATES for name in STATE_FILES),
)
MARKS = ("run.json", "time.json", *(f"{state}/state.json" for state in STATES))


@dataclass(frozen=True)
class RunFolder:
    """Paths of what a run writes, all below `path`."""

    path: Path

    @property
    def state(self) -> Path:
        return self.path / "state"

    @property
    def log(self) -> Path:
        return self.path / "log.jsonl"

    @property
    def samples(self) -> Path:
        return self.path / "samples"

    @property
    def teacher(self) -> Path:
        return self.path / "teacher"

    @property
    def checkpoint(self) -> Path:
        """Where the finished weights go unless another folder is given."""
        return self.path / "checkpoint"

    # ---- whether it is ours ----

    def check(self) -> None:
        """Refuse a folder that is not empty and was not made by a run.

        Raises:
            FileError: so it is. Nothing was changed.
        """
        if not is_empty(self.path) and not any((self.path / mark).is_file() for mark in MARKS):
            raise FileError(
                f"{self.path} is not empty and holds no run. A run writes and, with --fresh, deletes files in its folder; "
                "choose an empty or a new one with --run-folder."
            )

    def make(self) -> None:
        """Make the folder where there is none.

        Raises:
            FileError: it cannot be made or written.
        """
        check_writable(self.path)

    def clear(self) -> None:
        """Delete what a run wrote. Files of others stay, and so does a finished checkpoint until a new one replaces it."""
        remove_files(self.path, matcher(WRITTEN))

    # ---- what it was begun with, and how it ended ----

    @property
    def facts(self) -> dict[str, Any]:
        """What `training.facts` said when the run began; {} for a run of a version that did not keep it."""
        return self._read("run.json")

    def keep_facts(self, facts: Mapping[str, Any]) -> None:
        write_text(self.path / "run.json", json.dumps(facts, indent=2, ensure_ascii=False) + "\n")

    @property
    def finished(self) -> dict[str, Any]:
        """{"seconds", "images", "output"} of a finished run, else {}."""
        return self._read("time.json")

    def keep_finished(self, seconds: float, images: int, output: Path) -> None:
        values = {"seconds": seconds, "images": images, "output": str(output)}
        write_text(self.path / "time.json", json.dumps(values))

    def _read(self, name: str) -> dict[str, Any]:
        path = self.path / name
        if not path.exists():
            return {}
        with file_errors(path):
            text = path.read_text(encoding="utf-8")
        try:
            values = json.loads(text)
            if isinstance(values, dict):
                return values
        except ValueError:
            pass
        raise FileError(f"{path} is damaged. Begin anew with --fresh, or in another --run-folder.")
