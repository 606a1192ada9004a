"""A Space from this checkout: its metadata checked, its files brought up in one commit, what is gone deleted there."""

from __future__ import annotations

import fnmatch
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import yaml
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, SpaceCard, SpaceHardware, constants

from genarium.errors import GenariumError, HubError, RecipeError
from genarium.hub.errors import check_repo_id, hub_errors
from genarium.recipe import load_recipe

# What is for those who work on the code. The Hub would also read .gitignore, and silently leave out what it names.
NOT_NEEDED = (
    *(f"{folder}/*" for folder in (".ci", ".github", "benchmarks", "docs/benchmarks", "tests")),
    *(".dockerignore", ".gitignore", "Dockerfile"),
    *("requirements-dev.txt", "requirements-voice.txt"),
)
# Where git does not say what belongs to the project: caches, environments and what training leaves.
NOT_TRACKED = (".*", "*/.*", "*__pycache__/*", "*.pyc", "data/*", "runs/*", "samples*.npy", "*.egg-info/*", "build/*")
KEPT_THERE = {".gitattributes"}  # the Hub's own
LONGEST_DESCRIPTION = 60
PRELOADED = re.compile(
    r"[\w.-]+/[\w.-]+( [^\s,]+(,[^\s,]+)*( [0-9a-f]{40})?)?"
)  # what a Space fetches when it is built


@dataclass(frozen=True)
class Deployment:
    """The files of a Space of this checkout: paths with their sizes, and a name for this state of the code."""

    root: Path
    files: dict[str, int]
    title: str
    version: str


def prepare(root: Path) -> Deployment:
    """Choose the files and check the README's front matter, from which the Hub builds the Space. No network.

    Raises:
        GenariumError: with everything that is wrong.
    """
    names, version = _tracked(root)
    names = [n for n in names if not _matches(n, NOT_NEEDED) and (root / n).is_file()]
    problems = space_problems(root, set(names))
    if problems:
        raise GenariumError("This checkout makes no Space:\n" + "\n".join(f"  {problem}" for problem in problems))
    title = SpaceCard.load(root / "README.md").data.title
    return Deployment(root, {name: (root / name).stat().st_size for name in sorted(names)}, title, version)


def space_problems(root: Path, names: set[str]) -> list[str]:
    """Return what would keep the Hub from building or showing the Space; nothing if all is well.

    Args:
        names: the files that it will have.
    """
    for name in ("README.md", "requirements.txt"):
        if name not in names:
            return [f"there is no {name}"]
    try:
        data = SpaceCard.load(root / "README.md").data.to_dict()
    except (ValueError, TypeError, yaml.YAMLError) as error:
        return [f"README.md: its front matter cannot be read: {' '.join(str(error).split())}"]
    problems = [f"README.md: the front matter lacks {key}" for key in ("title", "sdk", "app_file") if not data.get(key)]
    if data.get("sdk") != "gradio":
        problems.append(f"README.md: sdk must be gradio, not {data.get('sdk')}")
    pinned = re.search(r"(?m)^gradio(?:\[[^\]]*\])?==(\S+)", (root / "requirements.txt").read_text(encoding="utf-8"))
    if pinned is None or str(data.get("sdk_version")) != pinned.group(1):
        wanted = pinned.group(1) if pinned else "pinned there"
        problems.append(
            f"README.md: sdk_version is {data.get('sdk_version')}, but gradio in requirements.txt is {wanted}"
        )
    if not re.fullmatch(r"3\.\d+(\.\d+)?", str(data.get("python_version"))):
        problems.append('README.md: python_version must be a version in quotes, as "3.11"')
    if data.get("app_file") and data["app_file"] not in names:
        problems.append(f"README.md: app_file {data['app_file']} is not among the files")
    if len(str(data.get("short_description") or "")) > LONGEST_DESCRIPTION:
        problems.append(f"README.md: short_description has more than {LONGEST_DESCRIPTION} letters")
    preloaded = data.get("preload_from_hub") or []
    if not isinstance(preloaded, list) or not all(PRELOADED.fullmatch(str(entry)) for entry in preloaded):
        problems.append(
            'README.md: preload_from_hub must be a list of "user/name", "user/name file,file" or "user/name file,file commit"'
        )
    models = _models(root, names)
    if sorted(data.get("models") or []) != models:
        problems.append(f"README.md: models, for the links between them, must be {models}: what is in checkpoints/")
    return problems


def deploy(repo_id: str, deployment: Deployment, private: bool = False, hardware: str | None = None) -> str:
    """Create the Space if there is none, and bring it to this state in one commit; the Hub then builds and starts it.

    Args:
        private: for a Space that does not exist yet.
        hardware: to ask for, e.g. "zero-a10g"; by default as it is.

    Returns:
        The commit.

    Raises:
        HubError: not logged in, no right, another app there, no network, ...; the Space is as it was then.
    """
    check_repo_id(repo_id)
    with hub_errors(repo_id, "write"):
        try:
            SpaceCard.load(deployment.root / "README.md").validate(repo_type="space")
        except ValueError as error:
            raise HubError(f"{repo_id}: the Hub refuses the README's metadata: {error}") from error
        api = HfApi()
        api.create_repo(repo_id, repo_type="space", space_sdk="gradio", private=private or None, exist_ok=True)
        info = api.space_info(repo_id)
        there = {sibling.rfilename for sibling in info.siblings or ()}
        title = getattr(info.card_data, "title", None)
        if title != deployment.title and there - KEPT_THERE - {"README.md"}:  # those two a new Space has by itself
            raise HubError(
                f"{repo_id} is another app ({title}), all of which would be replaced. Choose another name, or delete it first."
            )
        commit = api.create_commit(
            repo_id,
            [CommitOperationDelete(n, is_folder=False) for n in sorted(there - set(deployment.files) - KEPT_THERE)]
            + [CommitOperationAdd(name, deployment.root / name) for name in deployment.files],
            commit_message=f"Deploy {deployment.version}".strip(),
            repo_type="space",
            parent_commit=info.sha,  # refused if someone else has changed the Space in between
        )
        if hardware:
            api.request_space_hardware(repo_id, cast(SpaceHardware, hardware))  # the Hub checks the name
    return commit.oid


def address(repo_id: str) -> str:
    return f"{constants.ENDPOINT}/spaces/{repo_id}"


def _tracked(root: Path) -> tuple[list[str], str]:
    """Return the files of the project, as git or else as a list of what is usual says; and git's name for its state."""
    if (root / ".git").exists():
        try:
            git = ["git", "-C", str(root)]
            listed = subprocess.run([*git, "ls-files", "-z"], capture_output=True, text=True, check=True).stdout
            version = subprocess.run([*git, "describe", "--always", "--dirty"], capture_output=True, text=True).stdout
            return [name for name in listed.split("\0") if name], version.strip()
        except (OSError, subprocess.CalledProcessError):  # no git here, or a checkout it does not trust
            pass
    names = (path.relative_to(root).as_posix() for path in sorted(root.rglob("*")) if path.is_file())
    return [name for name in names if not _matches(name, NOT_TRACKED)], ""


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _models(root: Path, names: set[str]) -> list[str]:
    """Return the Hub ids of the checkpoints that go along."""
    found = []
    for name in names:
        parts = name.split("/")
        recipe = root / "hub_configs" / f"{parts[1]}.yaml" if len(parts) == 3 else None
        if parts[0] == "checkpoints" and parts[-1] == "model_index.json" and recipe and recipe.exists():
            try:
                found.append(load_recipe(recipe).repo_id)
            except RecipeError as error:
                raise GenariumError(str(error)) from error
    return sorted(found)
