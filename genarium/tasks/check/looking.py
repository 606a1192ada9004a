"""What a check holds for its visitor, and what is made of it: files to take along, and the calibration after a mark."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import PIL.Image

from genarium.checkpoints import Checkpoint
from genarium.errors import InputError
from genarium.media.decoding import open_picture
from genarium.runtime import Runtime
from genarium.tasks.anomaly.calibration import Calibration, Judge, judge_of, key_of, thresholds_json
from genarium.tasks.anomaly.checking import Checked, checked, overlay, strangest_first, to_csv
from genarium.tasks.anomaly.results import PictureScores

MAX_PICTURES = 200  # of one check on the page; the command line takes more
MAX_SIDE = 480  # pixels of a picture as the page keeps it


@dataclass(frozen=True)
class Look:
    """A visitor's check. It holds no pixels, which lie in files.

    Args:
        checkpoint: its name.
        key: of the calibration, see `key_of`.
        judge: gives the verdicts.
        names: of the pictures, each once.
        scores: float [N].
        boxes: of the hottest regions, in pixels of the pictures as the page has them; None where there is no map.
        pictures: the files of the pictures, at most MAX_SIDE pixels on a side.
        overlays: the files of the same with heat map and box; of the pictures alone where there is no map.
    """

    checkpoint: str
    key: str
    judge: Judge
    names: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()
    boxes: tuple[Any, ...] = ()
    pictures: tuple[str, ...] = ()
    overlays: tuple[str, ...] = ()

    @property
    def rows(self) -> list[Checked]:
        """What was found, the strangest first, by the threshold that holds now."""
        found = []
        for name, score, box in zip(self.names, self.scores, self.boxes, strict=True):
            percentile = self.judge.percentile(score)
            rounded = None if percentile is None else round(percentile, 2)
            found.append(Checked(name, score, rounded, self.judge.verdict(score), box))
        return strangest_first(found)

    @property
    def strange(self) -> int:
        """How many are called strange."""
        return sum(self.judge.verdict(score) == "strange" for score in self.scores)

    def picture_of(self, name: str) -> str:
        """Return the file of a picture."""
        return self.pictures[self.names.index(name)]

    def overlay_of(self, name: str) -> str:
        """Return the file of a picture with its heat map and the box of the hottest region."""
        return self.overlays[self.names.index(name)]

    def at(self, threshold: float) -> Look:
        """Return the same by another threshold."""
        return self._with(replace(self.judge.calibration, threshold=threshold))

    def marked(self, name: str, kind: str) -> Look:
        """Return the same after a person said that a picture is "normal" or "strange"."""
        score = {name: self.scores[self.names.index(name)]}
        known = self.judge.calibration
        return self._with(known.with_normal(score) if kind == "normal" else known.with_strange(score))

    def _with(self, calibration: Calibration) -> Look:
        return replace(self, judge=replace(self.judge, calibration=calibration))

    # ---- to take along ----

    def csv(self) -> bytes:
        return to_csv(self.rows).encode()

    def json(self) -> bytes:
        values = {
            "checkpoint": self.checkpoint,
            "threshold": self.judge.threshold,
            "images": [row.to_dict() for row in self.rows],
        }
        return json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False).encode()

    def thresholds(self) -> bytes:
        """Return the file that belongs beside the checkpoint."""
        return json.dumps(thresholds_json({self.key: self.judge.calibration}), indent=2, ensure_ascii=False).encode()

    def archive(self) -> bytes:
        """Return a ZIP of the overlays, numbered so that the strangest comes first."""
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w") as archive:
            for i, row in enumerate(self.rows, 1):
                archive.write(self.overlay_of(row.name), f"{i:03d}-{Path(row.name).stem}.png")
        return data.getvalue()


def judge_for(checkpoint: Checkpoint) -> tuple[str, Judge, dict[str, Any]]:
    """Return the key, the judge and the parameters of a checkpoint's usual score."""
    parameters = {name: control.default for name, control in checkpoint.controls("anomaly").items()}
    return key_of(parameters), judge_of(checkpoint, parameters), parameters


def read(
    runtime: Runtime, checkpoint: str, files: Sequence[str]
) -> tuple[list[str], list[PIL.Image.Image], list[PIL.Image.Image], list[str]]:
    """Open pictures that a visitor gave.

    Args:
        runtime: brings them into the model's form.
        checkpoint: its name.
        files: their paths.

    Returns:
        Names, each once; the pictures as they were given, but no larger than MAX_SIDE; the same in the model's form; and a
        sentence for each file that cannot be read.

    Raises:
        InputError: no picture can be read, or too many were given.
    """
    if not files:
        raise InputError("There is no picture yet. Drop some, then press Check.")
    if len(files) > MAX_PICTURES:
        raise InputError(f"At most {MAX_PICTURES} pictures in one check; `python -m genarium anomaly` takes more.")
    names: list[str] = []
    given, fitted, unread = [], [], []
    for path in files:
        name = Path(path).name
        try:
            picture = open_picture(path)
            model_form = runtime.prepare(checkpoint, picture)
        except InputError as error:
            unread.append(f"{name}: {error}")
            continue
        picture.thumbnail((MAX_SIDE, MAX_SIDE))
        given.append(picture)
        fitted.append(model_form)
        names.append(_once(name, names))
    if not given:
        raise InputError(f"None of the {len(files)} files can be read. {unread[0]}")
    return names, given, fitted, unread


def look(
    start: Look,
    names: Sequence[str],
    given: Sequence[PIL.Image.Image],
    result: PictureScores,
    keep: Callable[[PIL.Image.Image], str],
) -> Look:
    """Return a check with what the model found of its pictures.

    Args:
        start: with the checkpoint and its judge.
        names, given: of `read`.
        result: of the anomaly task on the same pictures.
        keep: puts a picture into a file and returns its path.
    """
    rows = checked(names, [picture.size for picture in given], [result], start.judge)
    files = [keep(picture) for picture in given]
    overlays = files
    if result.maps is not None:
        high = float(result.maps.max())
        drawn = zip(given, result.maps, rows, strict=True)
        overlays = [keep(overlay(picture, map_, high, row.box)) for picture, map_, row in drawn]
    return replace(
        start,
        names=tuple(names),
        scores=tuple(row.score for row in rows),
        boxes=tuple(row.box for row in rows),
        pictures=tuple(files),
        overlays=tuple(overlays),
    )


def _once(name: str, known: Sequence[str]) -> str:
    """Return a name that is not known yet: "a.png", "a.png (2)"."""
    number, found = 1, name
    while found in known:
        number += 1
        found = f"{name} ({number})"
    return found
