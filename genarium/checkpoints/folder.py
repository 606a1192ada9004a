"""A checkpoint's folder on disk: which of its files are ours, and the exchange of an old version by a new one."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from genarium.errors import FileError
from genarium.files import check_writable, is_empty, matcher, new_folder, recover

MODEL_INDEX = "model_index.json"
MODEL_CONFIG = "config.json"  # of a single model; beside a MODEL_INDEX, of a component that has no folder of its own
EVALUATION = "evaluation.json"  # the figures that `evaluate` measured
THRESHOLDS = "thresholds.json"  # from which score on a picture is strange, as somebody chose it
TRAINING = "training.json"  # which recipe and which data made the weights
_WRITTEN = (  # by save_pretrained, by training and by `evaluate`
    *(MODEL_INDEX, MODEL_CONFIG, TRAINING, EVALUATION, THRESHOLDS, ".gitattributes"),
    *("*.safetensors", "*/*.safetensors", "*.safetensors.index.json", "*/*.safetensors.index.json"),
    *("*/config.json", "*/*_config.json"),
    *(
        "samples.png",
        "reconstructions.png",
        "interpolations.png",
        "swaps.png",
        "heat_maps.png",
        "samples/*-*.ogg",
        "explore.npz",
    ),
    *("codebook.png", "codebook.json"),
)


@contextlib.contextmanager
def new_checkpoint(target: Path) -> Iterator[Path]:
    """Yield an empty folder to fill with a checkpoint, which then takes the place of `target`.

    The old version's weights, figures and pictures go with it. Every other file in it, such as a licence, notes, or a README.md
    that is not a card of ours, is carried over.

    Raises:
        FileError: as `files.new_folder`.
    """
    sources, readme = _sources(target), _is_card(target / "README.md")
    written = matcher([*_WRITTEN, *sources, *(["README.md"] if readme else [])])
    with new_folder(target, ours=written) as folder:
        yield folder


def check_output(target: Path, class_name: str, recipe: str) -> None:
    """Refuse a folder that training must not replace, before any work is done.

    Args:
        target: folder of the checkpoint to be written.
        class_name: of the pipeline that will be written.
        recipe: name of the recipe that is trained.

    Raises:
        FileError: the folder is not empty and not a checkpoint of this recipe, or it cannot be written.
    """
    recover(target)
    if not is_empty(target):
        found = _read(target / MODEL_INDEX)
        if found is None:
            raise FileError(
                f"{target} is not empty and holds no checkpoint. Training would have to replace it; choose an empty or a new "
                "folder with --output."
            )
        made_by = (_read(target / TRAINING) or {}).get("recipe")
        if made_by is None and target.name in (recipe, "checkpoint"):
            made_by = recipe  # of a version before this file: by its place
        if _class_name(found) != class_name or made_by != recipe:
            what = f"of the recipe {made_by}" if made_by else f"({_class_name(found)}) of which no recipe is known"
            raise FileError(
                f"{target} holds a checkpoint {what}, not one of {recipe}. Choose an empty or a new folder with --output."
            )
        check_writable(target)
    check_writable(target.parent)


def check_replaceable(target: Path) -> None:
    """Refuse to replace what is no checkpoint.

    Raises:
        FileError: there is something else than a checkpoint or an empty folder.
    """
    recover(target)
    if not is_empty(target) and not any((target / name).is_file() for name in (MODEL_INDEX, MODEL_CONFIG)):
        raise FileError(f"{target} is not empty and holds no checkpoint, so it is not replaced. Choose another --name.")


def check_card(folder: Path) -> None:
    """Refuse to replace a README.md that somebody wrote.

    Raises:
        FileError: there is one, and it is not a card of ours.
    """
    readme = folder / "README.md"
    if readme.exists() and not _is_card(readme):
        raise FileError(
            f"{readme} is not a card of Genarium, and would be replaced. Move it away, or leave it by --no-card."
        )


def _read(path: Path) -> dict[str, Any] | None:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) else None


def _class_name(index: dict[str, Any]) -> str:
    declared = index.get("_class_name")
    return str(declared[-1] if isinstance(declared, list) and declared else declared)


def _sources(folder: Path) -> list[str]:
    """Return the Python files that model_index.json names, which save_pretrained wrote."""
    found = []
    for name, value in (_read(folder / MODEL_INDEX) or {}).items():
        if isinstance(value, list) and value and isinstance(value[0], str):
            found.append(f"{value[0]}.py" if name == "_class_name" else f"{name}/{value[0]}.py")
    return found


def _is_card(readme: Path) -> bool:
    """Return whether a README.md is a model card of ours: its metadata has our tag."""
    try:
        head = readme.read_text(encoding="utf-8", errors="replace").split("\n---", 1)[0]
    except OSError:
        return False
    return head.startswith("---") and "- genarium" in head
