"""A request as a Python program."""

from __future__ import annotations

import os

from huggingface_hub import constants

from genarium.checkpoints import Checkpoint
from genarium.runtime.modalities import MEDIA
from genarium.runtime.request import Request
from genarium.runtime.results import result_class


def how_to_install() -> str:
    """Return a comment that says how to install this package, which the programs of the page need.

    A Space is itself a git repository that pip installs from. Its weights are in Git LFS.
    """
    if space := os.environ.get("SPACE_ID"):
        return f'# once, where git-lfs is: pip install "git+{constants.ENDPOINT}/spaces/{space}"'
    return "# once, in a clone of the Genarium repository: pip install ."


def to_python(request: Request, checkpoint: Checkpoint) -> str:
    """Return the program that makes the same result wherever this package is installed.

    Args:
        request: with every parameter filled in. It names no other checkpoint.
        checkpoint: which the request names.
    """
    task, medium = checkpoint.tasks[request.task], MEDIA[checkpoint.modality]
    seed = request.seed
    arguments = []
    if task.draws:
        arguments.append(f"batch_size={request.batch_size}")
        number = str(request.batch_size)
    else:
        arguments += list(task.inputs)
        number = f"len({task.many})" if task.many else ""
    kind = result_class(task, checkpoint.modality)
    lines = [how_to_install(), *kind.python_imports, "import torch", "", "import genarium", ""]
    lines.append(f'pipe = genarium.load("{checkpoint.name}")')
    if checkpoint.recipe and checkpoint.recipe.revision:  # it is on the Hub
        lines += [
            "# or without this package, from the Hub:",
            f'# pipe = DiffusionPipeline.from_pretrained("{checkpoint.recipe.repo_id}", trust_remote_code=True)',
        ]
    if task.inputs:
        lines.append(f"# your {medium.nouns}, saved beside this program under these names")
    needed = request.inputs(checkpoint)
    for name in task.inputs:
        value = medium.load_in_python(name, checkpoint.name, request.invert)
        if name not in needed:
            value = "None  # chosen by its name"
        lines.append(f"{name} = [{value}]" if name == task.many else f"{name} = {value}")
    if number:
        lines.append(f"generator = [torch.Generator().manual_seed({seed} + i) for i in range({number})]")
    else:
        lines.append(f"generator = torch.Generator().manual_seed({seed})")
    arguments.append("generator=generator")
    if request.class_labels is not None:
        arguments.append(f"class_labels={list(request.class_labels)}")
    arguments += [f"{name}={value!r}" for name, value in request.parameters.items()]
    call = "pipe" if task.method == "__call__" else f"pipe.{task.method}"
    lines.append(f"output = {call}(")
    lines += [f"    {argument}," for argument in arguments]
    lines += [")", *kind.python_use]
    return "\n".join(lines) + "\n"
