"""The web API: one named endpoint for each task, for gradio_client and, where MCP is installed, for language models.

The docstrings are what those see as documentation.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from genarium.checkpoints import Checkpoint
from genarium.errors import CheckpointError, GenariumError, InputError
from genarium.evaluation.measures import percentile
from genarium.pictures import heat_map
from genarium.runtime import Result, Runtime
from genarium.runtime.request import Request, choose_labels, parse_seed
from genarium.tasks import find_tasks
from genarium.ui.files import keep_picture, keep_pictures, keep_sounds
from genarium.ui.inputs import any_value, said
from genarium.ui.streaming import finish
from genarium.ui.tab import MAX_SHOWN

CALLS = 8  # of one endpoint at the same time; the runtime lets them compute in turn


def build_endpoints(runtime: Runtime) -> None:
    """Add the five endpoints to the app that is being built."""
    first = {task: next(iter(runtime.catalogue.offering(task)), "") for task in find_tasks()}

    async def generate(checkpoint, num_images, class_labels, seed, parameters):
        """Generate images with a checkpoint of a generative model.

        Args:
            checkpoint: Name of the checkpoint, for example "ddpm-fashion-mnist".
            num_images: How many images.
            class_labels: "cycle" for each class in turn, "any", or a class's name or number, or a list of these.
            seed: Image i is drawn with seed + i; the same seed gives the same images.
            parameters: Further parameters of the checkpoint's family, for example {"num_inference_steps": 20}.

        Returns:
            The images as PNG files, and the complete request with the computing time.
        """
        return await _answer(runtime, "generate", checkpoint, seed, parameters, (), class_labels, num_images)

    async def reconstruct(checkpoint, image, class_labels, seed, parameters):
        """Take an image, or a recording of a voice, apart and put it together again with a generative model.

        Args:
            checkpoint: Name of the checkpoint.
            image: Picture file of any size; for a checkpoint of voices, a WAV, FLAC, OGG or MP3 file.
            class_labels: "any" where the class is not known, or the name or number of its class.
            seed: Of the randomness, where the method has any.
            parameters: Further parameters of the checkpoint's family.

        Returns:
            The reconstruction as a PNG or WAV file, and the complete request with the computing time.
        """
        return await _answer(runtime, "reconstruct", checkpoint, seed, parameters, (image,), class_labels)

    async def interpolate(checkpoint, a, b, seed, parameters):
        """Walk from one image to another, or from one voice to another, through a generative model.

        Args:
            checkpoint: Name of the checkpoint.
            a: Picture file to start from; for a checkpoint of voices, the recording whose words are said.
            b: Picture file to arrive at; for a checkpoint of voices, a recording of the last voice.
            seed: Of the randomness, where the method has any.
            parameters: Further parameters of the checkpoint's family, for example {"num_frames": 12}.

        Returns:
            The frames as PNG or WAV files, and the complete request with the computing time.
        """
        return await _answer(runtime, "interpolate", checkpoint, seed, parameters, (a, b))

    async def swap_style(checkpoint, content, style, seed, parameters):
        """Keep the content of one picture, or the words of one recording, and take over the style or voice of another.

        Use only voices that you may use: your own, or of people who agreed.

        Args:
            checkpoint: Name of the checkpoint.
            content: Picture file whose content stays; for a checkpoint of voices, the WAV, FLAC, OGG or MP3 file whose words
                stay, of at most ten minutes.
            style: File of the same kind whose style or voice is taken over; none where a trained voice is chosen by name.
            seed: Of the randomness, where the method has any.
            parameters: Further parameters of the checkpoint's family, for example {"speaker": "cmu/slt"}.

        Returns:
            The results as PNG files, or as WAV files marked as synthetic, and the complete request with the computing time
            and, for sound, the sampling rate.
        """
        return await _answer(runtime, "swap_style", checkpoint, seed, parameters, (content, style))

    async def anomaly_score(checkpoint, image, class_labels, seed, parameters):
        """Say how strange a generative model finds an image, or a recording of a voice.

        Args:
            checkpoint: Name of the checkpoint.
            image: Picture file of any size; for a checkpoint of voices, a WAV, FLAC, OGG or MP3 file.
            class_labels: The name or number of the class that it should be of, or "any".
            seed: Of the randomness, where the method has any.
            parameters: Further parameters of the checkpoint's family.

        Returns:
            A heat map as a PNG file (none where the family draws none, or for sound), and the score (higher is stranger)
            with the share of ordinary test data below it (where a class is told, of test data told their own); for sound,
            also the score of each frame, where there is one.
        """
        return await _answer(runtime, "anomaly", checkpoint, seed, parameters, (image,), class_labels)

    with gr.Row(visible=False):
        button = gr.Button()
        files = gr.File(label="files", file_count="multiple")
        report = gr.JSON(label="report")

        def add(function, task: str, *inputs) -> None:
            button.click(
                function,
                [gr.Textbox(first[task], label="checkpoint"), *inputs, *_common()],
                [files, report],
                api_name=find_tasks()[task].endpoint.removeprefix("/"),
                concurrency_limit=CALLS,
                concurrency_id=f"call-{task}",
            )

        add(generate, "generate", _number(1, "number of images"), _classes("cycle"))
        add(reconstruct, "reconstruct", gr.File(label="picture"), _classes("any"))
        add(interpolate, "interpolate", gr.File(label="first picture"), gr.File(label="last picture"))
        add(swap_style, "swap_style", gr.File(label="content"), gr.File(label="style"))
        add(anomaly_score, "anomaly", gr.File(label="picture"), _classes("any"))


def _common() -> list[Any]:
    return [_number(0, "seed"), any_value(gr.JSON({}, label="parameters"), {"type": "object"})]


def _number(value: int, label: str) -> Any:
    return any_value(gr.Number(value, precision=0, label=label), {"type": "integer"})


def _classes(value: str) -> Any:
    one = [{"type": "string"}, {"type": "integer"}]
    schema = {"anyOf": [*one, {"type": "array", "items": {"anyOf": one}}]}
    return any_value(gr.JSON(json.dumps(value), label="classes"), schema)


def _offered(runtime: Runtime, name: Any) -> Checkpoint:
    """A checkpoint of this app. A program from outside shall not make it read other folders or download from the Hub."""
    known = runtime.catalogue.checkpoints
    if not isinstance(name, str) or name not in known:
        raise CheckpointError(f"There is no checkpoint {name!r} here. Known: {', '.join(known) or 'none'}.")
    return known[name]


async def _answer(
    runtime: Runtime,
    task: str,
    name: Any,
    seed: Any,
    parameters: Any,
    files: Sequence[str | None],
    class_labels: Any = None,
    num_images: Any = None,
) -> tuple[list[str], dict[str, Any]]:
    """Check what a program sent, run it, and tell the result as files and plain values.

    Args:
        files: the task's inputs, in order.
    """
    try:
        checkpoint = _offered(runtime, name)
        if not isinstance(parameters, (dict, type(None))):
            raise InputError('parameters: give a mapping such as {"num_inference_steps": 20}.')
        number = 1 if num_images is None else _whole(num_images)
        if number > MAX_SHOWN:  # visitors take turns: one call must not keep the others waiting for an hour
            raise InputError(f"num_images: at most {MAX_SHOWN} in one call; the command line draws more.")
        request = Request(
            checkpoint=checkpoint.name,
            task=task,
            seed=parse_seed(seed),
            batch_size=number,
            class_labels=choose_labels(checkpoint, class_labels, number),
            parameters=parameters or {},
        )
        inputs = checkpoint.tasks[task].inputs if task in checkpoint.tasks else ()
        result = await finish(runtime, request, dict(zip(inputs, files)))
    except GenariumError as error:
        raise said(error) from error
    return _files_of(result), _report(result, checkpoint)


def _whole(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        raise InputError(f"num_images: takes a whole number, not {value!r}.") from None


def _files_of(result: Result) -> list[str]:
    if result.sampling_rate:
        return keep_sounds(result.audios, result.sampling_rate, result.request)
    if result.maps is None:
        return keep_pictures(result.pictures, result.request)
    stem = f"{Path(result.request.checkpoint).name}-heat-map"
    maps = [heat_map(map_.clip(0), seen) for map_, seen in zip(result.maps, result.inputs, strict=True)]
    return [keep_picture(picture, f"{stem}-{i:02d}.png", result.request) for i, picture in enumerate(maps)]


def _report(result: Result, checkpoint: Checkpoint) -> dict[str, Any]:
    report: dict[str, Any] = {"request": result.request.to_dict(), "seconds": result.seconds, "device": result.device}
    report["network_evaluations"] = result.evaluations  # for each sample
    if result.sampling_rate:
        report["sampling_rate"] = result.sampling_rate
    if result.scores is not None:
        quantiles = checkpoint.quantiles(result.request.parameters, result.request.class_labels is not None)
        score = float(result.scores[0])
        report |= {"score": score, "unit": result.unit}
        report["stranger_than"] = percentile(score, quantiles) / 100 if quantiles else None
        if result.sampling_rate and result.maps is not None:
            report["frames"] = result.maps[0].tolist()
    return report
