"""The tasks of the app's tabs, on the command line: generate, reconstruct, interpolate, anomaly."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from genarium.cli import options
from genarium.cli.options import BatchSize, Device, Dtype, Invert, Name, Seed, Set
from genarium.errors import InputError

Images = Annotated[Path, typer.Option(help="A folder of pictures, one picture, or a uint8 .npy [N, H, W, C].")]
Classes = Annotated[
    str,
    typer.Option(help="cycle (each class in turn), any (the model's choice), or names or numbers: Sneaker,Bag,3."),
]


def generate(
    checkpoint: Name,
    n: Annotated[int, typer.Option("--n", "-n", min=1, help="How many images.")] = 16,
    seed: Seed = "0",
    out: Annotated[
        Path, typer.Option(help=".npy: uint8 [N, H, W, C]; .png: a grid that tells how it was made.")
    ] = Path("samples.npy"),
    classes: Classes = "cycle",
    labels: Annotated[bool, typer.Option("--labels", help="Also write the classes, as NAME.labels.npy.")] = False,
    set_: Set = None,
    batch_size: BatchSize = 64,
    device: Device = None,
    dtype: Dtype = None,
) -> None:
    """Draw images from a model. With torchrun the batches are shared; the file is the same as from one process."""
    options.check_out(out, (".npy", ".png"))
    import numpy as np

    from genarium.pictures import grid, save_picture, to_pictures, to_pixels
    from genarium.requests import Request, choose_labels

    runtime = options.make_runtime(device, dtype)
    found = runtime.catalogue[checkpoint]
    class_labels = choose_labels(found, _classes(classes), n)
    if labels and class_labels is None:
        raise InputError("--labels: there are none to write; the model has no classes, or chooses them itself.")
    request = Request(checkpoint, "generate", seed, n, class_labels, options.parameters(set_))
    request, parts, seconds = _run(runtime, request, n, batch_size, keep=lambda result: to_pixels(result.pictures))
    if not _is_main():
        return
    pixels = np.concatenate(parts)  # uint8 [N, H, W, C]
    if out.suffix.lower() == ".png":
        columns = len(found.class_names) if classes == "cycle" and 1 < len(found.class_names) <= 20 else None
        sheet = grid(to_pictures(pixels), min(columns, n) if columns else None)
        asked = {**request.to_dict(), "checkpoint": found.name}
        options.write(out, lambda path: save_picture(sheet, path, asked))
    else:
        options.write_array(out, pixels)
    if labels:
        options.write_array(out.with_suffix(".labels.npy"), np.array(class_labels, np.int64))
    _say(f"{n} images", seconds, runtime, out)


def reconstruct(
    checkpoint: Name,
    images: Images,
    seed: Seed = "0",
    out: Annotated[Path, typer.Option(help=".npy: uint8 [N, H, W, C]; .png: inputs above, results below.")] = Path(
        "reconstructions.png"
    ),
    classes: Annotated[str, typer.Option(help="Of the inputs, if known: names or numbers, in order.")] = "any",
    set_: Set = None,
    invert: Invert = "auto",
    batch_size: BatchSize = 64,
    device: Device = None,
    dtype: Dtype = None,
) -> None:
    """Take pictures through a model and back."""
    options.check_out(out, (".npy", ".png"))
    from genarium.pictures import grid, load_folder, save_picture, to_pixels
    from genarium.requests import Request, choose_labels

    pictures, _ = load_folder(images)
    runtime = options.make_runtime(device, dtype)
    labels = choose_labels(runtime.catalogue[checkpoint], _classes(classes), len(pictures))
    request = Request(checkpoint, "reconstruct", seed, 1, labels, options.parameters(set_), invert)
    request, results, seconds = _run(runtime, request, len(pictures), batch_size, images=pictures)
    if not _is_main():
        return
    inputs = [p for result in results for p in result.inputs]
    outputs = [p for result in results for p in result.pictures]
    if out.suffix.lower() == ".npy":
        options.write_array(out, to_pixels(outputs))
    else:
        columns = min(len(inputs), 16)
        rows = []
        for start in range(0, len(inputs), columns):
            blank = [inputs[0].point(lambda _: 255)] * max(0, columns - len(inputs[start : start + columns]))
            rows += inputs[start : start + columns] + blank + outputs[start : start + columns] + blank
        asked = {**request.to_dict(), "checkpoint": runtime.catalogue[checkpoint].name}
        options.write(out, lambda path: save_picture(grid(rows, columns), path, asked))
    _say(f"{len(outputs)} reconstructions", seconds, runtime, out)


def interpolate(
    checkpoint: Name,
    a: Annotated[Path, typer.Argument(help="The first picture.")],
    b: Annotated[Path, typer.Argument(help="The last picture.")],
    frames: Annotated[int, typer.Option(min=2, help="Pictures, with both ends.")] = 8,
    seed: Seed = "0",
    out: Annotated[Path, typer.Option(help=".png: a strip; .gif: there and back; .npy: uint8 [N, H, W, C].")] = Path(
        "interpolation.png"
    ),
    set_: Set = None,
    invert: Invert = "auto",
    device: Device = None,
    dtype: Dtype = None,
) -> None:
    """Walk from one picture to another, through what the model knows."""
    options.check_out(out, (".npy", ".png", ".gif"))
    from tqdm.auto import tqdm

    from genarium.pictures import enlarge, grid, save_picture, to_pixels
    from genarium.requests import Request
    from genarium.runtime import Progress

    runtime = options.make_runtime(device, dtype)
    parameters = {"num_frames": frames, **options.parameters(set_)}
    request = Request(checkpoint, "interpolate", seed, parameters=parameters, invert=invert)
    with tqdm(desc="interpolate", unit="step", leave=False) as bar:
        for event in runtime.stream(request, {"a": a, "b": b}):
            if isinstance(event, Progress):
                bar.total = event.total
                bar.update(event.step - bar.n)
            else:
                result = event
    if not _is_main():
        return
    strip = result.pictures
    if out.suffix.lower() == ".npy":
        options.write_array(out, to_pixels(strip))
    elif out.suffix.lower() == ".gif":
        first, *rest = [enlarge(p) for p in strip + strip[-2:0:-1]]
        options.write(
            out, lambda path: first.save(path, "GIF", save_all=True, append_images=rest, duration=120, loop=0)
        )
    else:
        asked = {**result.request.to_dict(), "checkpoint": runtime.catalogue[checkpoint].name}
        options.write(out, lambda path: save_picture(grid(strip, len(strip)), path, asked))
    _say(f"{len(strip)} frames", result.seconds, runtime, out)


def anomaly(
    checkpoint: Name,
    images: Images,
    out: Annotated[Path, typer.Option(help="A .json file.")] = Path("scores.json"),
    maps: Annotated[Path | None, typer.Option(help="A folder for heat maps, one PNG for each picture.")] = None,
    seed: Seed = "0",
    set_: Set = None,
    invert: Invert = "auto",
    batch_size: BatchSize = 64,
    device: Device = None,
    dtype: Dtype = None,
) -> None:
    """Say how strange pictures are to a model: scores, and where they fall among ordinary test images."""
    options.check_out(out, (".json",))
    from genarium.measures import percentile
    from genarium.pictures import enlarge, heat_map, load_folder
    from genarium.records import write_json
    from genarium.requests import Request

    pictures, names = load_folder(images)
    runtime = options.make_runtime(device, dtype)
    found = runtime.catalogue[checkpoint]
    request = Request(checkpoint, "anomaly", seed, parameters=options.parameters(set_), invert=invert)
    request, results, seconds = _run(runtime, request, len(pictures), batch_size, images=pictures)
    if not _is_main():
        return
    quantiles = found.quantiles(request.parameters)
    scores = [float(score) for result in results for score in result.scores]
    told = [
        {
            "name": name,
            "score": score,
            "percentile": None if quantiles is None else round(percentile(score, quantiles), 2),
        }
        for name, score in zip(names, scores, strict=True)
    ]
    values = {
        "checkpoint": found.name,
        "seed": request.seed,
        "parameters": dict(request.parameters),
        "unit": results[0].unit,
        "percentile": "per cent of ordinary test images that score lower; null where no quantiles are stored",
        "images": told,
    }
    write_json(out, values)
    if maps is not None:
        if results[0].maps is None:
            raise InputError(f"--maps: {found.name} gives scores only.")
        maps.mkdir(parents=True, exist_ok=True)
        high = max(float(result.maps.max()) for result in results)  # one scale for all, so that they can be compared
        pairs = [pair for result in results for pair in zip(result.inputs, result.maps, strict=True)]
        for name, (picture, heat) in zip(names, pairs, strict=True):
            options.write(
                maps / f"{name}.png", lambda path, h=heat, p=picture: enlarge(heat_map(h, p, high)).save(path, "PNG")
            )
    _say(f"{len(scores)} scores", seconds, runtime, out)


def _classes(text: str) -> Any:
    return text if text in ("cycle", "any") else [part.strip() for part in text.split(",") if part.strip()]


def _run(runtime, request, number: int, batch_size: int, images: list | None = None, keep=lambda result: result):
    """A request over `number` samples or pictures, in batches over all processes.

    Returns:
        The request with every parameter filled in, what `keep` made of each batch's result, and the seconds it took.
    """
    from dataclasses import replace

    from genarium.parallel import map_batches
    from genarium.requests import MAX_SEED, parse_seed
    from genarium.runtime import Progress

    request = replace(request, seed=parse_seed(request.seed))
    checked = replace(request, batch_size=1).checked(runtime.catalogue[request.checkpoint])
    checked = replace(checked, batch_size=request.batch_size)
    runtime.pipeline(request.checkpoint)  # loading is no part of the time
    started = time.perf_counter()

    def compute(start: int, stop: int, advance) -> Any:
        labels = request.class_labels
        piece = replace(
            request,
            seed=(request.seed + start) % (MAX_SEED + 1),
            batch_size=stop - start if images is None else 1,
            class_labels=None if labels is None else labels[start:stop],
        )
        for event in runtime.stream(piece, None if images is None else {"images": images[start:stop]}):
            if not isinstance(event, Progress):
                return keep(event)
            advance(event.step / event.total)
        raise AssertionError("a stream ends with a result")  # pragma: no cover

    parts = map_batches(compute, number, batch_size, request.task)
    return checked, parts, time.perf_counter() - started


def _is_main() -> bool:
    from genarium.parallel import join

    return join().is_main_process


def _say(what: str, seconds: float, runtime, out: Path) -> None:
    dtype = str(runtime.dtype).removeprefix("torch.")
    typer.echo(f"{what} in {seconds:.2f} s on {runtime.device.type} ({dtype}): {out}")
