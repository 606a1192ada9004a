"""The command `anomaly`: scores of pictures or recordings, and heat maps of pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genarium.cli import audio_files, options
from genarium.cli.batches import is_main, run_batches, say
from genarium.cli.options import BatchSize, Device, Dtype, Images, Invert, Name, Seed, Set
from genarium.errors import InputError
from genarium.files import check_writable

if TYPE_CHECKING:
    import PIL.Image

    from genarium.tasks.anomaly.results import PictureScores, SoundScores

LISTED_AS = {"image": "images", "audio": "recordings"}  # the key of the inputs in the .json file, by modality


def run(
    checkpoint: Name,
    images: Images,
    out: Annotated[Path, typer.Option(help="A .json file.")] = Path("scores.json"),
    maps: Annotated[Path | None, typer.Option(help="A folder for heat maps, one PNG for each picture.")] = None,
    classes: Annotated[
        str, typer.Option(help="Classes of the pictures, names or numbers, in order; any: not given.")
    ] = "any",
    seed: Seed = "0",
    set_: Set = None,
    invert: Invert = "auto",
    batch_size: BatchSize = 64,
    device: Device = None,
    dtype: Dtype = None,
) -> None:
    """Score how strange pictures or recordings are to a model, also as percentiles among ordinary test data."""
    options.check_out(out, (".json",))
    if maps is not None:
        check_writable(maps)
    from genarium.evaluation.measures import percentile
    from genarium.files import write_json
    from genarium.runtime.request import Request, choose_labels, parse_seed
    from genarium.tasks.anomaly.quantiles import stored_quantiles

    runtime = options.make_runtime(device, dtype)
    found = runtime.catalogue[checkpoint]
    load = {"image": _load_pictures, "audio": _load_sounds}[found.modality]
    material, names, batch_size = load(images, maps, batch_size)
    labels = choose_labels(found, options.classes(classes), len(material))
    request = Request(checkpoint, "anomaly", parse_seed(seed), 1, labels, options.parameters(set_), invert)
    request, results, seconds = run_batches(runtime, request, len(material), batch_size, material)
    if not is_main():
        return
    quantiles = stored_quantiles(found, request.parameters, labels is not None)
    scores = [float(score) for result in results for score in result.scores]
    scored = [
        {
            "name": name,
            "score": score,
            "percentile": None if quantiles is None else round(percentile(score, quantiles), 2),
        }
        for name, score in zip(names, scores, strict=True)
    ]
    if labels is not None:
        scored = [{**one, "class": found.class_names[label]} for one, label in zip(scored, labels, strict=True)]
    own = "" if labels is None else ", each given its own class,"
    add_frames: dict[str, Callable[[Any, Any], list[dict[str, Any]]]] = {"image": _leave, "audio": _add_frames}
    values = {
        "checkpoint": found.name,
        "seed": request.seed,
        "parameters": dict(request.parameters),
        "unit": results[0].unit,
        "percentile": f"per cent of ordinary test samples{own} that score lower; null where no quantiles are stored",
        LISTED_AS[found.modality]: add_frames[found.modality](scored, results),
    }
    write_json(out, values)
    if maps is not None:
        _write_maps(maps, names, results, found.name)
    say(f"{len(scores)} scores", seconds, runtime, out)


def _load_pictures(source: Path, maps: Path | None, batch_size: int) -> tuple[list[Any], list[str], int]:
    """Return pictures, their names, and how many to compute at once."""
    from genarium.media.pictures import load_folder

    return *load_folder(source), batch_size


def _load_sounds(source: Path, maps: Path | None, batch_size: int) -> tuple[list[Any], list[str], int]:
    """Return the paths of sound files, their names, and how many to compute at once."""
    if maps is not None:
        raise InputError("--maps: draws on pictures; the scores of sound over time are in the .json file.")
    files = audio_files.find_sounds(source)
    return files, [path.name for path in files], 1


def _leave(scored: list[dict[str, Any]], results: list[PictureScores]) -> list[dict[str, Any]]:
    return scored


def _add_frames(scored: list[dict[str, Any]], results: list[SoundScores]) -> list[dict[str, Any]]:
    """Return the entries with the score of each frame, if the model gives them."""
    if results[0].maps is None:
        return scored
    curves = [curve.tolist() for result in results for curve in result.maps or ()]
    return [{**one, "frames": curve} for one, curve in zip(scored, curves, strict=True)]


def _write_maps(folder: Path, names: list[str], results: list[PictureScores], checkpoint: str) -> None:
    """Write a heat map of each picture, all on one scale, so that they can be compared.

    Raises:
        InputError: the model gives scores only.
    """
    from genarium.media.pictures import enlarge, heat_map

    maps = [result.maps for result in results if result.maps is not None]
    if not maps:
        raise InputError(f"--maps: {checkpoint} gives scores only.")
    folder.mkdir(parents=True, exist_ok=True)
    high = max(float(part.max()) for part in maps)
    inputs = [picture for result in results for picture in result.inputs]
    heats = [heat for part in maps for heat in part]
    for name, picture, heat in zip(names, inputs, heats, strict=True):
        drawn = enlarge(heat_map(heat, picture, high))

        def put(path: Path, drawn: PIL.Image.Image = drawn) -> None:
            drawn.save(path, "PNG")

        options.write(folder / f"{name}.png", put)
