"""Plugins: a dropped folder, a really installed package, broken ones, duplicates."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from genarium import paths
from genarium.errors import PluginError
from genarium.families import Family, discover
from genarium.tasks import controls_of, tasks_of
from genarium.tasks.lab.question import plane_info

PLUGIN = """
from genarium.families import Family
def register(add):
    add(Family(name="{name}", title="T", pipeline="pipelines.pipeline_ddpm:DenoisingDiffusionPipeline",
               description={{"en": "One. Two. Three."}}))
"""


def drop(house, name, source):
    folder = house / "plugins" / name
    folder.mkdir()
    (folder / "plugin.py").write_text(textwrap.dedent(source))


def test_built_in_families_declare_themselves_in_both_languages():
    found = discover(installed=False)
    assert not found.broken and {"ddpm", "vae"} <= set(found.found)
    for family in found:
        assert family.description["en"] and family.description["zh"] and family.papers


def test_built_in_families_translate_every_control_as_the_docstrings_have_it_now():
    for family in discover(installed=False):
        chinese = family.translations["zh"]
        shown = {family.title}
        for task in tasks_of(family.pipeline_class()):
            for control in controls_of(family.pipeline_class(), task, family.controls).values():
                if not control.hidden:
                    shown |= {control.label, control.help}
        if family.plane is not None:
            shown |= {
                text for control in plane_info(family).controls.values() for text in (control.label, control.help)
            }
        missing = shown - {"", family.title} - set(chinese)  # some titles are the same in both languages
        assert not missing, f"plugins/{family.name}/zh.yaml lacks {missing}"
        assert not set(chinese) - shown, f"plugins/{family.name}/zh.yaml translates what no tab shows"


def test_a_dropped_folder_is_found(house):
    drop(house, "mine", PLUGIN.format(name="mine"))
    found = discover(installed=False)
    assert found["mine"].pipeline_class().__name__ == "DenoisingDiffusionPipeline"
    assert found.origins["mine"] == "plugins/mine"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import no_such_module", "no_such_module"),
        ("raise SystemError('out of order')", "out of order"),
        ("import sys; sys.exit('no gpu')", "no gpu"),
        (PLUGIN.format(name="b").replace("description=", "controls={'eta': {'maximun': 1}}, description="), "maximum"),
        ("x = (", "SyntaxError"),
        ("def other(add): pass", "no function register"),
        ("def register(add): pass", "added no family"),
        ("def register(add): add('ddpm2')", "takes a genarium.families.Family"),
        ("def register(add): raise KeyError('lost')", "lost"),
        (PLUGIN.format(name="Bad Name"), "lower-case"),
        (PLUGIN.format(name="b").replace("pipeline_ddpm:", "pipeline_lost:"), "cannot be imported"),
        (PLUGIN.format(name="b").replace('"en"', '"fr"'), "English"),
    ],
)
def test_a_broken_plugin_is_listed_with_its_reason_and_stops_nobody(house, source, reason):
    drop(house, "bad", source)
    found = discover(installed=False)
    assert [b.origin for b in found.broken] == ["plugins/bad"]
    assert reason in found.broken[0].reason and "Traceback" in found.broken[0].details
    assert {"ddpm", "vae"} <= set(found.found) and len(found.found) == len(
        discover(paths.ROOT / "plugins", False).found
    )


@pytest.mark.parametrize("folder", ["aa_copy", "zz_other"])
def test_a_duplicate_name_is_refused_with_both_origins(house, folder):
    """The folder that bears the name keeps it, wherever the other stands in the alphabet."""
    drop(house, folder, PLUGIN.format(name="ddpm"))
    found = discover(installed=False)
    assert "plugins/ddpm" in found.broken[0].reason and f"plugins/{folder}" in found.broken[0].reason
    assert found.origins["ddpm"] == "plugins/ddpm"


def test_an_unknown_family_is_refused_with_those_there_are(house):
    drop(house, "bad", "import no_such_module")
    with pytest.raises(PluginError, match="vae"):
        discover(installed=False)["no-such"]
    with pytest.raises(PluginError, match="no_such_module"):
        discover(installed=False)["bad"]


def test_an_installed_package_enters_by_the_same_door(tmp_path):
    """A real package, installed by pip into a folder of its own, found through its entry point."""
    project = tmp_path / "project"
    (project / "genarium_tiny").mkdir(parents=True)
    (project / "genarium_tiny" / "__init__.py").write_text(PLUGIN.format(name="tiny-installed"))
    (project / "pyproject.toml").write_text(
        textwrap.dedent("""
        [build-system]
        requires = ["setuptools"]
        build-backend = "setuptools.build_meta"
        [project]
        name = "genarium-tiny"
        version = "1.0"
        [project.entry-points."genarium.families"]
        tiny = "genarium_tiny:register"
        [tool.setuptools]
        packages = ["genarium_tiny"]
        """)
    )
    site = tmp_path / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--no-build-isolation"]
        + ["--target", str(site), str(project)],
        check=True,
        timeout=120,
    )
    program = (
        "from genarium.families import discover\n"
        "found = discover()\n"
        "print(found.origins['tiny-installed'], sorted(found.found), found.broken)"
    )
    environment = {**os.environ, "PYTHONPATH": f"{site}{os.pathsep}{paths.ROOT}"}
    run = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    assert "package genarium-tiny (genarium_tiny:register)" in run.stdout and "'ddpm'" in run.stdout


def test_a_class_can_be_given_itself():
    assert Family("a", "A", dict, {"en": ""}).pipeline_class() is dict


@pytest.mark.parametrize(
    "error", ["KeyboardInterrupt", "SystemExit(3)", "GeneratorExit", "RecursionError", "BaseException(1)"]
)
def test_whatever_a_plugin_raises_it_is_listed_as_broken(tmp_path, error):
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd/plugin.py").write_text(f"raise {error}")
    found = discover(tmp_path, installed=False)
    assert [b.origin for b in found.broken] == [f"{tmp_path.name}/odd"] and not list(found)
    assert error.partition("(")[0] in found.broken[0].reason and "plugin.py" in found.broken[0].details


def test_ctrl_c_while_plugins_are_imported_still_ends_the_start(tmp_path):
    (tmp_path / "slow").mkdir()
    (tmp_path / "slow/plugin.py").write_text(
        "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nfor _ in range(10**6): pass"
    )
    # a process in the background of a script ignores the signal, and hands that down to its tests
    outside = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            discover(tmp_path, installed=False)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, outside)
