"""The command `calibrate`: from ordinary and strange pictures to a threshold that is kept with the checkpoint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from genarium.cli import options
from genarium.cli.batches import is_main, run_batches
from genarium.cli.options import BatchSize, Device, Dtype, Invert, Name, Set


def run(
    checkpoint: Name,
    normal: Annotated[Path | None, typer.Option(help="A folder of ordinary pictures, or one.")] = None,
    strange: Annotated[Path | None, typer.Option(help="A folder of strange pictures, or one.")] = None,
    threshold: Annotated[float | None, typer.Option(help="The score above which a picture is strange.")] = None,
    percent: Annotated[
        float | None,
        typer.Option(min=0, max=100, help="In its place: the per cent of ordinary pictures that are called ordinary."),
    ] = None,
    per_hour: Annotated[float, typer.Option(min=0, help="Pictures to come in an hour.")] = 3600.0,
    false_alarm: Annotated[float, typer.Option(help="Cost of an ordinary picture that is called strange.")] = 1.0,
    miss: Annotated[float, typer.Option(help="Cost of a strange picture that is called ordinary.")] = 10.0,
    share: Annotated[float, typer.Option(help="Share of strange pictures among those to come.")] = 0.01,
    keep: Annotated[bool, typer.Option(help="Keep scores and threshold with the checkpoint.")] = True,
    set_: Set = None,
    invert: Invert = "auto",
    batch_size: BatchSize = 64,
    device: Device = None,
    dtype: Dtype = None,
) -> None:
    """Choose the score above which a picture is strange; without --threshold and --percent the one of least cost."""
    from genarium.errors import InputError
    from genarium.media.pictures import load_folder
    from genarium.runtime.request import Request
    from genarium.tasks.anomaly.calibration import judge_of, key_of, told_apart, write_calibration
    from genarium.tasks.anomaly.decision import Costs
    from genarium.tasks.check.consequences import report

    if threshold is not None and percent is not None:
        raise InputError("Give --threshold or --percent, not both.")
    costs = Costs(false_alarm, miss, share)
    runtime = options.make_runtime(device, dtype)
    found = runtime.catalogue[checkpoint]
    request = Request(checkpoint, "anomaly", 0, 1, None, options.parameters(set_), invert).checked(found)
    judge = judge_of(found, request.parameters)
    calibration = judge.calibration
    for name, folder in (("normal", normal), ("strange", strange)):
        if folder is not None:
            pictures, names = load_folder(folder)
            _, results, _ = run_batches(runtime, request, len(pictures), batch_size, pictures)
            scores = [float(score) for result in results for score in result.scores]
            known = dict(zip(told_apart(folder, names), scores, strict=True))
            calibration = calibration.with_normal(known) if name == "normal" else calibration.with_strange(known)
    if not is_main():
        return
    chosen = replace(judge, calibration=calibration).choose(threshold, percent, costs)
    typer.echo(report(chosen, per_hour, costs))
    if keep:
        path = write_calibration(found, key_of(request.parameters), chosen.calibration)
        typer.echo(f"Kept in {path}.")
