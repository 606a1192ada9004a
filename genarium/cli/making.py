"""Commands that make something lasting: train, evaluate, new-family."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from genarium.cli import options
from genarium.cli.options import BatchSize, Data, Device, Dtype, Set
from genarium.environment import check_installed
from genarium.errors import InputError

TRAINING_NEEDS = {"datasets": "datasets", "tensorboard": "tensorboard"}


def train(
    checkpoint: Annotated[str, typer.Argument(metavar="RECIPE", help="A name in hub_configs/, or a YAML file.")],
    data: Data = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete the saved state and begin again.")] = False,
    output: Annotated[
        Path | None,
        typer.Option(help="Folder of the finished checkpoint; checkpoints/NAME if free, else runs/NAME/checkpoint."),
    ] = None,
    run_folder: Annotated[Path | None, typer.Option(help="State, logs and sample grids; by default runs/NAME.")] = None,
    max_steps: Annotated[
        int | None, typer.Option(min=1, help="Stop after this many steps, and save the state.")
    ] = None,
    continue_: Annotated[
        int | None,
        typer.Option(
            "--continue",
            min=1,
            metavar="IMAGES",
            help="Train a finished run further, to IMAGES in all. The learning rate follows the longer schedule.",
        ),
    ] = None,
) -> None:
    """Train a checkpoint from its recipe, or resume a run that was stopped."""
    check_installed("Training", TRAINING_NEEDS)
    from genarium.families import discover
    from genarium.parallel import join
    from genarium.recipe import find_recipe
    from genarium.training.loop import train as train_recipe

    join()
    families = discover()
    recipe = find_recipe(checkpoint, families.recipe_folders())
    train_recipe(
        recipe,
        families[recipe.family],
        data_override=data,
        output=output,
        run_folder=run_folder,
        fresh=fresh,
        max_steps=max_steps,
        continue_to=continue_,
    )


def evaluate(
    checkpoint: Annotated[
        str | None, typer.Argument(metavar="[CHECKPOINT]", help="A name (see `list`), or a folder; or use --all.")
    ] = None,
    all_: Annotated[
        bool, typer.Option("--all", help="Measure the missing figures of every checkpoint that has a recipe.")
    ] = False,
    table: Annotated[
        bool, typer.Option("--table", help="Write the figures of all checkpoints into docs/families.md.")
    ] = False,
    data: Data = None,
    features: Annotated[
        str, typer.Option(help="Network of the Fréchet distance: efficientnet-lite0 (offline) or inception (FID).")
    ] = "efficientnet-lite0",
    num_samples: Annotated[int | None, typer.Option(min=4, help="Samples to draw; by default the recipe's.")] = None,
    num_test_images: Annotated[int | None, typer.Option(min=4, help="Test images; by default the recipe's.")] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="distance, second_judge, nearness, reconstruction, likelihood, anomaly, explore, codebook, words, critic, mixing, swap_style "
            "or speed; of voices: similarity, content, distortion, reconstruction, anomaly or speed. Repeat for more; by default "
            "all."
        ),
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="A recipe of another name than the checkpoint, or a YAML file.")
    ] = None,
    card: Annotated[bool, typer.Option(help="Also write README.md and its pictures.")] = True,
    set_: Set = None,
    batch_size: BatchSize = 64,
    device: Device = None,
    dtype: Dtype = None,
) -> None:
    """Measure a checkpoint; write the figures, the card and the anomaly quantiles into its folder."""
    if all_ and (checkpoint or recipe or data or only or set_):
        raise InputError("--all: takes no checkpoint, --recipe, --data, --only or --set; each checkpoint has its own.")
    if not (all_ or checkpoint or table):
        raise InputError("Name a checkpoint to evaluate, or all by --all.")
    from genarium import paths
    from genarium.evaluation.evaluate import evaluate as evaluate_checkpoint
    from genarium.evaluation.figure import lacking
    from genarium.evaluation.table import write_table
    from genarium.parallel import join
    from genarium.recipe import find_recipe

    runtime = options.make_runtime(device, dtype)
    catalogue = runtime.catalogue
    wanted = {checkpoint: only} if checkpoint else {}
    if all_:
        found = {name: lacking(c) for name, c in catalogue.checkpoints.items() if c.recipe is not None}
        wanted = {name: parts for name, parts in found.items() if parts}
        typer.echo(f"{len(found) - len(wanted)} of {len(found)} checkpoints have all their figures.")
    for name, parts in wanted.items():
        result = evaluate_checkpoint(
            name,
            runtime,
            recipe=None if recipe is None else find_recipe(recipe, catalogue.families.recipe_folders()),
            data_override=data,
            features=features,
            num_samples=num_samples,
            num_test_images=num_test_images,
            parts=parts,
            parameters=options.parameters(set_),
            batch_size=batch_size,
            card=card,
        )
        if join().is_main_process:
            _tell(name, result, catalogue[name].folder)
    if table and join().is_main_process:
        path = paths.docs() / "families.md"
        typer.echo(f"{write_table(runtime, path)} checkpoints in {path}")


def _tell(checkpoint: str, result: Mapping[str, Any], folder: Path) -> None:
    typer.echo(f"\n{checkpoint}")
    for metric in result["metrics"]:
        kind = " ".join(str(metric[key]) for key in ("features", "against", "score") if key in metric)
        typer.echo(
            f"{metric['name']:<26} {metric['value']:<12g} {metric.get('unit', ''):<15} n={metric['n']:<6} {kind}"
        )
    for what, why in result["skipped"].items():
        typer.echo(f"{what}: not measured: {why}")
    typer.echo(f"{result['seconds']:.0f} s on {result['hardware']}; {folder}")


def new_family(
    name: Annotated[str, typer.Argument(help="Name of the Python module: lower-case letters, digits and _.")],
    title: Annotated[str | None, typer.Option(help="Title of the family in the app; by default the name.")] = None,
    root: Annotated[Path | None, typer.Option(help="Folder of the checkout; by default this one.")] = None,
) -> None:
    """Write a working family to start from: pipeline, model, plugin, recipe and test."""
    from genarium.new_family import create

    written = create(name, title, root)
    name = written[0].stem.removeprefix("pipeline_")  # a valid module name, where the user's was not
    for path in written:
        typer.echo(f"wrote {path}")
    typer.echo(
        f"\nIt works as it is: probabilistic PCA. Next:\n"
        f"  python -m pytest tests/pipelines/test_{name}.py tests/pipelines/test_contract.py\n"
        f"  python -m genarium train {name}-fashion-mnist\n"
        f"  python -m genarium evaluate {name}-fashion-mnist\n"
        f"Then put your own model into pipelines/modeling_{name}.py and your methods into "
        f"pipelines/pipeline_{name}.py; docs/contract.md says what each method returns."
    )
