"""What a task declares: the method that it calls, its inputs, and where visitors find it."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Literal

from genarium.imports import HEAVY

Modality = Literal["image", "audio"]  # what a model works on


@dataclass(frozen=True)
class Task:
    """One thing that a visitor can ask of a model.

    Args:
        name: of the task, in requests and addresses: "swap_style".
        method: of the pipeline; a checkpoint can do the task if its pipeline has it. "" for a page that calls none.
        inputs: the method's parameters that hold the visitor's material, in order.
        endpoint: of the web API, with the slash; "" if there is none.
        command: of the command line; "" if there is none.
        address: of a page of its own, without a slash, built when it is opened. "" makes the task a tab of the first page.
        order: tasks with a lower number come first, then by name.
        draws: whether a request says how many samples to draw (`batch_size`), and the method takes no material.
        compares: whether a request may name several checkpoints, which are asked one after another.
        starts_with_picture: query of the address with which its page begins with the visitor's current picture, so that results can
            be sent there; None: it does not.
        learns_from_pairs: whether pipelines that can do the task may be trained on data in pairs.
        fits: pipeline class -> whether it can do the task, in place of the method's presence.
        package: which holds the task's parts; set by `discover`.
    """

    name: str
    method: str = ""
    inputs: tuple[str, ...] = ()
    endpoint: str = ""
    command: str = ""
    address: str = ""
    order: int = 100
    draws: bool = False
    compares: bool = False
    starts_with_picture: str | None = None
    learns_from_pairs: bool = False
    fits: Callable[[type], bool] | None = None
    package: str = ""

    @property
    def many(self) -> str | None:
        """The parameter that takes a list of inputs, each computed by itself. None for tasks on a pair or on nothing."""
        return self.inputs[0] if len(self.inputs) == 1 else None

    def on(self, modality: Modality) -> Task:
        """Return the same task on images or on sound: a parameter `images` is called `audio` there."""
        if modality == "image":
            return self
        return replace(self, inputs=tuple("audio" if name == "images" else name for name in self.inputs))

    def part(self, name: str) -> ModuleType | None:
        """Import a module of the task's folder, such as "command".

        Returns:
            The module; None if the folder has none of this name.
        """
        full_name = f"{self.package}.{name}"
        with HEAVY:  # many parts import torch
            if not self.package or importlib.util.find_spec(full_name) is None:
                return None
            return importlib.import_module(full_name)

    def texts(self) -> dict[str, dict[str, str]]:
        """Read texts.yaml of the task's folder: a text by key and language. Empty if there is no such file."""
        from genarium.files import parse_yaml  # here, because --help needs no texts

        return parse_yaml(self._read("texts.yaml")) or {}

    def style(self) -> str:
        """Read style.css of the task's folder; "" if there is no such file."""
        return self._read("style.css")

    def _read(self, name: str) -> str:
        from importlib.resources import files  # here, because --help reads no files

        file = files(self.package) / name if self.package else None
        return file.read_text(encoding="utf-8") if file is not None and file.is_file() else ""
