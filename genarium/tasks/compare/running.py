"""Running a comparison: its requests one after another on one clock, and the rows that come of them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import PIL.Image

from genarium.checkpoints import Checkpoint
from genarium.errors import InputError
from genarium.evaluation.quantiles import percentile
from genarium.media.pictures import heat_map
from genarium.runtime import Progress, Result, Runtime
from genarium.runtime.request import Request
from genarium.tasks.compare.comparison import CLASS, MAX_COLUMNS, MAX_JUDGED, SEED, Comparison
from genarium.tasks.compare.quality import psnr, ssim


@dataclass(frozen=True)
class Cell:
    """One picture of a row.

    Args:
        picture: what the checkpoint made: a sample, a reconstruction, a frame, or a heat map.
        request: that made it.
        figures: of the picture: "psnr" in dB and "ssim" of a reconstruction; "score" and "percentile" of an anomaly.
    """

    picture: PIL.Image.Image
    request: Request
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """What one checkpoint answered.

    Args:
        checkpoint: which.
        cells: one for each column, or one alone where the checkpoint does not have the parameter of the columns.
        seconds: of computing.
        evaluations: passes through the network for each sample.
        inputs: the pictures as the model had them.
    """

    checkpoint: Checkpoint
    cells: tuple[Cell, ...]
    seconds: float
    evaluations: float
    inputs: tuple[PIL.Image.Image, ...] = ()


@dataclass(frozen=True)
class Compared:
    """A comparison that is done.

    Args:
        comparison: what was asked.
        titles: of the columns.
        rows: in the order of the comparison.
        seconds: from the start to the end, with loading and waiting.
        first: seconds to the first preview or row.
    """

    comparison: Comparison
    titles: tuple[str, ...]
    rows: tuple[Row, ...]
    seconds: float
    first: float


def inputs_of(comparison: Comparison, pictures: Sequence[Any]) -> dict[str, Any]:
    """Return the material of every request, by the parameter of the task's method.

    Args:
        pictures: or paths: none to generate, two to interpolate, otherwise one or more.

    Raises:
        InputError: another number of pictures.
    """
    number, task = len(pictures), comparison.task
    if task == "generate":
        if number:
            raise InputError("To generate, give no pictures.")
        return {}
    if task == "interpolate":
        if number != 2:
            raise InputError(f"An interpolation goes from one picture to another; give 2, not {number}.")
        return {"a": pictures[0], "b": pictures[1]}
    many = MAX_JUDGED if task == "anomaly" else MAX_COLUMNS
    most = many if comparison.columns == SEED else 1
    if not 1 <= number <= most:
        raise InputError(
            f"Give 1 to {most} pictures, not {number}." if most > 1 else f"Give one picture, not {number}."
        )
    return {"images": list(pictures)}


def checkpoints_of(runtime: Runtime, comparison: Comparison) -> dict[str, Checkpoint]:
    """Return the checkpoints that a comparison names.

    Raises:
        CheckpointError: there is none of a name.
        InputError: one works on sound.
    """
    found = {name: runtime.checkpoint(name) for name in comparison.checkpoints}
    for name, checkpoint in found.items():
        if checkpoint.modality != "image":
            raise InputError(f"{name} works on sound; this page compares pictures.")
    return found


class Board:
    """A comparison under way: what is to be asked, and what has come of it so far.

    Whoever runs it takes each of `jobs`, and hands every event of its run to `take`.

    Args:
        runtime: knows the checkpoints.
        comparison: what is asked.
        pictures: or paths of pictures, as in `inputs_of`.

    Raises:
        GenariumError: something in the comparison or in the pictures is wrong; the message says what to do. Everything that
            can be checked is checked here, before anything is computed.
    """

    def __init__(self, runtime: Runtime, comparison: Comparison, pictures: Sequence[Any] = ()):
        self.checkpoints = checkpoints_of(runtime, comparison)
        self.comparison = comparison.checked(self.checkpoints)
        classes = comparison.classes(self.checkpoints) if comparison.columns == CLASS else ()
        self.requests = [self.comparison.requests(name, one, classes) for name, one in self.checkpoints.items()]
        self.inputs = inputs_of(comparison, pictures)
        self.titles = tuple(self.comparison.titles(self.checkpoints, len(pictures)))
        self.rows: list[Row] = []
        self.preview: list[PIL.Image.Image] = []  # of the row that is being computed
        self.share = 0.0  # of that row that is done
        self._results: list[Any] = []
        self._started = time.perf_counter()
        self._first: float | None = None

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._started

    def jobs(self) -> Iterator[Request]:
        """Yield the requests, one after another."""
        for requests in self.requests:
            yield from requests

    def take(self, event: Progress | Result) -> None:
        """Take in what the run of the current request reports, and at last its result."""
        asked = self.requests[len(self.rows)]
        made = [picture for result in self._results for picture in pictures_of(result)]
        if isinstance(event, Progress):
            if event.pictures:
                self.preview = [*made, *event.pictures]
            self.share = (len(self._results) + event.step / max(event.total, 1)) / len(asked)
        else:
            self._results.append(event)
            self.preview = [*made, *pictures_of(event)]
            if len(self._results) == len(asked):
                name = self.comparison.checkpoints[len(self.rows)]
                self.rows.append(row_of(self.checkpoints[name], self._results))
                self._results, self.preview, self.share = [], [], 0.0
        if self._first is None and (self.preview or self.rows):
            self._first = self.seconds

    def compared(self) -> Compared:
        """Return the comparison, all rows of which are done."""
        return Compared(self.comparison, self.titles, tuple(self.rows), self.seconds, self._first or 0.0)


def compare(
    runtime: Runtime,
    comparison: Comparison,
    pictures: Sequence[Any] = (),
    watch: Callable[[Board], None] = lambda board: None,
) -> Compared:
    """Ask every checkpoint, and return what came of it.

    Args:
        pictures: or paths of pictures, as in `inputs_of`.
        watch: called after each step; an exception that it raises stops the computation.

    Raises:
        GenariumError: as `Board`, or while computing.
    """
    board = Board(runtime, comparison, pictures)
    for request in board.jobs():
        with contextlib.closing(runtime.stream(request, board.inputs)) as events:
            for event in events:
                board.take(event)
                watch(board)
    return board.compared()


def pictures_of(result: Any) -> list[PIL.Image.Image]:
    """Return a result as pictures, one for each sample: what was made, or a heat map over the input."""
    if hasattr(result, "pictures"):
        return list(result.pictures)
    maps = [None] * len(result.inputs) if result.maps is None else result.maps
    return [
        seen if map_ is None else heat_map(map_.clip(0), seen) for map_, seen in zip(maps, result.inputs, strict=True)
    ]


def row_of(checkpoint: Checkpoint, results: Sequence[Any]) -> Row:
    """Return the row of a checkpoint: its pictures, and the figures of each."""
    cells = []
    for result in results:
        for i, picture in enumerate(pictures_of(result)):
            cells.append(Cell(picture, result.request, _figures(checkpoint, result, i)))
    samples = sum(result.num_samples for result in results)
    evaluations = sum(result.evaluations * result.num_samples for result in results) / max(samples, 1)
    seconds = sum(result.seconds for result in results)
    return Row(checkpoint, tuple(cells), seconds, evaluations, tuple(results[0].inputs))


def _figures(checkpoint: Checkpoint, result: Any, i: int) -> dict[str, float]:
    """Return the figures of sample i of a result."""
    if result.request.task == "reconstruct":
        restored, seen = result.pictures[i], result.inputs[i]
        return {"psnr": psnr(restored, seen), "ssim": ssim(restored, seen)}
    if result.request.task == "anomaly":
        score, quantiles = float(result.scores[i]), result.quantiles(checkpoint)
        return {"score": score} | ({"percentile": percentile(score, quantiles)} if quantiles else {})
    return {}
