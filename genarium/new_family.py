"""`new-family`: a working family to start from, written from genarium/templates/."""

from __future__ import annotations

import importlib.util
import keyword
import re
from pathlib import Path
from string import Template

from genarium import paths
from genarium.errors import PluginError
from genarium.files import file_errors

TEMPLATES = Path(__file__).parent / "templates"


def create(name: str, title: str | None = None, root: Path | None = None) -> list[Path]:
    """Write the pipeline, its model, the plugin, a recipe and a test of a new family.

    Args:
        name: lower-case letters, digits and _ or -, beginning with a letter; - becomes _, since modules are named so.
        title: as people write it; by default the name.
        root: of the checkout; by default this one.

    Returns:
        The files written.

    Raises:
        PluginError: a name that cannot be used, or that is taken; no root, where the package is installed.
    """
    if root is None and paths.installed():
        raise PluginError(
            "A family is written into a checkout of Genarium, and this is an installed package. Give the checkout with --root, "
            "or make a package of your own as docs/plugins.md says."
        )
    stem = name.replace("-", "_")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", stem) or keyword.iskeyword(stem):
        raise PluginError(
            f"{name!r} cannot name a family: modules and files are named after it, so use lower-case letters, "
            "digits and _, beginning with a letter, and no word of Python."
        )
    if title is not None and not re.fullmatch(r"[^\"\\\n$]+", title):
        raise PluginError('A title is one line without ", \\ and $.')
    class_name = "".join(part.capitalize() for part in stem.split("_"))
    root = root or paths.ROOT
    files = {
        root / "pipelines" / f"pipeline_{stem}.py": "pipeline.py",
        root / "pipelines" / f"modeling_{stem}.py": "modeling.py",
        root / "plugins" / stem / "plugin.py": "plugin.py",
        root / "hub_configs" / f"{stem}-fashion-mnist.yaml": "recipe.yaml",
        root / "tests/pipelines" / f"test_{stem}.py": "test.py",
    }
    _refuse_taken(stem, class_name, root, files)
    values = {
        "name": stem,
        "hub_name": stem.replace("_", "-"),  # the Hub's custom
        "class_name": class_name,
        "title": title or name,
    }
    texts = {
        path: Template((TEMPLATES / f"{kind}.template").read_text(encoding="utf-8")).substitute(values)
        for path, kind in files.items()
    }
    made: list[Path] = []
    try:
        for path, text in texts.items():
            with file_errors(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("x", encoding="utf-8") as file:  # refuses a file that is there
                    made.append(path)
                    file.write(text)
    except BaseException:  # half a family would break the app's start, and the next try
        for path in made:
            path.unlink()
        raise
    return list(texts)


def _refuse_taken(stem: str, class_name: str, root: Path, files: dict[Path, str]) -> None:
    import diffusers

    from genarium.families import discover

    families = discover(root / "plugins")
    if stem in families.found:
        raise PluginError(f"The family {stem!r} is there already, from {families.origins[stem]}; choose another name.")
    for path in files:
        if path.exists():
            raise PluginError(f"{path.relative_to(root)} is there already; choose another name.")
    if hasattr(diffusers, f"{class_name}Pipeline") or importlib.util.find_spec(f"diffusers.pipelines.pipeline_{stem}"):
        raise PluginError(
            f"diffusers has a {class_name}Pipeline or pipeline_{stem} of its own, and would load that in place of "
            "yours; choose another name."
        )
