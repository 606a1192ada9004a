"""What a card lacks that readers on the Hub need."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import ModelCard

from genarium.checkpoints import EVALUATION

METADATA = ("license", "library_name", "pipeline_tag", "datasets", "tags")  # without which a card is incomplete


def card_problems(content: str, folder: Path, repo_id: str) -> list[str]:
    """Return what a card lacks, in words. The Hub has its own check beside this one.

    Args:
        content: of README.md.
        folder: which must hold the pictures that the card shows, and evaluation.json, whose figures it must have.
        repo_id: which the card's code must load.
    """
    try:
        card = ModelCard(content)
    except (ValueError, TypeError, yaml.YAMLError) as error:
        return [f"its metadata cannot be read: {' '.join(str(error).split())}"]
    data: Any = card.data  # its attributes are those of the card's metadata
    problems = [f"its metadata lacks {key}" for key in METADATA if not getattr(data, key, None)]
    if (data.library_name or "diffusers") != "diffusers":
        problems.append(f"its library_name is {data.library_name}, not diffusers")
    if "genarium" not in (data.tags or ["genarium"]):
        problems.append("its tags lack genarium")
    path = folder / EVALUATION
    try:
        measured = path.exists() and json.loads(path.read_text(encoding="utf-8")).get("metrics")
    except (ValueError, AttributeError):
        measured = None
        problems.append(f"{EVALUATION} beside it is damaged")
    if measured and not data.eval_results:
        problems.append(f"its model-index lacks the figures of {EVALUATION}")
    if f'"{repo_id}"' not in card.text:
        problems.append(f'its code does not load "{repo_id}"')
    for picture in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", card.text):
        if "://" not in picture and not (folder / picture).exists():
            problems.append(f"it shows {picture}, which is not there")
    return problems
