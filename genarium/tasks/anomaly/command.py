"""The command `anomaly`: scores and verdicts of pictures or recordings, boxes and heat maps of pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genarium.cli import audio_files, options
from genarium.cli.batches import is_main, run_batches, say
from genarium.cli.options import BatchSize, Device, Dtype, Invert, Name, Seed, Set
from genarium.errors import InputError
from genarium.files import check_writable

if TYPE_CHECKING:
    import PIL.Image

    from genarium.checkpoints import Checkpoint
    from genarium.runtime import Request, Runtime
    from genarium.tasks.anomaly.calibration import Judge
    from genarium.tasks.anomaly.checking import Checked
    from genarium.tasks.anomaly.results import PictureScores, SoundScores

LISTED_AS = {"image": "images", "audio": "recordings"}  # the key of the inputs in the .json file, by modality
MARKS = ("normal", "strange")


def run(
    checkpoint: Name,
    images: Annotated[
        Path | None,
        typer.Option(
            "--images",
            "--audio",
            help="A folder of pictures, one picture, or a uint8 .npy [N, H, W, C]; for voices a sound file, or a folder of them.",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="A .json or .csv file.")] = Path("scores.json"),
    maps: Annotated[
        Path | None, typer.Option(help="A folder for heat maps at the model's resolution, one PNG for each picture.")
    ] = None,
    overlays: Annotated[
        Path | None,
        typer.Option(help="A folder for heat maps over the pictures at their own resolution, with the hottest box."),
    ] = None,
    sheet: Annotated[Path | None, typer.Option(help="A .png of all pictures, the strangest first.")] = None,
    threshold: Annotated[
        float | None,
        typer.Option(help="The score above which an input is strange; by default the checkpoint's, see `calibrate`."),
    ] = None,
    mark: Annotated[
        str | None,
        typer.Option(help="What you know of all these inputs: normal or strange. Their scores join the calibration."),
    ] = None,
    watch: Annotated[
        Path | None,
        typer.Option(
            help="A folder in place of --images: each picture that comes is scored, until Ctrl-C; --out is a .csv."
        ),
    ] = None,
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
    """Score how strange pictures or recordings are to a model, and say of each whether it is strange or ordinary."""
    _check(images, watch, out, mark, sheet)
    for folder in (maps, overlays):
        if folder is not None:
            check_writable(folder)
    from genarium.runtime.request import Request, choose_labels, parse_seed

    runtime = options.make_runtime(device, dtype)
    found = runtime.catalogue[checkpoint]
    request = Request(checkpoint, "anomaly", parse_seed(seed), 1, None, options.parameters(set_), invert)
    if watch is not None:
        _watch(runtime, found, request, watch, out, overlays, threshold, batch_size)
        return
    assert images is not None
    drawn = {"--maps": maps, "--overlays": overlays, "--sheet": sheet}
    load = {"image": _load_pictures, "audio": _load_sounds}[found.modality]
    material, names, batch_size = load(images, [name for name, path in drawn.items() if path is not None], batch_size)
    labels = choose_labels(found, options.classes(classes), len(material))
    request, results, seconds = run_batches(
        runtime, replace(request, class_labels=labels), len(material), batch_size, material
    )
    if not is_main():
        return
    judge = _judge(found, request, threshold)
    rows = _checked(names, material, results, judge)
    if mark is not None:
        _mark(found, request, mark, images, rows)
    if out.suffix.lower() == ".csv":
        from genarium.tasks.anomaly.checking import write_csv

        write_csv(out, rows)
    else:
        _write_json(out, found, request, rows, results, judge)
    if maps is not None:
        _write_maps(maps, names, results, found.name)
    if overlays is not None:
        _write_overlays(overlays, rows, material, results, found.name)
    if sheet is not None:
        _write_sheet(sheet, rows, material)
    words = f"{len(rows)} scores"
    if judge.threshold is not None:
        words += f", {sum(row.verdict == 'strange' for row in rows)} strange (above {judge.threshold:.4g})"
    say(words, seconds, runtime, out)


def _check(images: Path | None, watch: Path | None, out: Path, mark: str | None, sheet: Path | None) -> None:
    """Refuse options that do not go together, before any work is done."""
    if (images is None) == (watch is None):
        raise InputError("Give --images with what to score, or --watch with a folder; one of the two.")
    options.check_out(out, (".json", ".csv") if watch is None else (".csv",))
    if mark is not None and mark not in MARKS:
        raise InputError(f"--mark: say {' or '.join(MARKS)}, not {mark!r}.")
    if sheet is not None:
        options.check_out(sheet, (".png",))
    if watch is not None and (mark is not None or sheet is not None):
        raise InputError("--watch goes with neither --mark nor --sheet.")


def _judge(found: Checkpoint, request: Request, threshold: float | None) -> Judge:
    """Return the judge of a request's scores, with a threshold in place of the checkpoint's."""
    from genarium.tasks.anomaly.calibration import judge_of

    judge = judge_of(found, request.parameters, request.class_labels is not None)
    return judge if threshold is None else replace(judge, calibration=replace(judge.calibration, threshold=threshold))


def _checked(names: list[str], material: list[Any], results: list[Any], judge: Judge) -> list[Checked]:
    from genarium.tasks.anomaly.checking import checked

    sizes = [getattr(one, "size", (0, 0)) for one in material]  # recordings have no box
    return checked(names, sizes, [_without_curves(result) for result in results], judge)


def _without_curves(result: Any) -> Any:
    """Return a result of sound without its curves over time, which are no maps of a picture."""
    return replace(result, maps=None) if isinstance(result.maps, list) else result


def _mark(found: Checkpoint, request: Request, mark: str, source: Path, rows: list[Checked]) -> None:
    """Let the scores of these inputs join the calibration that is kept with the checkpoint."""
    from genarium.tasks.anomaly.calibration import key_of, read_calibration, told_apart, write_calibration

    key = key_of(request.parameters, request.class_labels is not None)
    names = told_apart(source, [row.name for row in rows])
    known = read_calibration(found.folder, key)
    scores = dict(zip(names, (row.score for row in rows), strict=True))
    joined = known.with_normal(scores) if mark == "normal" else known.with_strange(scores)
    path = write_calibration(found, key, joined)
    typer.echo(f"{len(scores)} {mark} scores joined {path}: {len(joined.normal)} normal, {len(joined.strange)} strange")


def _load_pictures(source: Path, drawn: list[str], batch_size: int) -> tuple[list[Any], list[str], int]:
    """Return pictures, their names, and how many to compute at once."""
    from genarium.media.pictures import load_folder

    return *load_folder(source), batch_size


def _load_sounds(source: Path, drawn: list[str], batch_size: int) -> tuple[list[Any], list[str], int]:
    """Return the paths of sound files, their names, and how many to compute at once."""
    if drawn:
        raise InputError(f"{drawn[0]}: draws on pictures; the scores of sound over time are in the .json file.")
    files = audio_files.find_sounds(source)
    return files, [path.name for path in files], 1


def _write_json(
    out: Path, found: Checkpoint, request: Request, rows: list[Checked], results: list[Any], judge: Judge
) -> None:
    """Write what was found, with what it depends on."""
    from genarium.files import write_json

    labels = request.class_labels
    scored = [row.to_dict() for row in rows]
    if labels is not None:
        scored = [{**one, "class": found.class_names[label]} for one, label in zip(scored, labels, strict=True)]
    own = "" if labels is None else ", each given its own class,"
    add_frames: dict[str, Callable[[Any, Any], list[dict[str, Any]]]] = {"image": _leave, "audio": _add_frames}
    values = {
        "checkpoint": found.name,
        "seed": request.seed,
        "parameters": dict(request.parameters),
        "unit": results[0].unit,
        "threshold": judge.threshold,
        "percentile": f"per cent of ordinary test samples{own} that score lower; null where no quantiles are stored",
        LISTED_AS[found.modality]: add_frames[found.modality](scored, results),
    }
    write_json(out, values)


def _leave(scored: list[dict[str, Any]], results: list[PictureScores]) -> list[dict[str, Any]]:
    return scored


def _add_frames(scored: list[dict[str, Any]], results: list[SoundScores]) -> list[dict[str, Any]]:
    """Return the entries without boxes, with the score of each frame if the model gives them."""
    scored = [{key: value for key, value in one.items() if key != "box"} for one in scored]
    if results[0].maps is None:
        return scored
    curves = [curve.tolist() for result in results for curve in result.maps or ()]
    return [{**one, "frames": curve} for one, curve in zip(scored, curves, strict=True)]


def _heats(results: list[PictureScores], option: str, checkpoint: str) -> list[Any]:
    """Return the map of each picture.

    Raises:
        InputError: the model gives scores only.
    """
    found = [heat for result in results if result.maps is not None for heat in result.maps]
    if not found:
        raise InputError(f"{option}: {checkpoint} gives scores only.")
    return found


def _write_maps(folder: Path, names: list[str], results: list[PictureScores], checkpoint: str) -> None:
    """Write a heat map of each picture, all on one scale, so that they can be compared."""
    from genarium.media.pictures import enlarge, heat_map

    heats = _heats(results, "--maps", checkpoint)
    folder.mkdir(parents=True, exist_ok=True)
    high = max(float(heat.max()) for heat in heats)
    inputs = [picture for result in results for picture in result.inputs]
    for name, picture, heat in zip(names, inputs, heats, strict=True):
        _write_png(folder / f"{name}.png", enlarge(heat_map(heat, picture, high)))


def _write_overlays(
    folder: Path, rows: list[Checked], pictures: list[Any], results: list[PictureScores], checkpoint: str
) -> None:
    """Write a heat map over each picture as it was given, all on one scale, with the box of the hottest region."""
    from genarium.tasks.anomaly.checking import overlay

    heats = _heats(results, "--overlays", checkpoint)
    high = max(float(heat.max()) for heat in heats)
    for row, picture, heat in zip(rows, pictures, heats, strict=True):
        _write_png(folder / f"{row.name}.png", overlay(picture, heat, high, row.box))


def _write_sheet(path: Path, rows: list[Checked], pictures: list[Any]) -> None:
    from genarium.tasks.anomaly.checking import sheet, strangest_first

    _write_png(path, sheet(strangest_first(rows), dict(zip((row.name for row in rows), pictures, strict=True))))


def _write_png(path: Path, picture: PIL.Image.Image) -> None:
    options.write(path, lambda place: picture.save(place, "PNG"))


# ---- a folder that is watched ----


def _watch(
    runtime: Runtime,
    found: Checkpoint,
    request: Request,
    folder: Path,
    out: Path,
    overlays: Path | None,
    threshold: float | None,
    batch_size: int,
) -> None:
    """Score each picture that comes into a folder, print its verdict and append it to a .csv file, until Ctrl-C."""
    from genarium.media.decoding import PICTURES, open_picture
    from genarium.notices import fail
    from genarium.tasks.anomaly.checking import to_csv
    from genarium.tasks.anomaly.watching import Watched, watch

    if found.modality != "image":
        raise InputError(f"--watch: looks for pictures, and {found.name} works on sound.")
    watched = Watched(folder, frozenset(PICTURES))
    runtime.pipeline(found.name)
    typer.echo(f"Watching {folder}; Ctrl-C ends it. Verdicts go to {out}.")

    def handle(files: list[Path]) -> None:
        names, pictures = [], []
        for path in files:
            try:
                pictures.append(open_picture(path))
                names.append(path.name)
            except InputError as error:
                fail(path.name, str(error))
        for start in range(0, len(pictures), batch_size):
            part = slice(start, start + batch_size)
            done, results, _ = run_batches(runtime, request, len(pictures[part]), batch_size, pictures[part])
            rows = _checked(names[part], pictures[part], results, _judge(found, done, threshold))
            with out.open("a", encoding="utf-8") as table:
                table.write(to_csv(rows, header=not out.stat().st_size))
            for row in rows:
                typer.echo(f"{row.verdict or 'score'}  {row.score:.4g}  {row.name}")
            if overlays is not None:
                _write_overlays(overlays, rows, pictures[part], results, found.name)

    watch(watched, handle)
