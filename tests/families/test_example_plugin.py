"""docs/example-plugin, really installed by pip: it is found, trains, is in the app, and is fit to be published."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from genarium import paths

PROGRAM = """
import sys
from pathlib import Path

import gradio as gr
import numpy as np
from typer.testing import CliRunner

from genarium.card.render import render_card
from genarium.catalogue import find_checkpoints
from genarium.checkpoints import load_pipeline
from genarium.cli import app
from genarium.families import discover
from genarium.runtime.request import Request
from genarium.runtime import Runtime
from genarium.tasks import controls_of, tasks_of
from genarium.ui import build_app

name = "gaussian-fashion-mnist"

def command(*arguments):
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output

found = discover()
family = found["gaussian"]
assert not found.broken and found.origins["gaussian"] == "package genarium-gaussian (genarium_gaussian:register)"
assert Path(sys.modules[family.pipeline_class().__module__].__file__).is_relative_to(sys.argv[2])
shown = {t for task in tasks_of(family.pipeline_class())
         for c in controls_of(family.pipeline_class(), task).values() for t in (c.label, c.help)}
assert shown == set(family.translations["zh"])

command("train", name, "--data", sys.argv[1])
catalogue = find_checkpoints(found)
checkpoint = catalogue[name]
assert list(catalogue.checkpoints) == [name] and list(checkpoint.tasks) == ["generate", "anomaly", "check", "compare"]

runtime = Runtime(catalogue, device="cpu")
pictures = runtime.run(Request(name, "generate", batch_size=3, parameters={"temperature": 0.0})).pictures
mean = np.load(sys.argv[1])["train_images"].mean(0)[..., 0]
before = np.abs(127.5 - mean).mean()
assert np.abs(np.asarray(pictures[0], float) - mean).mean() < before / 2, "it has learned the mean picture"
assert runtime.run(Request(name, "anomaly"), {"images": pictures[0]}).scores[0] < 1
blocks, _ = build_app(runtime)
assert any(name in str(getattr(b, "choices", "")) for b in blocks.blocks.values() if isinstance(b, gr.Dropdown))
assert any("Pixel Gaussian" in str(b.value) for b in blocks.blocks.values() if isinstance(b, gr.HTML))

render_card(checkpoint, checkpoint.recipe, load_pipeline(checkpoint)).save(checkpoint.folder / "README.md")
text = command("publish", name, "--dry-run")
assert "bit for bit: generate, anomaly" in text and "Nothing was sent" in text
assert "pipeline_gaussian.py" in text and "model/modeling_gaussian.py" in text
"""


@pytest.mark.slow
def test_a_package_of_its_own_is_a_family_like_the_others(tmp_path):
    shutil.copytree(
        paths.ROOT / "docs/example-plugin", tmp_path / "project"
    )  # building leaves files beside the sources
    site = tmp_path / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--no-build-isolation"]
        + ["--target", str(site), str(tmp_path / "project")],
        check=True,
        timeout=300,
    )
    recipe = site / "genarium_gaussian/recipes/gaussian-fashion-mnist.yaml"
    text = recipe.read_text()
    assert "images: 128000" in text
    recipe.write_text(text.replace("images: 128000", "images: 5120\n  warmup_steps: 0\n  ema_decay: 0.5"))
    dark = np.random.default_rng(0).integers(0, 60, (64, 28, 28, 1), np.uint8)
    names = np.array([f"kind {i}" for i in range(10)])
    np.savez(tmp_path / "data.npz", train_images=dark, train_labels=np.arange(64) % 10, label_names=names)
    environment = {
        **os.environ,
        "PYTHONPATH": f"{site}{os.pathsep}{paths.ROOT}",
        "GENARIUM_CHECKPOINTS": str(tmp_path / "checkpoints"),
        "GENARIUM_RUNS": str(tmp_path / "runs"),
    }
    (tmp_path / "checkpoints").mkdir()
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "data.npz"), str(site)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
