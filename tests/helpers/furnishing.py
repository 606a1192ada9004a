"""A checkpoint with all that publishing needs beside it."""

import json
import shutil
from pathlib import Path

import yaml
from PIL import Image

from genarium.card.render import render_card
from genarium.catalogue import find_checkpoints
from genarium.checkpoints import load_pipeline
from genarium.families import discover

METRIC = {"name": "psnr", "value": 21.0, "unit": "dB", "n": 8, "seed": 0, "protocol": "a test"}


def furnish(house: Path, folder: Path, family: str, **recipe) -> Path:
    """Put a tiny checkpoint into the house, with a recipe, a figure, a picture and the card made of them."""
    name = f"tiny-{family}"
    target = house / "checkpoints" / name
    shutil.copytree(folder, target)
    values = {
        "name": name,
        "family": family,
        "repo_id": f"user/{name}",
        "data": {"name": "a/b", "sample_size": 28, "channels": 1},
        "architecture": {"latent_dim": 8},
        "training": {"images": 24},
        **recipe,
    }
    lines = [f"# made by a test\n{yaml.safe_dump(values, sort_keys=False)}# the end\n"]
    (house / f"hub_configs/{name}.yaml").write_text("".join(lines))
    (target / "evaluation.json").write_text(json.dumps({"metrics": [METRIC], "hardware": "a test", "date": "today"}))
    Image.new("L", (8, 8)).save(target / "samples.png")
    checkpoint = find_checkpoints(discover(installed=False))[name]
    render_card(checkpoint, checkpoint.recipe, load_pipeline(checkpoint)).save(target / "README.md")
    return target
