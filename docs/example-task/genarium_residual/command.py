"""The command `residual`: the mean residual of each picture."""

from __future__ import annotations

import typer

from genarium.cli import options
from genarium.cli.batches import is_main, run_batches
from genarium.cli.options import BatchSize, Images, Name, Seed, Set


def run(checkpoint: Name, images: Images, seed: Seed = "0", set_: Set = None, batch_size: BatchSize = 64) -> None:
    """Print how far the reconstruction of each picture is from it, from 0 to 1."""
    from genarium.media.pictures import load_folder
    from genarium.runtime.request import Request, parse_seed

    pictures, names = load_folder(images)
    runtime = options.make_runtime(None, None)
    request = Request(checkpoint, "residual", parse_seed(seed), parameters=options.parameters(set_))
    _, results, _ = run_batches(runtime, request, len(pictures), batch_size, pictures)
    if is_main():
        means = [one.mean() for result in results for one in result.residuals]
        for name, mean in zip(names, means, strict=True):
            typer.echo(f"{mean:.4f} {name}")
