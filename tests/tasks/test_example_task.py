"""docs/example-task, really installed by pip: a sixth task with its tab, command, endpoint and texts, and no line of the host."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from genarium import paths

PROGRAM = """
import asyncio
import json
import sys

import gradio as gr
import numpy as np
from typer.testing import CliRunner

from genarium.catalogue import find_checkpoints
from genarium.cli import app as commands
from genarium.families import discover
from genarium.runtime import Request, Runtime
from genarium.tasks import find_tasks
from genarium.ui import build_app
from genarium.media.pictures import to_pictures

tasks = find_tasks()
built_in = ["generate", "reconstruct", "interpolate", "swap_style", "anomaly", "check", "explore", "compare"]
built_in += ["lab", "train"]
assert list(tasks) == [*built_in[:7], "residual", *built_in[7:]]
assert tasks.origins["residual"] == "package genarium-residual (genarium_residual)" and not tasks.broken

def command(*arguments):
    result = CliRunner().invoke(commands, list(arguments))
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout

assert "residual" in command("--help")
listed = {c["name"]: c for c in json.loads(command("list", "--json"))["checkpoints"]}
assert "residual" in listed["tiny-vae"]["tasks"]
assert all(("residual" in c["tasks"]) == ("reconstruct" in c["tasks"]) for c in listed.values())
value, name = command("residual", "tiny-vae", "--images", sys.argv[1]).split()
assert 0 < float(value) < 1 and name == "images.npy[0]"

runtime = Runtime(find_checkpoints(discover(installed=False)), device="cpu")
result = runtime.run(Request("tiny-vae", "residual"), {"images": to_pictures(np.load(sys.argv[1]))})
assert abs(result.residuals.mean() - float(value)) < 1e-4
same = runtime.run(Request("tiny-vae", "reconstruct"), {"images": to_pictures(np.load(sys.argv[1]))})
assert np.array_equal(np.asarray(result.pictures[0]), np.asarray(same.pictures[0]))

app, look = build_app(runtime)
tabs = [b.id for b in app.blocks.values() if isinstance(b, gr.Tab)]
assert tabs[5] == "residual" and tabs[6:] == ["hub", "about"]
assert "Residual" in look["i18n"].translations["en"].values()
app.config = app.get_config_file()  # as a launch does
assert "does not give back" in json.dumps(app.get_api_info()["named_endpoints"]["/residual"])
to_pictures(np.load(sys.argv[1]))[0].save("image.png")
call = next(fn.fn for fn in app.fns.values() if fn.api_name == "residual")
files, report = asyncio.run(call("tiny-vae", "image.png", 0, {}))
assert abs(report["mean_residual"] - float(value)) < 1e-4 and len(files) == 1
assert report["request"]["task"] == "residual"
"""


@pytest.mark.slow
def test_a_package_of_its_own_is_a_task_like_the_others(tiny_checkpoints, tmp_path):
    shutil.copytree(paths.ROOT / "docs/example-task", tmp_path / "project")  # building leaves files beside the sources
    site = tmp_path / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--no-build-isolation"]
        + ["--target", str(site), str(tmp_path / "project")],
        check=True,
        timeout=300,
    )
    dark = np.random.default_rng(0).integers(0, 60, (1, 28, 28, 1), np.uint8)
    np.save(tmp_path / "images.npy", dark)
    environment = {
        **os.environ,
        "PYTHONPATH": f"{site}{os.pathsep}{paths.ROOT}",
        "GENARIUM_CHECKPOINTS": str(tiny_checkpoints),
        "GRADIO_ANALYTICS_ENABLED": "False",
    }
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "images.npy")],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
