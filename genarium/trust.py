"""Checkpoints of classes that no plugin knows, run with the code that comes with them: at the operator's wish only.

`python app.py --trust-remote-code`, or GENARIUM_TRUST_REMOTE_CODE=1. It is off by default, because such code can do
anything that this process can: read files and tokens, use the network, delete.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genarium.environment import is_allowed
from genarium.errors import CheckpointError
from genarium.families import Family, class_of
from genarium.tasks import HOST_PARAMETERS

if TYPE_CHECKING:
    import torch

VARIABLE = "GENARIUM_TRUST_REMOTE_CODE"
WARNING = (
    "Trusting remote code: a checkpoint whose class no plugin knows is loaded with the Python files of its folder or its Hub "
    "repository. Whoever wrote them, or whoever types their name on the Hub tab, then runs programs on this machine with "
    "your rights. Leave --trust-remote-code away where strangers can reach this page."
)


def trusted() -> bool:
    """Return whether the operator wants code from checkpoints to run.

    Raises:
        InputError: the variable has a value that says neither yes nor no.
    """
    return is_allowed(VARIABLE)


def family_of(folder: Path, index: Mapping[str, Any]) -> Family:
    """Return a family of one for a checkpoint's class. Imports the class, and with it, runs its file.

    Raises:
        CheckpointError: the class cannot be imported, or needs more than a seed to generate.
    """
    import diffusers
    from diffusers.utils.dynamic_modules_utils import get_class_from_dynamic_module

    name, declared = class_of(index), index["_class_name"]
    try:
        if isinstance(declared, list):
            pipeline_class = get_class_from_dynamic_module(
                str(folder), f"{declared[0]}.py", class_name=name, local_files_only=True, trust_remote_code=True
            )
        else:
            pipeline_class = getattr(diffusers, name)
        parameters = inspect.signature(pipeline_class.__call__).parameters.values()
    except Exception as error:  # whatever foreign code does wrong
        raise CheckpointError(f"{folder.name}: its class {name!r} cannot be imported: {error!r}") from error
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    needed = [p.name for p in parameters if p.default is p.empty and p.kind not in variable]
    needed = [n for n in needed if n not in HOST_PARAMETERS]
    if needed:
        raise CheckpointError(
            f"{folder.name}: {name} needs {', '.join(needed)} to generate, which nothing here asks for."
        )
    text = "This class came with its checkpoint; the app knows nothing of it but how to call it."
    return Family(
        f"foreign-{name.lower()}", name, pipeline_class, {"en": text, "zh": "此类随模型附带；应用只知道如何调用它。"}
    )


def load(name: str, folder: Path, device: torch.device | str, dtype: torch.dtype):
    """Load a checkpoint by diffusers, with the code that comes with it, and weights from safetensors.

    Raises:
        CheckpointError: diffusers cannot load it.
    """
    from diffusers import DiffusionPipeline

    try:
        pipeline = DiffusionPipeline.from_pretrained(
            str(folder), trust_remote_code=True, use_safetensors=True, local_files_only=True, dtype=dtype
        ).to(device)
    except Exception as error:  # diffusers, transformers and the foreign code each raise their own
        raise CheckpointError(f"{name}: diffusers cannot load it: {error}") from error
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
