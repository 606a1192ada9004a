"""The command `compare`: several checkpoints side by side, into one sheet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genarium.cli import options
from genarium.cli.options import Device, Dtype, Invert, Seed, Set

if TYPE_CHECKING:
    from genarium.tasks.compare.running import Board, Compared


def run(
    checkpoints: Annotated[
        list[str], typer.Argument(metavar="CHECKPOINT...", help="Names (see `list`), folders, or Hub ids: a row each.")
    ],
    task: Annotated[str, typer.Option(help="generate, reconstruct, interpolate or anomaly.")] = "generate",
    columns: Annotated[
        str, typer.Option(help="seed, class, or a parameter of the task (see `list`), with --values.")
    ] = "seed",
    values: Annotated[str, typer.Option(help="Values of that parameter, with commas between them.")] = "",
    number: Annotated[int, typer.Option("--number", "-n", help="Columns of seeds, or frames of an interpolation.")] = 8,
    images: Annotated[
        list[Path] | None,
        typer.Option(help="A picture, or a folder of them; two pictures to interpolate. Repeat for more."),
    ] = None,
    class_: Annotated[str, typer.Option("--class", help="Class of all samples; any, unless given.")] = "",
    seed: Seed = "0",
    out: Annotated[
        Path,
        typer.Option(help=".png: a sheet with the comparison in its metadata; .zip: all pictures; .json: figures."),
    ] = Path("comparison.png"),
    set_: Set = None,
    invert: Invert = "auto",
    device: Device = None,
    dtype: Dtype = None,
) -> None:
    """Ask several checkpoints the same: rows are checkpoints; columns are seeds, classes, pictures or values of a parameter."""
    options.check_out(out, (".png", ".zip", ".json"))
    from genarium.media.pictures import load_folder
    from genarium.runtime.request import parse_seed
    from genarium.tasks.compare.comparison import Comparison, parse_values
    from genarium.tasks.compare.running import compare

    pictures = [picture for path in images or () for picture in load_folder(path)[0]]
    comparison = Comparison(
        checkpoints=tuple(checkpoints),
        task=task,
        columns=columns.replace("-", "_"),
        values=parse_values(values),
        number=number,
        seed=parse_seed(seed),
        class_name=class_,
        parameters=options.parameters(set_),
        invert=invert,
    )
    from tqdm.auto import tqdm

    with tqdm(desc="compare", total=len(checkpoints), unit="row", leave=False) as bar:

        def watch(board: Board) -> None:
            bar.update(len(board.rows) - bar.n)

        compared = compare(options.make_runtime(device, dtype), comparison, pictures, watch)
    _write(compared, out)
    for row in compared.rows:
        typer.echo(f"{row.checkpoint.name}: {row.seconds:.2f} s")
    if compared.comparison.task == "anomaly":
        for line in _in_words(compared):
            typer.echo(line)
    typer.echo(f"{len(compared.rows)} checkpoints in {compared.seconds:.2f} s: {out}")


def _in_words(compared: Compared) -> list[str]:
    """Return what the models say together about the pictures."""
    from collections import Counter

    from genarium.tasks.compare.agreement import together

    found = together(compared.rows)
    counts = Counter(one["verdict"] for one in found["consensus"])
    lines = ["pictures: " + ", ".join(f"{number} {verdict}" for verdict, number in counts.most_common())]
    pairs = [line[j] for i, line in enumerate(found["spearman"]) for j in range(i) if line[j] is not None]
    if pairs:
        lines.append(f"Spearman's rank correlation of two models, mean: {sum(pairs) / len(pairs):.2f}")
    if found["most_disputed"]:
        disputed = ", ".join(f"{one['picture']} ({one['span']:.0f} points)" for one in found["most_disputed"])
        lines.append(f"most disputed pictures: {disputed}")
    return lines


def _write(compared: Compared, out: Path) -> None:
    from genarium.files import write_json
    from genarium.tasks.compare.sheet import report, save_sheet, zip_of

    if out.suffix.lower() == ".json":
        write_json(out, report(compared))
    elif out.suffix.lower() == ".zip":
        data = zip_of(compared)
        options.write(out, lambda path: path.write_bytes(data))
    else:
        save_sheet(compared, out)
