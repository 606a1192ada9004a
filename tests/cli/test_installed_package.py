"""The package, built without network and installed where no checkout is: what it carries, and that it works there."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from genarium import paths

CODE = ("genarium", "pipelines", "plugins", "hub_configs")
BUNDLED = ("plugins", "hub_configs", "checkpoints")
CHECKPOINT = "rbm-mnist"  # the smallest

PROGRAM = f"""
import sys
from pathlib import Path

import genarium
from genarium import paths
from genarium.catalogue import find_checkpoints
from genarium.checkpoints import open_checkpoint
from genarium.errors import HubError, PluginError
from genarium.families import discover
from genarium.new_family import create
from genarium.runtime import Runtime
from genarium.runtime.program import to_python
from genarium.runtime.request import Request
from genarium.ui import build_app

site = Path(sys.argv[1])
assert Path(genarium.__file__).is_relative_to(site) and paths.installed()

families = discover(installed=False)
assert not families.broken and len(families.found) == int(sys.argv[2]), families
catalogue = find_checkpoints(families)
assert list(catalogue.checkpoints) == ["{CHECKPOINT}"] and not catalogue.broken

# the program that the page shows, as it is
checkpoint = catalogue["{CHECKPOINT}"]
runtime = Runtime(catalogue, device="cpu")
request = Request(checkpoint.name, "generate", batch_size=2, parameters={{"num_inference_steps": 5}}).checked(checkpoint)
shown = runtime.run(request).pictures
exec(to_python(request, checkpoint), made := {{}})
assert [p.tobytes() for p in made["output"].images] == [p.tobytes() for p in shown]

# what has no weights here says where they could come from, and a folder is taken by its path
try:
    genarium.load("gan-tiles")
except HubError as error:
    assert "its weights are not here" in str(error) and "genarium train gan-tiles" in str(error), error
else:
    raise AssertionError("weights from nowhere")
made["pipe"].save_pretrained("elsewhere/mine")
assert genarium.load("elsewhere/mine").config.id2label == made["pipe"].config.id2label

# what is made stays outside the package; a checkpoint of one's own takes the place of the one that came along
assert paths.runs() == Path.cwd() / "runs" and paths.docs() == Path.cwd() / "docs"
made["pipe"].save_pretrained("checkpoints/{CHECKPOINT}")
again = find_checkpoints(families)
assert again["{CHECKPOINT}"].folder == Path.cwd() / "checkpoints/{CHECKPOINT}" and not again.broken
try:
    create("mine")
except PluginError as error:
    assert "--root" in str(error)

blocks, look = build_app(runtime)
assert len(blocks.blocks) > 100 and ".gradio-container" in look["css"]
assert not any(f.is_dir() for f in (site / "runs", site / "checkpoints", site / "docs"))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel of this checkout, with one of its checkpoints."""
    folder = tmp_path_factory.mktemp("built")
    tree, ignore = folder / "tree", shutil.ignore_patterns("__pycache__")
    for name in (*CODE, f"checkpoints/{CHECKPOINT}"):
        shutil.copytree(paths.ROOT / name, tree / name, ignore=ignore)
    for name in ("pyproject.toml", "setup.py", "requirements.txt", "README.md", "LICENSE"):
        shutil.copy(paths.ROOT / name, tree)
    pip("wheel", "--no-build-isolation", "-w", str(folder / "wheels"), str(tree))
    (built,) = (folder / "wheels").iterdir()
    return built


@pytest.fixture(scope="module")
def site(wheel, tmp_path_factory) -> Path:
    """A folder into which the wheel is installed."""
    site = tmp_path_factory.mktemp("site")
    pip("install", "--target", str(site), str(wheel))
    return site


def pip(command: str, *arguments: str) -> None:
    quiet = [sys.executable, "-m", "pip", command, "-q", "--no-deps", "--no-index", *arguments]
    subprocess.run(quiet, check=True, timeout=300)


def run(site: Path, folder: Path, *command: str) -> str:
    """Run a command in a folder, with the installed package and without this checkout -> what it prints."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GENARIUM_")}
    environment = {**kept, "PYTHONPATH": str(site), "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hf")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_the_wheel_carries_what_runs_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = archive.read(next(n for n in names if n.endswith(".dist-info/METADATA"))).decode()
        entries = archive.read(next(n for n in names if n.endswith("entry_points.txt"))).decode()
    expected = set()
    for folder in (*CODE, f"checkpoints/{CHECKPOINT}"):
        for file in (paths.ROOT / folder).rglob("*"):
            name = file.relative_to(paths.ROOT).as_posix()
            exported = folder.startswith("checkpoints") and file.suffix == ".py"  # git has no such files either
            if file.is_file() and "__pycache__" not in name and not exported:
                expected.add(f"genarium/bundled/{name}" if folder.split("/")[0] in BUNDLED else name)
    assert {name for name in names if ".dist-info/" not in name} == expected

    wanted = [line.partition("#")[0].strip() for line in (paths.ROOT / "requirements.txt").read_text().splitlines()]
    assert re.findall(r"(?m)^Requires-Dist: (.*)$", metadata) == [line for line in wanted if line]
    assert "genarium = genarium.cli:app" in entries


def test_it_works_without_the_checkout(site, tmp_path, families):
    run(site, tmp_path, sys.executable, "-P", "-c", PROGRAM, str(site), str(len(families.found)))


def test_genarium_is_a_command(site, tmp_path):
    command = str(site / "bin" / "genarium")
    said = run(site, tmp_path, sys.executable, command, "--help")
    assert "Usage: genarium" in said and "new-family" in said and "app" in said
    said = run(site, tmp_path, sys.executable, command, "app", "--help")
    assert "genarium app" in said and "--trust-remote-code" in said
    assert CHECKPOINT in run(site, tmp_path, sys.executable, command, "list")
