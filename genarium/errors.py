"""The errors that a user can mend. Each message says what to do.

GenariumError                 every message is fit to be shown to a visitor
├── PluginError               a plugin that cannot be imported, registered or used
├── RecipeError               a YAML file in hub_configs/ that cannot be read
├── DataError                 a data set that is missing or of another form than the recipe says
├── CheckpointError           a checkpoint that is missing, unknown, broken or not allowed
├── NotMeasurableError        an evaluation lacks a tool, or its data lack what a figure needs
├── HubError                  the Hub refused, could not be reached, or sent something damaged
├── InputError                a picture, label, seed or parameter that cannot be used
├── FileError                 a file or folder that cannot be written, or is not ours to replace
└── Stopped                   the visitor pressed Stop (not a failure)
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass

from genarium.messages import printable


@dataclass(frozen=True)
class Broken:
    """A plugin, a task or a checkpoint that could not be used: where it came from, why, and the details for its author."""

    origin: str
    reason: str
    details: str = ""

    @classmethod
    def by(cls, origin: str, error: BaseException) -> Broken:
        """Return what is said of an error that came from `origin`. Its traceback becomes the details."""
        reason = str(error) if isinstance(error, GenariumError) else f"{type(error).__name__}: {error}"
        return cls(origin, reason, "".join(traceback.format_exception(error)))


class GenariumError(Exception):
    """Base of all errors whose text is meant for the user. Whatever it quotes, the text can be printed and has an end."""

    def __str__(self) -> str:
        return printable(super().__str__())


class PluginError(GenariumError):
    """A plugin that cannot be imported, registered or used."""


class RecipeError(GenariumError):
    """A recipe that cannot be read."""


class DataError(GenariumError):
    """A data set that is missing or of another form than the recipe says."""


class CheckpointError(GenariumError):
    """A checkpoint that is missing, unknown, broken or not allowed."""


class NotMeasurableError(GenariumError):
    """A part of an evaluation that cannot be measured here: a tool is not installed, or the data lack what it needs."""


class HubError(GenariumError):
    """The Hub refused, could not be reached, or sent something damaged."""


class InputError(GenariumError):
    """A picture, label, seed or parameter that cannot be used."""


class FileError(GenariumError):
    """A file or folder that cannot be written, or is not ours to replace."""


class Stopped(GenariumError):
    """The computation was stopped at the user's wish."""
