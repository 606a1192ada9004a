"""Running a request for a command: with a progress bar, in batches over all processes; and where its result goes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from genarium.cli import options

if TYPE_CHECKING:
    from genarium.checkpoints import Checkpoint
    from genarium.runtime import Request, Runtime


def run_batches(
    runtime: Runtime,
    request: Request,
    number: int,
    batch_size: int,
    material: list[Any] | None = None,
    keep: Callable[[Any], Any] = lambda result: result,
) -> tuple[Request, list[Any], float]:
    """Run a request over `number` samples, or over as many pictures or sound files, in batches over all processes.

    Args:
        material: of a task that takes many; None to generate.

    Returns:
        The request with every parameter filled in, what `keep` made of each batch's result, and the seconds it took.
    """
    from genarium.parallel import map_batches
    from genarium.runtime import Progress
    from genarium.runtime.request import MAX_SEED, parse_seed

    request = replace(request, seed=parse_seed(request.seed))
    checkpoint = runtime.catalogue[request.checkpoint]
    first = None if request.class_labels is None else request.class_labels[:1]  # the others are checked batch by batch
    checked = replace(request, batch_size=1, class_labels=first).checked(checkpoint)
    checked = replace(checked, batch_size=request.batch_size, class_labels=request.class_labels)
    runtime.pipeline(request.checkpoint)  # loading is no part of the time
    started = time.perf_counter()

    def compute(start: int, stop: int, advance: Callable[[float], None]) -> Any:
        labels = request.class_labels
        piece = replace(
            request,
            seed=(request.seed + start) % (MAX_SEED + 1),
            batch_size=stop - start if material is None else 1,
            class_labels=None if labels is None else labels[start:stop],
        )
        many = checkpoint.tasks[request.task].many
        inputs = None if material is None or many is None else {many: material[start:stop]}
        for event in runtime.stream(piece, inputs):
            if not isinstance(event, Progress):
                return keep(event)
            advance(event.step / event.total)
        raise AssertionError("a stream ends with a result")  # pragma: no cover

    parts = map_batches(compute, number, batch_size, request.task)
    return checked, parts, time.perf_counter() - started


def run_one(runtime: Runtime, request: Request, inputs: dict[str, Any]) -> Any:
    """Run a request that cannot be split, such as an interpolation, and return its result."""
    from tqdm.auto import tqdm

    from genarium.runtime import Progress

    with tqdm(desc=request.task, unit="step", leave=False) as bar:
        for event in runtime.stream(request, inputs):
            if not isinstance(event, Progress):
                return event
            bar.total = event.total
            bar.update(event.step - bar.n)
    raise AssertionError("a stream ends with a result")  # pragma: no cover


def choose_out(out: Path | None, stem: str, checkpoint: Checkpoint, pictures: tuple[str, ...]) -> Path:
    """Return where a result goes: the path given, or a file named by the task.

    Args:
        out: given by the user, or None.
        stem: the file's name without its ending; it gets the first ending that fits the checkpoint.
        checkpoint: which makes the result.
        pictures: endings of files that hold this task's pictures.

    Raises:
        InputError: the given path has another ending.
    """
    kinds = {"image": pictures, "audio": options.SOUNDS}[checkpoint.modality]
    return options.check_out(out or Path(stem + kinds[0]), kinds)


def is_main() -> bool:
    from genarium.parallel import join

    return join().is_main_process


def say(what: str, seconds: float, runtime: Runtime, out: Path) -> None:
    dtype = str(runtime.dtype).removeprefix("torch.")
    typer.echo(f"{what} in {seconds:.2f} s on {runtime.device.type} ({dtype}): {out}")
