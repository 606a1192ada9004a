"""The command `lab`: a family learns points of the plane, and an animation shows it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from genarium.cli import options


def run(
    data: Annotated[str, typer.Argument(help="What to learn: moons, pinwheel, gaussians, ...; or a CSV file.")],
    family: Annotated[str, typer.Argument(help="The family that learns it: flow-matching, ddpm, gan, ...")],
    out: Annotated[Path, typer.Option(help="The animation, .gif or .webp.")] = Path("lab.gif"),
    setting: Annotated[list[str] | None, typer.Option(help="A setting of the family, NAME=VALUE.")] = None,
    view: Annotated[str, typer.Option(help="What to show: samples, score, langevin, paths, flow, ...")] = "samples",
    option: Annotated[list[str] | None, typer.Option(help="An option of the view, NAME=VALUE.")] = None,
    after: Annotated[
        bool, typer.Option("--after", help="Show the view's own clock after the training, not the training.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the data, the weights and all draws.")] = 0,
    frames: Annotated[int, typer.Option(min=2, max=200, help="Pictures of a training.")] = 24,
    size: Annotated[int, typer.Option(min=64, max=1024, help="Pixels of the side.")] = 320,
) -> None:
    """Train a family on points of the plane, and write how it learns as an animation."""
    from genarium.errors import InputError
    from genarium.files import check_writable
    from genarium.tasks.lab.data import DRAWN, parse_points
    from genarium.tasks.lab.pictures import draw, save_animation
    from genarium.tasks.lab.question import Question, planes
    from genarium.tasks.lab.training import Training
    from genarium.tasks.lab.views import show

    if out.suffix not in (".gif", ".webp"):
        raise InputError(f"--out: an animation is a .gif or a .webp, not {out.name}.")
    check_writable(out.parent)
    points = None
    if Path(data).suffix == ".csv":
        if not Path(data).is_file():
            raise InputError(f"There is no file {data}.")
        points, data = parse_points(Path(data).read_bytes()), DRAWN
    question = Question(data, family, _pairs(setting), seed, view, _pairs(option)).checked()
    steps = planes()[family].plane.steps
    training = Training(
        Question(**{**question.to_json(), "speed": max(1, steps // frames)}), data=points, limit=math.inf
    )
    pictures = []
    for frame in training:
        if frame.w1 is not None:
            typer.echo(
                f"step {frame.step:5d}  {frame.seconds:5.1f} s  loss {frame.loss:9.4f}  W1 {frame.w1:.3f}", err=True
            )
        if not after:
            pictures.append(draw(frame, training.measured, size))
    if after or (question.view != "samples" and not training.info.view(view).live):
        pictures = [draw(frame, training.measured, size) for frame in show(training.trained, question)]
    options.write(out, lambda path: save_animation(pictures, path))
    typer.echo(f"{out}: {len(pictures)} pictures, W1 {training.w1:.3f} after {training.seconds:.1f} s of training")


def _pairs(given: list[str] | None) -> dict[str, str]:
    """Return names with values of NAME=VALUE.

    Raises:
        InputError: no such pair.
    """
    from genarium.errors import InputError

    pairs = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise InputError(f"A setting is written NAME=VALUE, not {text!r}.")
        pairs[name.strip()] = value.strip()
    return pairs
