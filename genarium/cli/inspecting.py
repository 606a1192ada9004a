"""`list`: what is here, for people and for programs."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer


def list_everything(
    as_json: Annotated[bool, typer.Option("--json", help="Everything, as JSON on stdout.")] = False,
) -> None:
    """List families, checkpoints, tasks, parameters, recipes, and plugins that do not work, with reasons."""
    values = describe()
    if as_json:
        typer.echo(json.dumps(values, indent=2, ensure_ascii=False))
        return
    typer.echo("FAMILIES")
    for family in values["families"]:
        typer.echo(f"  {family['name']:<20} {family['title']} ({family['origin']})")
    typer.echo("\nCHECKPOINTS")
    for checkpoint in values["checkpoints"]:
        size = f"{checkpoint['bytes'] / 1e6:.1f} MB"
        typer.echo(
            f"  {checkpoint['name']:<20} {checkpoint['family']}, {size}, {checkpoint['data'] or 'data not stated'}"
        )
        if checkpoint["classes"]:
            typer.echo(f"    classes: {', '.join(f'{i} {name}' for i, name in enumerate(checkpoint['classes']))}")
        for task, controls in checkpoint["tasks"].items():
            typer.echo(f"    {task}: {', '.join(map(_shown, controls)) or 'no parameters'}")
    if not values["checkpoints"]:
        typer.echo("  none yet; `python -m genarium train RECIPE` makes one")
    typer.echo("\nRECIPES")
    for recipe in values["recipes"]:
        reason = (
            f": cannot be read: {recipe['error']}" if "error" in recipe else f" {recipe['family']}, {recipe['data']}"
        )
        typer.echo(f"  {recipe['name']:<20}{reason}")
    if values["broken"]:
        typer.echo("\nBROKEN")
    for broken in values["broken"]:
        typer.echo(f"  {broken['origin']}: {broken['reason']}")


def describe() -> dict[str, Any]:
    """Return everything that `list` shows, as plain values."""
    from genarium.catalogue import find_checkpoints
    from genarium.errors import GenariumError
    from genarium.families import discover
    from genarium.recipe import load_recipe, recipe_paths
    from genarium.tasks import find_tasks

    families = discover()
    catalogue = find_checkpoints(families)
    broken = [
        {"origin": b.origin, "reason": b.reason} for b in (*find_tasks().broken, *families.broken, *catalogue.broken)
    ]
    checkpoints = []
    for name, checkpoint in catalogue.checkpoints.items():
        try:
            tasks = {task: [_control(c) for c in checkpoint.controls(task).values()] for task in checkpoint.tasks}
        except GenariumError as error:  # a parameter that fits no control: the plugin's fault, not the list's
            broken.append({"origin": f"family {checkpoint.family.name}", "reason": str(error)})
            continue
        checkpoints.append(
            {
                "name": name,
                "family": checkpoint.family.name,
                "modality": checkpoint.modality,
                "data": checkpoint.data,
                "classes": list(checkpoint.class_names),
                "bytes": checkpoint.size,
                "tasks": tasks,
                "metrics": checkpoint.evaluation.get("metrics", []),
            }
        )
    recipes = []
    for name, path in recipe_paths(families.recipe_folders()).items():
        try:
            recipe = load_recipe(path)
            recipes.append({"name": name, "family": recipe.family, "data": recipe.data.name})
        except GenariumError as error:
            recipes.append({"name": name, "error": str(error)})
    return {
        "families": [
            {
                "name": family.name,
                "title": family.title,
                "origin": families.origins[family.name],
                "description": dict(family.description),
                "papers": [{"title": p.title, "url": p.url} for p in family.papers],
            }
            for family in families
        ],
        "checkpoints": checkpoints,
        "recipes": recipes,
        "broken": broken,
    }


def _control(control) -> dict[str, Any]:
    known = ("name", "kind", "default", "minimum", "maximum", "step", "choices", "help")
    values = {key: getattr(control, key) for key in known}
    return {key: value for key, value in values.items() if value not in (None, (), "")}


def _shown(control: dict[str, Any]) -> str:
    """Return a control as one phrase: "num_inference_steps=12 (1 ... 250)"."""
    text = f"{control['name']}={control.get('default')}"
    if "choices" in control:
        return f"{text} ({', '.join(map(str, control['choices']))})"
    if "minimum" in control and "maximum" in control:
        return f"{text} ({control['minimum']} ... {control['maximum']})"
    return text
