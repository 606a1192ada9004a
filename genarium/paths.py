"""The folders of a checkout, or of an installed package. An environment variable can move each.

An installed package brings plugins, recipes and checkpoints in genarium/bundled/ (see setup.py). It may not be written to, so
what is made, such as a run of a training, goes to the folder in which the command was started. A checkout has all of
them side by side.
"""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent  # of the checkout; where the package is installed, the folder of packages
BUNDLED = Path(__file__).resolve().parent / "bundled"


def installed() -> bool:
    """Return whether this is an installed package, and no checkout."""
    return BUNDLED.is_dir()


def _brought(variable: str, name: str) -> Path:
    """Return a folder of what comes with Genarium."""
    return Path(os.environ.get(variable) or (BUNDLED if installed() else ROOT) / name)


def _made(variable: str, name: str) -> Path:
    """Return a folder of what people make with Genarium."""
    return Path(os.environ.get(variable) or (Path.cwd() if installed() else ROOT) / name)


def plugins() -> Path:
    return _brought("GENARIUM_PLUGINS", "plugins")


def recipes() -> Path:
    return _brought("GENARIUM_RECIPES", "hub_configs")


def card_templates() -> tuple[Path, ...]:
    """Return the folders of the card's template: beside the recipes, then the one that comes with Genarium."""
    return (recipes(), (BUNDLED if installed() else ROOT) / "hub_configs")


def checkpoints() -> Path:
    """Return the folder to which new checkpoints are written."""
    return _made("GENARIUM_CHECKPOINTS", "checkpoints")


def all_checkpoints() -> tuple[Path, ...]:
    """Return the folders of checkpoints: that of new ones, then the one that an installed package brings."""
    brought = _brought("GENARIUM_CHECKPOINTS", "checkpoints")
    return (checkpoints(),) if brought == checkpoints() else (checkpoints(), brought)


def runs() -> Path:
    return _made("GENARIUM_RUNS", "runs")


def docs() -> Path:
    return _made("GENARIUM_DOCS", "docs")


def data() -> Path | None:
    """Return a folder of local copies of data sets, named as the last part of their Hub id; None: ask the Hub."""
    value = os.environ.get("GENARIUM_DATA")
    return Path(value) if value else None


def visitors_cache() -> Path:
    """Return the folder for what visitors load from the Hub.

    The app deletes files there, so this is never the cache of huggingface_hub.
    """
    from huggingface_hub import constants

    return Path(os.environ.get("GENARIUM_HUB_CACHE") or os.path.join(constants.HF_HOME, "genarium"))


def cache() -> Path:
    """Return the folder for what can be made anew at any time, such as outlines of pipelines."""
    given = os.environ.get("GENARIUM_CACHE")
    if given:
        return Path(given)
    place = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    return (Path(place) if place else Path(os.path.expanduser("~/.cache"))) / "genarium"
