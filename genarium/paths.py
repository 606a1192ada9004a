"""The folders of a checkout. An environment variable can move each, for tests and for deployments."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def _folder(variable: str, default: str) -> Path:
    return Path(os.environ.get(variable) or ROOT / default)


def plugins() -> Path:
    return _folder("GENARIUM_PLUGINS", "plugins")


def recipes() -> Path:
    return _folder("GENARIUM_RECIPES", "hub_configs")


def checkpoints() -> Path:
    return _folder("GENARIUM_CHECKPOINTS", "checkpoints")


def runs() -> Path:
    return _folder("GENARIUM_RUNS", "runs")


def docs() -> Path:
    return _folder("GENARIUM_DOCS", "docs")


def data() -> Path | None:
    """Return a folder of local copies of data sets, named as the last part of their Hub id; None: ask the Hub."""
    value = os.environ.get("GENARIUM_DATA")
    return Path(value) if value else None


def visitors_cache() -> Path:
    """Return the folder for what visitors load from the Hub.

    The app deletes files there, so this is never the cache of huggingface_hub.
    """
    from huggingface_hub import constants

    return _folder("GENARIUM_HUB_CACHE", os.path.join(constants.HF_HOME, "genarium"))
