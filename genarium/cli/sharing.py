"""Commands that share: card, publish, pull, deploy."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from genarium.cli.options import Name
from genarium.errors import HubError, InputError, RecipeError
from genarium.files import read_text

Private = Annotated[bool, typer.Option("--private", help="Make the repository private, if it does not exist yet.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Do everything but the upload: export, check, and list the files.")
]


def card(
    checkpoint: Name,
    check: Annotated[bool, typer.Option("--check", help="List what the card lacks instead, and exit with 2.")] = False,
) -> None:
    """Show the model card of a checkpoint, and write nothing. `evaluate` writes the card and its pictures."""
    from genarium.card.check import card_problems
    from genarium.card.render import render_card
    from genarium.catalogue import find_checkpoints
    from genarium.checkpoints import load_pipeline
    from genarium.families import discover
    from genarium.hub.publish import validate_card

    found = find_checkpoints(discover())[checkpoint]
    if found.recipe is None:
        raise RecipeError(f"{found.name} has no recipe in hub_configs/, from which its card could be made.")
    content = str(render_card(found, found.recipe, load_pipeline(found)))
    if not check:
        typer.echo(content)
        return
    problems = card_problems(content, found.folder, found.recipe.repo_id)
    if found.card is None or read_text(found.card).strip() != content.strip():
        problems.append("the README.md in its folder is not this card; `evaluate` writes it")
    if problems:
        raise InputError(f"the card of {found.name}:\n" + "\n".join(f"  {problem}" for problem in problems))
    try:
        validate_card(content, found.recipe.repo_id)
    except HubError as error:
        typer.echo(f"The card of {found.name} is sound, as far as can be checked without the Hub. {error}")
    else:
        typer.echo(f"The card of {found.name} is sound, and the Hub takes it.")


def publish(
    checkpoint: Annotated[
        str | None, typer.Argument(metavar="[CHECKPOINT]", help="A name (see `list`) or a folder.")
    ] = None,
    repo: Annotated[
        str | None, typer.Option(help="user/name; by default the recipe's repo_id. With --all: only the user.")
    ] = None,
    private: Private = False,
    dry_run: DryRun = False,
    pin: Annotated[bool, typer.Option("--pin", help="Write the new revision into the recipe in hub_configs/.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="All checkpoints that have a recipe.")] = False,
    collection: Annotated[
        str | None, typer.Option(help="Title of a collection to put them in; with --all, by default Genarium.")
    ] = None,
) -> None:
    """Publish a checkpoint on the Hub in one commit, after checks that it loads with diffusers alone and that its card is complete."""
    if (checkpoint is None) != everything:
        raise InputError("Name one checkpoint (see `list`), or say --all.")
    if everything and repo and "/" in repo:
        raise InputError("--all --repo: give the user or organisation alone; names are those of the checkpoints.")
    from genarium.catalogue import find_checkpoints
    from genarium.families import discover
    from genarium.hub import publish as publishing
    from genarium.hub.errors import check_repo_id
    from genarium.recipe import recipe_paths

    families = discover()
    catalogue = find_checkpoints(families)
    found = [c for c in catalogue.checkpoints.values() if c.recipe] if checkpoint is None else [catalogue[checkpoint]]
    if not found:
        raise InputError("There is no checkpoint that has a recipe.")
    recipes = recipe_paths(families.recipe_folders())
    targets: dict[str, str | None] = {}
    pinned: dict[str, Path] = {}  # the recipes' files, by the name of the checkpoint
    for one in found:
        own = one.recipe.repo_id if one.recipe else None
        targets[one.name] = f"{repo}/{one.name}" if everything and repo else repo or own
        if pin and one.recipe is None:
            raise InputError(f"--pin: {one.name} has no recipe to write into.")
        if pin and one.recipe is not None:
            pinned[one.name] = recipes[one.recipe.name]
            publishing.check_pin(pinned[one.name], targets[one.name] or "")
    known = [check_repo_id(target) for target in targets.values() if target]
    if known and not dry_run:  # the proof takes a while: better said before than after it
        publishing.check_login(known[0])
    with tempfile.TemporaryDirectory(prefix="genarium-export-") as folder:
        exports = []
        for one in found:
            exports.append(publishing.export(one, Path(folder) / one.name, families, targets[one.name]))
            typer.echo(f"{one.name} -> {exports[-1].repo_id}")
            typer.echo(f"  the same in a bare diffusers, bit for bit: {', '.join(exports[-1].proved)}")
            _list(exports[-1].files)
        if dry_run:
            typer.echo("Nothing was sent (--dry-run).")
            return
        for one, exported in zip(found, exports, strict=True):
            revision = publishing.upload(exported, private)
            typer.echo(f"{one.name}: {_address(exported.repo_id)}/tree/{revision}")
            typer.echo(f"  revision: {revision}")
            if pin:
                publishing.pin(pinned[one.name], exported.repo_id, revision)
                typer.echo(f"  pinned in {pinned[one.name]}")
        if collection or everything:
            ids = [exported.repo_id for exported in exports]
            typer.echo(f"collection: {publishing.collect(collection or 'Genarium', ids, private)}")


def pull(
    repo: Annotated[str, typer.Argument(metavar="REPO[@REVISION]", help="user/name, or user/name@revision.")],
    name: Annotated[
        str | None, typer.Option(help="Name of its folder in checkpoints/; by default the repository's.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a checkpoint of this name.")] = False,
) -> None:
    """Download a checkpoint from the Hub into checkpoints/, without code, after a check that it loads."""
    from tqdm import tqdm

    from genarium.families import discover
    from genarium.hub.pull import pull as bring

    with tqdm(unit="B", unit_scale=True, leave=False) as bar:

        def report(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        folder = bring(repo, discover(), name, force, report)
    typer.echo(f"{folder}\nUse it as {folder.name}, here and in the app.")


def deploy(
    space: Annotated[str, typer.Argument(metavar="USER/SPACE", help="The Space; made if there is none.")],
    private: Private = False,
    dry_run: DryRun = False,
    hardware: Annotated[
        str | None,
        typer.Option(help="Hardware of the Space: cpu-basic, zero-a10g, t4-small ...; by default it stays as it is."),
    ] = None,
) -> None:
    """Make this checkout a Space on the Hub, or bring the Space up to date, in one commit."""
    from huggingface_hub import SpaceHardware

    from genarium import paths
    from genarium.hub import space as spaces
    from genarium.hub.errors import check_repo_id

    check_repo_id(space)
    known = [one.value for one in SpaceHardware]
    if hardware is not None and hardware not in known:
        raise InputError(f"--hardware: choose one of {', '.join(known)}, not {hardware!r}.")
    if paths.installed():
        raise InputError(
            "A Space is made from a checkout of Genarium, and this is an installed package: run it in there."
        )
    deployment = spaces.prepare(paths.ROOT)
    _list(deployment.files)
    if dry_run:
        typer.echo("Nothing was sent (--dry-run).")
        return
    revision = spaces.deploy(space, deployment, private, hardware)
    typer.echo(f"{spaces.address(space)}\n  revision: {revision}")


def _list(files: dict[str, int]) -> None:
    for name, size in files.items():
        typer.echo(f"  {size / 1e3:>12,.1f} kB  {name}")
    typer.echo(f"  {sum(files.values()) / 1e3:>12,.1f} kB  in {len(files)} files")


def _address(repo_id: str) -> str:
    from huggingface_hub import constants

    return f"{constants.ENDPOINT}/{repo_id}"
