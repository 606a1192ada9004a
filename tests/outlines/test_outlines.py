"""Outlines say what the classes say, are believed only while nothing has changed, and keep torch out of a start."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from genarium import paths
from genarium.families import discover
from genarium.outlines import Kept, outline_of, stamps
from genarium.outlines.written import read_outline, write_outline
from genarium.tasks import Control, can_do, controls_of, find_tasks

PLUGIN = """
from genarium.families import Family

def register(add):
    add(Family("kept", "Kept", "{module}:KeptPipeline", {{"en": "x"}}, controls={{"strength": {{"maximum": 9}}}}))
"""
PIPELINE = """
from typing import Annotated

from diffusers import DiffusionPipeline

class KeptPipeline(DiffusionPipeline):
    def __init__(self, network=None):
        super().__init__()
        self.register_modules(network=network)

    def __call__(self, batch_size: int = 1, generator=None, strength: Annotated[float, {{"minimum": 0}}] = {default}):
        pass
"""


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A plugin folder with one family, whose module lies elsewhere, and an empty cache."""
    module = f"kept_{tmp_path.name.replace('-', '_')}"
    plugin, source = tmp_path / "plugins" / "kept" / "plugin.py", tmp_path / "modules" / f"{module}.py"
    for path, text in ((plugin, PLUGIN.format(module=module)), (source, PIPELINE.format(default=1.5))):
        path.parent.mkdir(parents=True)
        path.write_text(text)
        os.utime(path, ns=(10**18, 10**18))
    monkeypatch.syspath_prepend(str(source.parent))
    monkeypatch.setenv("GENARIUM_CACHE", str(tmp_path / "cache"))

    def find():
        """Return the families as a new process would find them: the pipeline's module is not imported yet."""
        sys.modules.pop(module, None)
        return discover(plugin.parent.parent, installed=False)

    return SimpleNamespace(find=find, source=source, module=module, cache=tmp_path / "cache")


def cached(world):
    return next(world.cache.glob("outlines-*.json"))


def test_written_outlines_of_all_families_are_what_their_classes_say():
    for family in discover():
        pipeline_class = family.pipeline_class()
        outline = read_outline(json.loads(json.dumps(write_outline(outline_of(pipeline_class)))))
        assert outline == outline_of(pipeline_class), family.name
        assert [task.name for task in outline.tasks] == [
            t.name for t in find_tasks().values() if can_do(pipeline_class, t)
        ]
        for task in outline.tasks:
            expected = controls_of(pipeline_class, task, family.controls)
            assert repr(outline.controls(task.name, family.controls)) == repr(expected), (family.name, task.name)


def test_second_start_does_not_import_the_pipeline(world):
    first = world.find()
    assert world.module in sys.modules and cached(world).is_file()
    second = world.find()
    assert world.module not in sys.modules
    assert second["kept"].outline == first["kept"].outline
    control = second["kept"].outline.controls("generate", second["kept"].controls)["strength"]
    assert (control.default, control.minimum, control.maximum) == (1.5, 0, 9)
    assert second.taking("KeptPipeline").pipeline_class().__name__ == "KeptPipeline"  # imported when asked for


def test_changed_pipeline_is_read_anew(world):
    world.find()
    world.source.write_text(PIPELINE.format(default=2.5))
    os.utime(world.source, ns=(10**18 + 1, 10**18 + 1))
    assert world.find()["kept"].outline.calls["generate"].controls["strength"].default == 2.5
    world.find()
    assert world.module not in sys.modules  # and the new one is kept


def test_pipeline_that_broke_is_reported_as_without_a_cache(world):
    world.find()
    world.source.write_text("raise RuntimeError('no such network')")
    os.utime(world.source, ns=(10**18 + 1, 10**18 + 1))
    for _ in range(2):  # what is broken is never kept
        (broken,) = world.find().broken
        assert "no such network" in broken.reason and "Traceback" in broken.details


def test_module_of_another_folder_is_not_taken_for_the_kept_one(world, tmp_path, monkeypatch):
    world.find()
    other = tmp_path / "other" / world.source.name
    other.parent.mkdir()
    other.write_text(PIPELINE.format(default=3.5))
    os.utime(other, ns=(10**18, 10**18))
    monkeypatch.syspath_prepend(str(other.parent))
    assert world.find()["kept"].outline.calls["generate"].controls["strength"].default == 3.5


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: text.replace('"format": 1', '"format": 0'),
        lambda text: text.replace(sys.version.split()[0], "2.7"),
        lambda text: text.replace('"components"', '"parts"'),
        lambda text: text.replace('"float"', '"colour"').replace('"name"', '"nom"'),
    ],
)
def test_damaged_or_foreign_file_is_rebuilt_silently(world, spoil, capsys):
    world.find()
    good = cached(world).read_text()
    cached(world).write_text(spoil(good))
    families = world.find()
    assert not families.broken and families["kept"].outline.class_name == "KeptPipeline"
    assert json.loads(cached(world).read_text()) == json.loads(good)
    assert capsys.readouterr() == ("", "")


def test_installing_a_package_makes_all_outlines_void(world, tmp_path, monkeypatch):
    place = tmp_path / "packages"
    place.mkdir()
    monkeypatch.syspath_prepend(str(place))
    world.find()
    (place / "diffusers-99.dist-info").mkdir()
    world.find()
    assert world.module in sys.modules


def test_folder_that_cannot_be_written_changes_nothing(world):
    world.cache.write_text("a file where the folder should be")
    for _ in range(2):
        assert not world.find().broken and world.module in sys.modules


def test_file_that_is_being_written_is_not_believed(world):
    os.utime(world.source, ns=(2 * 10**18 * 2, 2 * 10**18 * 2))  # in the future
    world.find()
    assert not world.cache.exists()


@pytest.mark.parametrize("default", [object(), (1, [2]), {1: 2}])
def test_what_plain_values_do_not_say_is_not_kept(default):
    outline = next(iter(discover())).outline
    call = outline.calls["generate"]
    control = Control("odd", "text", default)
    odd = replace(outline, calls={"generate": replace(call, controls={"odd": control})})
    assert write_outline(odd) is None
    kept = Kept(Path("nowhere.json"))
    kept.add("module:Class", odd)
    kept.save()
    assert not Path("nowhere.json").exists()


def test_each_installation_has_a_file_of_its_own(monkeypatch, tmp_path):
    here = Kept().file
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    assert Kept().file != here and Kept().file.parent == here.parent


def test_stamps_leave_out_installed_files():
    files = stamps.loaded_files()
    assert str(Path(paths.__file__)) in files
    assert not any("site-packages" in file or file == os.__file__ for file in files)


def test_list_and_first_page_import_no_torch():
    discover()  # fills the cache of the tests
    program = (
        "import sys\n"
        "from genarium.catalogue import find_checkpoints\n"
        "from genarium.cli.inspecting import describe\n"
        "from genarium.families import discover\n"
        "assert describe()['checkpoints']\n"
        "from genarium.runtime import Runtime\n"
        "from genarium.ui import build_app\n"
        "build_app(Runtime(find_checkpoints(discover())))\n"
        "print(*{'torch', 'diffusers', 'accelerate', 'scipy'}.intersection(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=paths.ROOT)
    assert (run.returncode, run.stdout.strip()) == (0, ""), run.stderr
