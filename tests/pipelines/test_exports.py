"""Checkpoints that an earlier version exported, sources included, give the same bits with today's classes.

tests/exports/ holds a tiny checkpoint of every family, made by tests/exports/make.py. The sources in it are the earlier
version's, so they say what that version computes, on whatever machine the test runs. Each checkpoint is loaded in four
ways: bare, with the sources that it brings; with today's class; bare from what today's class saves; and bare once more
from what that saves. One process without this repository does all the bare loading.
"""

import ast
import json
import shutil
import sys
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import run_bare

from genarium.checkpoints import load_pipeline, open_checkpoint
from genarium.families import discover

EXPORTS = Path(__file__).resolve().parents[1] / "exports"
sys.path.insert(0, str(EXPORTS))
import calls  # noqa: E402
import make  # noqa: E402

ZIPS = sorted(path.stem for path in EXPORTS.glob("*.zip"))
OURS = {"genarium", "pipelines", "plugins", "tests"}

# old/NAME: the zip's files; new/NAME: what today's class saves of them; again/NAME: what the class in new/NAME saves.
BARE = """
import json, sys, warnings
from pathlib import Path
import numpy as np
import torch
from diffusers import DiffusionPipeline

warnings.filterwarnings("ignore")
torch.set_num_threads(1)
folder = Path.cwd()
names = json.loads((folder / "names.json").read_text())
sys.path.insert(0, str(folder))
import calls

def load(place):
    pipeline = DiffusionPipeline.from_pretrained(place, trust_remote_code=True)
    pipeline.set_progress_bar_config(disable=True)
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.to(memory_format=torch.channels_last).eval().requires_grad_(False)
    return pipeline

for name in names:
    old = load(folder / "old" / name)
    listed = calls.calls_of(old)
    (folder / f"{name}.json").write_text(json.dumps(listed))
    np.savez(folder / f"{name}.old.npz", **calls.answers(old, listed), **calls.losses(old))
    new = load(folder / "new" / name)
    new.save_pretrained(folder / "again" / name)
    np.savez(folder / f"{name}.new.npz", **calls.answers(new, listed[::4]), **calls.losses(new))  # today's code
    assert type(load(folder / "again" / name)).__name__ == type(old).__name__
assert not {m.split(".")[0] for m in sys.modules} & {"genarium", "pipelines", "plugins"}
"""


def load_today(folder):
    """The pipeline in a folder by the installed class, as the app loads it."""
    return load_pipeline(open_checkpoint(folder, discover(installed=False)))


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """A folder with every export unpacked, saved by today's class, and computed by bare processes; see BARE."""
    folder = tmp_path_factory.mktemp("exports")
    shutil.copy(EXPORTS / "calls.py", folder)
    for name in ZIPS:
        with zipfile.ZipFile(EXPORTS / f"{name}.zip") as file:
            file.extractall(folder / "old" / name)
        load_today(folder / "old" / name).save_pretrained(folder / "new" / name)
    (folder / "names.json").write_text(json.dumps(ZIPS))
    run_bare(BARE, folder)
    return folder


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the bare process: another number of threads sums in another order
    yield
    torch.set_num_threads(before)


def differences(expected, found):
    """Names of the results that are not the same bit by bit, or not there. A later version may give more."""
    return [name for name, value in expected.items() if name not in found or not _same(value, found[name])]


def _same(a, b):
    a, b = np.asarray(a), np.asarray(b)
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def test_every_family_that_is_to_have_an_export_has_one():
    """A new family enters `make.BUILDS` once it is to stay as it is; its round trip is in test_contract.py before."""
    assert set(make.BUILDS) <= {name.split("@")[0] for name in ZIPS}
    assert set(make.BUILDS) <= {family.name for family in discover(installed=False)}


@pytest.mark.parametrize("name", ZIPS)
def test_todays_class_gives_the_bits_of_the_sources_in_the_export(exports, one_thread, name):
    pipeline = load_today(exports / "old" / name)
    listed = json.loads((exports / f"{name}.json").read_text())
    expected = dict(np.load(exports / f"{name}.old.npz"))
    assert len(listed) > 5 and not [key for key in expected if key.endswith("refused")]
    assert all(np.isfinite(value).all() for value in expected.values() if value.dtype.kind == "f")
    assert not differences(expected, calls.answers(pipeline, listed) | calls.losses(pipeline))


@pytest.mark.parametrize("name", ZIPS)
def test_saved_by_todays_class_it_gives_the_same_bits_bare(exports, name):
    old, new = (dict(np.load(exports / f"{name}.{version}.npz")) for version in ("old", "new"))
    repeated = {key.split(":")[0] for key in new}
    expected = {key: value for key, value in old.items() if key.split(":")[0] in repeated}
    assert len(expected) > len(old) / 8
    assert not differences(expected, new)


@pytest.mark.parametrize("name", ZIPS)
def test_saving_again_changes_no_file(exports, name):
    def files(version):
        folder = exports / version / name
        return {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}

    def content(path):
        if path.suffix != ".json":
            return path.read_bytes()
        return {key: value for key, value in json.loads(path.read_text()).items() if key != "_name_or_path"}

    old, new, again = files("old"), files("new"), files("again")
    assert set(new) == set(again) and {path.suffix for path in new.values()} == {".py", ".json", ".safetensors"}
    assert not [name for name in new if content(new[name]) != content(again[name])]
    weights = [name for name in old if name.endswith(".safetensors")]
    assert weights and not [name for name in weights if content(new[name]) != content(old[name])]


def top_level_names(tree):
    """Every name that a module's own statements bind, as often as they do."""
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from (alias.asname or alias.name for alias in node.names)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name))


@pytest.mark.parametrize("version", ["old", "new"])
@pytest.mark.parametrize("name", ZIPS)
def test_an_exported_file_imports_nothing_of_ours_and_defines_no_name_twice(exports, name, version):
    files = sorted((exports / version / name).rglob("*.py"))
    assert files
    for path in files:
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: line {node.lineno}: a relative import"
                modules = [node.module]
            assert not {module.split(".")[0] for module in modules} & OURS, f"{path}: line {node.lineno}: {modules}"
        twice = [bound for bound, times in Counter(top_level_names(tree)).items() if times > 1]
        assert not twice, f"{path}: defined twice: {twice}"
