"""What goes to a Space and into a container: checked here, so that no build elsewhere fails for it."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from genarium import paths
from genarium.cli import app
from genarium.errors import GenariumError, HubError
from genarium.hub.space import KEPT_THERE, deploy, prepare, space_problems

README = """---
title: Mine
sdk: gradio
sdk_version: 6.31.0
python_version: "3.11"
app_file: app.py
license: mit
short_description: Short
models:
- user/a
---
# Mine
"""
RECIPE = {
    "name": "a",
    "family": "vae",
    "repo_id": "user/a",
    "data": {"name": "x/y", "sample_size": 8, "channels": 1},
    "architecture": {},
    "training": {"images": 1},
}


@pytest.fixture
def root(tmp_path) -> Path:
    """A small checkout."""
    root = tmp_path / "checkout"
    files = {
        "README.md": README,
        "requirements.txt": "torch==1\ngradio==6.31.0  # the page\n",
        "app.py": "print()\n",
        "hub_configs/a.yaml": json.dumps(RECIPE),
        "checkpoints/a/model_index.json": "{}",
        "checkpoints/a/vae/weights.safetensors": "weights\0",
        "tests/test_app.py": "",
        "runs/a/state.json": "{}",
        "requirements-dev.txt": "",
        ".gitignore": "runs/\n.venv/\n__pycache__/\n",
        ".venv/lib/thing.py": "",
        "genarium/__pycache__/a.pyc": "",
        "genarium/a.py": "",
    }
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


NEEDED = {
    "README.md",
    "requirements.txt",
    "app.py",
    "genarium/a.py",
    "hub_configs/a.yaml",
    "checkpoints/a/model_index.json",
    "checkpoints/a/vae/weights.safetensors",
}


def commit(root: Path) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.example"]
    for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-q", "-m", "all"]):
        subprocess.run(["git", "-C", str(root), *command], check=True)


def test_a_space_gets_what_it_needs_with_git_and_without(root):
    assert set(prepare(root).files) == NEEDED and prepare(root).version == ""
    if shutil.which("git"):
        commit(root)
        (root / "scratch.py").write_text("not added")
        deployment = prepare(root)
        assert set(deployment.files) == NEEDED and re.fullmatch("[0-9a-f]{7,}", deployment.version)
        (root / "app.py").write_text("print(2)\n")
        assert prepare(root).version.endswith("-dirty")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("sdk: gradio", "sdk: docker", "sdk must be gradio"),
        ("6.31.0", "6.30.0", "sdk_version is 6.30.0, but gradio in requirements.txt is 6.31.0"),
        ('"3.11"', "three", "python_version"),
        ("app.py", "main.py", "app_file main.py is not among the files"),
        ("Short", "Long" * 16, "more than 60"),
        ("title: Mine\n", "", "lacks title"),
        ("- user/a", "- user/b", r"models, for the links between them, must be \['user/a'\]"),
        ("---\ntitle", "---\n[title", "cannot be read"),
        ("license", "preload_from_hub: user/a\nlicense", "preload_from_hub must be a list"),
        ("license", "preload_from_hub:\n- a\nlicense", "preload_from_hub must be a list"),
        ("license", "preload_from_hub:\n- user/a weights main\nlicense", "preload_from_hub must be a list"),
    ],
)
def test_front_matter_that_the_hub_could_not_use(root, old, new, words):
    (root / "README.md").write_text(README.replace(old, new, 1))
    with pytest.raises(GenariumError, match=words):
        prepare(root)


def test_a_space_may_name_what_is_fetched_when_it_is_built(root):
    entries = ["user/a", "user/a config.json,vae/weights.safetensors", f"user/a config.json {'0a' * 20}"]
    preloads = "".join(f"- {entry}\n" for entry in entries)
    (root / "README.md").write_text(README.replace("license", f"preload_from_hub:\n{preloads}license"))
    assert set(prepare(root).files) == NEEDED


def test_without_a_readme_there_is_no_space(root):
    (root / "README.md").unlink()
    with pytest.raises(GenariumError, match=r"no README\.md"):
        prepare(root)


def test_this_checkout_is_a_space():
    result = CliRunner().invoke(app, ["deploy", "user/space", "--dry-run"])
    assert result.exit_code == 0, result.output
    names = set(re.findall(r"kB  (\S+)$", result.output, re.MULTILINE))
    assert {
        "app.py",
        "README.md",
        "requirements.txt",
        "genarium/runtime/scheduler.py",
        "pipelines/pipeline_vae.py",
    } < names
    assert not {name for name in names if name.startswith(("tests/", "benchmarks/", ".", "runs/"))}
    assert "Nothing was sent" in result.output
    assert space_problems(paths.ROOT, names) == []


def test_deployed_in_one_commit_and_brought_up_to_date(hub, root):
    revision = deploy("user/mine", prepare(root), private=True, hardware="zero-a10g")
    space = hub.repo("user/mine", "space")
    assert space.sha == revision and space.private and space.sdk == "gradio" and space.hardware == "zero-a10g"
    assert set(space.files) == NEEDED | KEPT_THERE and space.files["app.py"] == b"print()\n"
    before = len(space.commits)
    assert deploy("user/mine", prepare(root)) == revision and len(space.commits) == before, "nothing new"
    (root / "genarium/a.py").rename(root / "genarium/b.py")
    (root / "app.py").write_text("print(2)\n")
    deploy("user/mine", prepare(root))
    assert len(space.commits) == before + 1 and space.hardware == "zero-a10g"
    assert set(space.files) == (NEEDED - {"genarium/a.py"}) | {"genarium/b.py"} | KEPT_THERE
    assert space.files["app.py"] == b"print(2)\n"


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        ("POST", "/api/repos/create", 403, "no right to write to user/mine"),
        ("POST", "/api/repos/create", 402, r"refused \(402\). The Hub says: Pay first"),
        ("PUT", "/lfs/", 500, "trouble of its own"),
        ("POST", "/commit/", 412, "changed by someone else"),
    ],
)
def test_a_failed_deployment_changes_nothing(hub, root, method, path, status, words):
    deploy("user/mine", prepare(root))
    before = hub.repo("user/mine", "space").sha
    (root / "checkpoints/a/vae/weights.safetensors").write_text("other\0")
    hub.fail(method, path, status, times=99, message="Pay first" if status == 402 else "")
    if "create" in path:
        del hub.repos["space", "user/mine"]
    with pytest.raises(HubError, match=words):
        deploy("user/mine", prepare(root))
    assert all(space.sha == before for space in hub.repos.values())
    hub.heal()
    deploy("user/mine", prepare(root))
    assert hub.repo("user/mine", "space").files["checkpoints/a/vae/weights.safetensors"] == b"other\0"


def test_another_app_is_not_replaced(hub, root):
    hub.add_repo("user/other", {"README.md": b"---\ntitle: Other\nsdk: gradio\n---\n", "main.py": b""}, type="space")
    with pytest.raises(HubError, match=r"is another app \(Other\)"):
        deploy("user/other", prepare(root))
    assert "main.py" in hub.repo("user/other", "space").files
    hub.add_repo(
        "user/site", {"README.md": b"---\ntitle: Site\nsdk: static\n---\n", "index.html": b"mine"}, type="space"
    )
    with pytest.raises(HubError, match=r"is another app \(Site\)"):
        deploy("user/site", prepare(root))
    assert "index.html" in hub.repo("user/site", "space").files
    with pytest.raises(HubError, match='the Hub refuses the README\'s metadata: "license"'):
        (root / "README.md").write_text(README.replace("license: mit", "license: mine"))
        deploy("user/new", prepare(root))
    assert ("space", "user/new") not in hub.repos


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["no-slash"], "is no Hub id to write to"),
        (["user/space", "--hardware", "toaster"], "--hardware: choose one of cpu-basic"),
    ],
)
def test_mistakes_are_reported_in_a_sentence(arguments, words):
    result = CliRunner().invoke(app, ["deploy", *arguments])
    assert result.exit_code == 2 and words in result.output


def test_deploying_needs_no_torch():
    program = "import sys, genarium.hub.space; assert not {'torch', 'diffusers', 'gradio'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], cwd=paths.ROOT, check=True)
