"""The tasks of the app's tabs, on the command line: generate, reconstruct, interpolate, swap, anomaly.

Sound goes to sounds.py, once the checkpoint is known.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from genarium.cli import options, sounds
from genarium.cli.batches import choose_out, is_main, run_batches, run_one, say
from genarium.cli.options import BatchSize, Device, Dtype, Invert, Name, Seed, Set
from genarium.errors import InputError

Images = Annotated[
    Path,
    typer.Option(
        "--images",
        "--audio",
        help="A folder of pictures, one picture, or a uint8 .npy [N, H, W, C]; for voices a sound file, or a folder of them.",
    ),
]
Classes = Annotated[
    str,
    typer.Option(help="cycle (each class in turn), any (the model's choice), or names or numbers: Sneaker,Bag,3."),
]


def generate(
    checkpoint: Name,
    n: Annotated[int, typer.Option("--n", "-n", min=1, help="How many images.")] = 16,
    seed: Seed = "0",
    out: Annotated[
        Path | None,
        typer.Option(
            help=".npy: uint8 [N, H, W, C]; .png: a grid that tells how it was made; sound: .wav, .flac, .ogg or .mp3, "
            "numbered. samples.npy or .wav unless told."
        ),
    ] = None,
    classes: Classes = "cycle",
    labels: Annotated[bool, typer.Option("--labels", help="Also write the classes, as NAME.labels.npy.")] = False,
    set_: Set = None,
    batch_size: BatchSize = 64,
    device: Device = None,
    dtype: Dtype = None,
) -> None:
    """Draw images from a model. With torchrun the batches are shared; the file is the same as from one process."""
    import numpy as np

    from genarium.pictures import grid, save_picture, to_pictures, to_pixels
    from genarium.runtime.request import Request, choose_labels

    runtime = options.make_runtime(device, dtype)
    found = runtime.catalogue[checkpoint]
    out = choose_out(out, "samples", found, (".npy", ".png"))
    class_labels = choose_labels(found, _classes(classes), n)
    if labels and class_labels is None:
        raise InputError("--labels: there are none to write; the model has no classes, or chooses them itself.")
    request = Request(checkpoint, "generate", seed, n, class_labels, options.parameters(set_))
    if found.modality == "audio":
        return sounds.make_each(runtime, request, n, None, out)
    request, parts, seconds = run_batches(
        runtime, request, n, batch_size, keep=lambda result: to_pixels(result.pictures)
    )
    if not is_main():
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
    say(f"{n} images", seconds, runtime, out)


def reconstruct(
    checkpoint: Name,
    images: Images,
    seed: Seed = "0",
    out: Annotated[
        Path | None,
        typer.Option(
            help=".png: inputs above, results below; .npy: uint8 [N, H, W, C]; sound: .wav, .flac, .ogg, .mp3. "
            "reconstructions.png or .wav unless told."
        ),
    ] = None,
    classes: Annotated[str, typer.Option(help="Of the inputs, if known: names or numbers, in order.")] = "any",
    set_: Set = None,
    invert: Invert = "auto",
    batch_size: BatchSize = 64,
    device: Device = None,
    dtype: Dtype = None,
) -> None:
    """Take pictures, or recordings, through a model and back."""
    from genarium.pictures import grid, load_folder, save_picture, to_pixels
    from genarium.runtime.request import Request, choose_labels

    runtime = options.make_runtime(device, dtype)
    found = runtime.catalogue[checkpoint]
    out = choose_out(out, "reconstructions", found, (".png", ".npy"))
    if found.modality == "audio":
        request = Request(checkpoint, "reconstruct", seed, parameters=options.parameters(set_))
        files = sounds.find_sounds(images)
        return sounds.make_each(runtime, request, len(files), files, out)
    pictures, _ = load_folder(images)
    labels = choose_labels(found, _classes(classes), len(pictures))
    request = Request(checkpoint, "reconstruct", seed, 1, labels, options.parameters(set_), invert)
    request, results, seconds = run_batches(runtime, request, len(pictures), batch_size, pictures)
    if not is_main():
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
        asked = {**request.to_dict(), "checkpoint": found.name}
        options.write(out, lambda path: save_picture(grid(rows, columns), path, asked))
    say(f"{len(outputs)} reconstructions", seconds, runtime, out)


def interpolate(
    checkpoint: Name,
    a: Annotated[Path, typer.Argument(help="The first picture, or the recording whose words are said.")],
    b: Annotated[Path, typer.Argument(help="The last picture, or a recording of the last voice.")],
    frames: Annotated[
        int | None, typer.Option(min=2, help="Pictures or sounds, with both ends; 8 pictures unless told.")
    ] = None,
    seed: Seed = "0",
    out: Annotated[
        Path | None,
        typer.Option(
            help=".png: a strip; .gif: there and back; .npy: uint8 [N, H, W, C]; sound: .wav, .flac, .ogg or .mp3, "
            "numbered. interpolation.png or .wav unless told."
        ),
    ] = None,
    set_: Set = None,
    invert: Invert = "auto",
    device: Device = None,
    dtype: Dtype = None,
) -> None:
    """Walk from one picture, or voice, to another, through what the model knows."""
    from genarium.pictures import enlarge, grid, save_picture, to_pixels
    from genarium.runtime.request import Request

    runtime = options.make_runtime(device, dtype)
    found = runtime.catalogue[checkpoint]
    out = choose_out(out, "interpolation", found, (".png", ".npy", ".gif"))
    if frames is None and found.modality == "image":
        frames = 8
    parameters = ({} if frames is None else {"num_frames": frames}) | options.parameters(set_)
    request = Request(checkpoint, "interpolate", seed, parameters=parameters, invert=invert)
    result = run_one(runtime, request, {"a": a, "b": b})
    if not is_main():
        return
    if found.modality == "audio":
        return sounds.write(runtime, result, found.name, out)
    strip = result.pictures
    if out.suffix.lower() == ".npy":
        options.write_array(out, to_pixels(strip))
    elif out.suffix.lower() == ".gif":
        first, *rest = [enlarge(p) for p in strip + strip[-2:0:-1]]
        options.write(
            out, lambda path: first.save(path, "GIF", save_all=True, append_images=rest, duration=120, loop=0)
        )
    else:
        asked = {**result.request.to_dict(), "checkpoint": found.name}
        options.write(out, lambda path: save_picture(grid(strip, len(strip)), path, asked))
    say(f"{len(strip)} frames", result.seconds, runtime, out)


def swap(
    checkpoint: Name,
    content: Annotated[Path, typer.Option(help="The picture whose content, or the recording whose words, stay.")],
    style: Annotated[
        Path | None,
        typer.Option(help="The picture or recording whose style is taken over; not with a trained voice (--set)."),
    ] = None,
    seed: Seed = "0",
    out: Annotated[
        Path | None,
        typer.Option(help="A .png; sound: .wav, .flac, .ogg or .mp3. swapped.png or .wav unless told."),
    ] = None,
    set_: Set = None,
    invert: Invert = "auto",
    device: Device = None,
    dtype: Dtype = None,
) -> None:
    """Keep the content of one, take the style of another: of pictures, or of voices that you may use."""
    from genarium.pictures import grid, save_picture
    from genarium.runtime.request import Request

    runtime = options.make_runtime(device, dtype)
    found = runtime.catalogue[checkpoint]
    out = choose_out(out, "swapped", found, options.PICTURES)
    request = Request(checkpoint, "swap_style", seed, parameters=options.parameters(set_), invert=invert)
    result = run_one(runtime, request, {"content": content, "style": style})
    if not is_main():
        return
    if found.modality == "audio":
        return sounds.write(runtime, result, found.name, out)
    asked = {**result.request.to_dict(), "checkpoint": found.name}
    options.write(out, lambda path: save_picture(grid(result.pictures), path, asked))
    say("style swapped", result.seconds, runtime, out)


def anomaly(
    checkpoint: Name,
    images: Images,
    out: Annotated[Path, typer.Option(help="A .json file.")] = Path("scores.json"),
    maps: Annotated[Path | None, typer.Option(help="A folder for heat maps, one PNG for each picture.")] = None,
    classes: Annotated[
        str, typer.Option(help="Classes that the pictures should be of, names or numbers, in order; any: not told.")
    ] = "any",
    seed: Seed = "0",
    set_: Set = None,
    invert: Invert = "auto",
    batch_size: BatchSize = 64,
    device: Device = None,
    dtype: Dtype = None,
) -> None:
    """Say how strange pictures or recordings are to a model: scores, and where they fall among ordinary test data."""
    options.check_out(out, (".json",))
    from genarium.evaluation.measures import percentile
    from genarium.pictures import enlarge, heat_map, load_folder
    from genarium.records import write_json
    from genarium.runtime.request import Request, choose_labels

    runtime = options.make_runtime(device, dtype)
    found = runtime.catalogue[checkpoint]
    if found.modality == "audio":
        if maps is not None:
            raise InputError("--maps: draws on pictures; the scores of sound over time are in the .json file.")
        material = sounds.find_sounds(images)
        names, batch_size = [path.name for path in material], 1
    else:
        material, names = load_folder(images)
    labels = choose_labels(found, _classes(classes), len(material))
    request = Request(checkpoint, "anomaly", seed, 1, labels, options.parameters(set_), invert)
    request, results, seconds = run_batches(runtime, request, len(material), batch_size, material)
    if not is_main():
        return
    quantiles = found.quantiles(request.parameters, class_told=labels is not None)
    scores = [float(score) for result in results for score in result.scores]
    told = [
        {
            "name": name,
            "score": score,
            "percentile": None if quantiles is None else round(percentile(score, quantiles), 2),
        }
        for name, score in zip(names, scores, strict=True)
    ]
    if labels is not None:
        told = [{**one, "class": found.class_names[label]} for one, label in zip(told, labels, strict=True)]
    if found.modality == "audio" and results[0].maps is not None:
        curves = [curve.tolist() for result in results for curve in result.maps]
        told = [{**one, "frames": curve} for one, curve in zip(told, curves, strict=True)]
    own = "" if labels is None else ", each told its own class,"
    values = {
        "checkpoint": found.name,
        "seed": request.seed,
        "parameters": dict(request.parameters),
        "unit": results[0].unit,
        "percentile": f"per cent of ordinary test samples{own} that score lower; null where no quantiles are stored",
        "images" if found.modality == "image" else "recordings": told,
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
    say(f"{len(scores)} scores", seconds, runtime, out)


def _classes(text: str) -> Any:
    return text if text in ("cycle", "any") else [part.strip() for part in text.split(",") if part.strip()]
