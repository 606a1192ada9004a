"""The command `fit`: a family on pictures of one's own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genarium.errors import InputError

if TYPE_CHECKING:
    from genarium.data.own.found import Found, LeftOut

FACTS = "fit.json"  # what a fit was begun with


def fit(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="FOLDER...",
            help="A folder of pictures, of sub-folders that are classes, or of Parquet files; a .zip; or user/name of a data set on the Hub.",
        ),
    ],
    family: Annotated[
        str, typer.Option(help="The family to train: autoencoder, vae, flow-matching, ...")
    ] = "autoencoder",
    minutes: Annotated[
        float | None,
        typer.Option(
            min=0.05, help="About how long; the speed is measured on the first steps. 5 unless --recipe is given."
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the checkpoint. Its last part is the name.")] = Path("my-model"),
    size: Annotated[
        int | None, typer.Option(min=8, max=128, help="Pixels on a side, in place of the proposal.")
    ] = None,
    channels: Annotated[int | None, typer.Option(min=1, max=3, help="1, grey, or 3, in place of the proposal.")] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(help="A recipe in place of the drafted one; without --minutes it says how many images."),
    ] = None,
    look: Annotated[
        bool, typer.Option("--look", help="Say what was found and print the recipe; train nothing.")
    ] = False,
    run_folder: Annotated[
        Path | None, typer.Option(help="Data, recipe, state and log; by default runs/fit/NAME.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete the saved run and begin again.")] = False,
) -> None:
    """Train a family on pictures of your own, measure it on a tenth held out, and write its card. Resumes a stopped run."""
    from genarium import paths
    from genarium.data.own.found import look_through
    from genarium.data.own.prepare import prepare
    from genarium.families import discover
    from genarium.files import check_writable, write_json
    from genarium.fitting.draft import DATA, check_name, check_own, draft, to_yaml
    from genarium.fitting.fit import begin_anew
    from genarium.fitting.fit import fit as fit_recipe
    from genarium.recipe import DataSpec, load_recipe

    name, families = check_name(out.resolve().name), discover()
    folder = run_folder or paths.runs() / "fit" / name
    parts = [bring(source, folder) for source in sources]
    brought = [file for part in parts for file in part.files]
    beside = [one for part in parts for one in part.left_out]
    hub_source = ", ".join(part.name for part in parts if part.name)
    found = look_through(brought, beside=beside, source=hub_source)
    for line in describe(found):
        typer.echo(line)
    if recipe is None:
        minutes = 5.0 if minutes is None else minutes
        asked = draft(name, families[family], found, size, channels)
    else:
        asked = check_own(load_recipe(recipe), name, families)
    if look:
        typer.echo(f"\n{to_yaml(asked)}")
        return
    assert isinstance(asked.data, DataSpec)
    form = asked.data
    facts: dict[str, Any] = {"family": asked.family, "minutes": minutes}
    facts["data"] = {"sample_size": form.sample_size, "channels": form.channels}
    facts["recipe"] = None if recipe is None else to_yaml(asked)
    check_writable(folder)
    if fresh:
        begin_anew(folder, name)
    before = _read(folder / FACTS)
    if before is not None and before != facts:
        raise InputError(
            f"{folder} holds a run that was begun with other options. Give the same, or --fresh, or another --out."
        )
    write_json(folder / FACTS, facts)
    prepare(brought, found, form.sample_size, form.channels, folder / DATA)

    def tell(what: str, facts: dict[str, Any]) -> None:
        if what != "step":
            typer.echo(f"{name}: {what} {', '.join(f'{key} {value}' for key, value in facts.items())}".rstrip())

    done = fit_recipe(asked, families, folder, out.resolve(), minutes, tell=tell)
    assert done is not None  # nobody pauses it
    for metric in json.loads((done / "evaluation.json").read_text(encoding="utf-8"))["metrics"]:
        typer.echo(f"{metric['name']:<26} {metric['value']:<12g} {metric.get('unit', ''):<6} n={metric['n']}")
    typer.echo(f"{out}: genarium.load({str(out)!r}); or put the folder into checkpoints/ for the app.")


@dataclass(frozen=True)
class Brought:
    """What a source gave.

    Args:
        files: names and paths, as `look_through` takes them.
        left_out: files of a data set that were not fetched.
        name: of the data set on the Hub, or "".
    """

    files: Sequence[tuple[str, Path]]
    left_out: Sequence[LeftOut] = ()
    name: str = ""


def bring(source: str, folder: Path) -> Brought:
    """Return the files of a folder or a .zip, or fetch those of a data set of the Hub with this machine's own token.

    Args:
        source: a path, or "user/name" or "user/name@revision" where there is no such path.
        folder: of the run, which gets what is fetched.

    Raises:
        Refused: it is neither, or the data set has no pictures.
        HubError: the data set cannot be had.
    """
    from genarium.data.own.entries import Limits
    from genarium.data.own.words import Refused
    from genarium.files import check_writable
    from genarium.hub import data_sets

    path = Path(source)
    if path.exists():
        return Brought([(path.name, path)])
    try:
        data_sets.parse_id(source)
    except Refused:
        raise Refused("missing", name=source) from None
    offer = data_sets.look(source, Limits())
    license = f", license {offer.license}" if offer.license else ""
    typer.echo(f"{offer.name}{license}: {len(offer.files)} files, {offer.size / 1e6:.1f} MB")
    check_writable(folder)
    place = folder / "hub" / offer.repo_id.replace("/", "--")
    return Brought(data_sets.fetch(offer, place), offer.left_out, offer.name)


def describe(found: Found) -> list[str]:
    """Return what was found, line by line: pictures, sizes, classes, the proposal, and every file that is left out."""
    facts = found.to_json()
    sizes = ", ".join(f"{width}x{height} ({number})" for width, height, number in facts["sizes"])
    more = (
        "" if len(found.sizes) <= len(facts["sizes"]) else f" and {len(found.sizes) - len(facts['sizes'])} more sizes"
    )
    modes = ", ".join(f"{mode} {number}" for mode, number in found.modes.items())
    lines = [f"{len(found)} pictures: {sizes}{more}; {modes}"]
    if found.classes:
        lines.append("classes: " + ", ".join(f"{name} {number}" for name, number in found.classes.items()))
    form = found.proposal
    background = f", background {form.background}" if form.background else ""
    lines.append(f"proposed: {form.sample_size} pixels, {'grey' if form.channels == 1 else 'colour'}{background}")
    lines += [f"left out: {one.name}: {one.reason()}" for one in found.left_out]
    hidden = sum(found.counts.values()) - sum(one.values.get("number", 1) for one in found.left_out)
    return [*lines, f"left out: {hidden} more files for the same reasons"] if hidden else lines


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
