"""Write the card and what it shows into a checkpoint's folder."""

from __future__ import annotations

from pathlib import Path

from genarium.card.part import card_parts
from genarium.card.render import render_card
from genarium.evaluation.evaluation import Evaluation
from genarium.files import write_file
from genarium.recipe import Recipe
from genarium.runtime import Runtime


def write_card(evaluation: Evaluation) -> Path:
    """Draw what the card shows, then write README.md. Pictures that need test data stay as they are if none are in memory.

    Returns:
        The path of README.md.
    """
    for part in card_parts(evaluation.checkpoint):
        if part.draw is not None and (evaluation.data_loaded or not part.needs_data):
            part.draw(evaluation)
    return write_readme(evaluation.name, evaluation.runtime, evaluation.recipe)


def write_readme(name: str, runtime: Runtime, recipe: Recipe) -> Path:
    """Write README.md alone, around the pictures and sounds that are there.

    Args:
        name: of the checkpoint, or its folder.
        runtime: loads it, to count its parameters.
        recipe: whose facts the card states.

    Returns:
        The path of README.md.
    """
    checkpoint = runtime.catalogue[name]
    card = render_card(checkpoint, recipe, runtime.pipeline(name))
    return write_file(checkpoint.folder / "README.md", card.save)
