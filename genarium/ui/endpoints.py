"""The web API: a named endpoint for each task, for gradio_client and, where MCP is installed, for language models.

What an endpoint takes, and its documentation, stand in the endpoint.py of the task's folder.
"""

from __future__ import annotations

import asyncio
import functools
import json
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from genarium.checkpoints import Checkpoint
from genarium.errors import CheckpointError, GenariumError, InputError
from genarium.messages import quoted
from genarium.runtime import Request, Runtime
from genarium.runtime.request import choose_labels, parse_number, parse_seed
from genarium.tasks import Task, find_tasks
from genarium.tasks.endpoints import Call, Classes, File, Input, Number, Values, Work
from genarium.ui.answers import said
from genarium.ui.files import keep, keep_results
from genarium.ui.inputs import any_value
from genarium.ui.question import MAX_SHOWN
from genarium.ui.streaming import finish

CALLS = 64  # of one endpoint at the same time; the runtime lets them take turns, step by step
Answer = tuple[list[str], dict[str, Any]]  # paths of files, and a report of plain values


def build_endpoints(runtime: Runtime, tasks: list[Task] | None = None) -> None:
    """Add an endpoint for each task to the app that is being built.

    Args:
        runtime: runs the requests.
        tasks: those that get an endpoint; by default all that were found.
    """
    with gr.Row(visible=False):
        button = gr.Button()
        files = gr.File(label="files", file_count="multiple")
        report = gr.JSON(label="report")

        def add(task: Task, address: str, inputs: Sequence[Input], function: Callable[..., Awaitable[Answer]]) -> None:
            first = next(iter(runtime.catalogue.offering(task.name)), "")
            function.__name__ = address.removeprefix("/")  # under which language models find it as a tool
            button.click(
                function,
                [gr.Textbox(first, label="checkpoint"), *map(_component, inputs), *_common()],
                [files, report],
                api_name=function.__name__,
                concurrency_limit=CALLS,
                concurrency_id=f"call-{task.name}",
            )

        for task in find_tasks().values() if tasks is None else tasks:
            part = task.part("endpoint")
            if task.endpoint and part is not None:
                add(task, task.endpoint, part.INPUTS, _function(runtime, task, part.call))
            several = task.part("endpoints")
            for endpoint in several.ENDPOINTS if several else ():
                add(task, endpoint.address, endpoint.inputs, _work(runtime, task, endpoint.call))


def _function(runtime: Runtime, task: Task, call: Callable[..., Call]) -> Callable[..., Awaitable[Answer]]:
    """Return what the endpoint does, under the signature and the documentation of the task's own function."""

    @functools.wraps(call)
    async def answer(checkpoint: Any, *values: Any) -> Answer:
        seed, parameters = values[-2:]
        return await _answer(runtime, task, checkpoint, seed, parameters, call(checkpoint, *values))

    return answer


def _work(runtime: Runtime, task: Task, call: Callable[..., Work]) -> Callable[..., Awaitable[Answer]]:
    """Return what an endpoint does that computes its answer by itself, under its own signature and documentation."""

    @functools.wraps(call)
    async def answer(checkpoint: Any, *values: Any) -> Answer:
        def compute(folder: Path) -> tuple[list[str], dict[str, Any]]:
            found = _offered(runtime, checkpoint)
            if task.name not in found.tasks:
                raise CheckpointError(f"{found.name} ({found.family.title}) cannot {task.name}.")
            paths, report = call(found.name, *values)(runtime, found, folder)
            return [keep(path.read_bytes(), path.name) for path in paths], report

        try:
            with tempfile.TemporaryDirectory() as folder:
                return await asyncio.to_thread(compute, Path(folder))
        except GenariumError as error:
            raise said(error) from error

    return answer


def _component(given: Input) -> Any:
    match given:
        case File(label):
            return gr.File(label=label)
        case Number(label, default):
            return _number(default, label)
        case Classes(default):
            one = [{"type": "string"}, {"type": "integer"}]
            # The two words come first: Gradio's API page quotes a default whose type begins as `Literal['`, and no other.
            words = {"type": "string", "enum": ["cycle", "any"]}
            schema = {"anyOf": [words, *one, {"type": "array", "items": {"anyOf": one}}]}
            return any_value(gr.JSON(json.dumps(default), label="classes"), schema)
        case Values(label, default, schema):
            return any_value(gr.JSON(json.dumps(default), label=label), schema)


def _common() -> list[Any]:
    return [_number(0, "seed"), any_value(gr.JSON({}, label="parameters"), {"type": "object"})]


def _number(value: int, label: str) -> Any:
    return any_value(gr.Number(value, precision=0, label=label), {"type": "integer"})


def _offered(runtime: Runtime, name: Any) -> Checkpoint:
    """Return a checkpoint of this app. A program from outside shall not make it read other folders or ask the Hub."""
    known = runtime.catalogue.checkpoints
    if not isinstance(name, str) or name not in known:
        raise CheckpointError(f"There is no checkpoint {quoted(name)} here. Known: {', '.join(known) or 'none'}.")
    return known[name]


async def _answer(runtime: Runtime, task: Task, name: Any, seed: Any, parameters: Any, call: Call) -> Answer:
    """Check what a program sent, run it, and return the result as files and plain values."""
    try:
        checkpoint = _offered(runtime, name)
        if not isinstance(parameters, (dict, type(None))):
            raise InputError('parameters: give a mapping such as {"num_inference_steps": 20}.')
        number = parse_number(call.num_images) if task.draws else 1
        if number > MAX_SHOWN:  # visitors take turns: one call must not keep the others waiting for an hour
            raise InputError(f"num_images: at most {MAX_SHOWN} in one call; the command line draws more.")
        request = Request(
            checkpoint=checkpoint.name,
            task=task.name,
            seed=parse_seed(seed),
            batch_size=number,
            class_labels=choose_labels(checkpoint, call.class_labels, number),
            parameters=parameters or {},
        )
        inputs = checkpoint.tasks[task.name].inputs if task.name in checkpoint.tasks else ()
        result = await finish(runtime, request, dict(zip(inputs, call.files)))
    except GenariumError as error:
        raise said(error) from error
    return await asyncio.to_thread(keep_results, result), result.report(checkpoint)
