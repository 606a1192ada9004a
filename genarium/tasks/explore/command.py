"""The command `explore`: the map of a model's codes and a traversal as PNG, and the codes as .npz."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genarium.cli import options
from genarium.cli.batches import say
from genarium.cli.options import Data, Device, Dtype, Name

if TYPE_CHECKING:
    import PIL.Image

    from genarium.checkpoints import Checkpoint
    from genarium.runtime import Runtime
    from genarium.tasks.explore.mapping import CodeMap


def run(
    checkpoint: Name,
    out: Annotated[Path, typer.Option(help="A folder for map.png, manifold.png, traversal.png and codes.npz.")] = Path(
        "explore"
    ),
    images: Annotated[
        Path | None,
        typer.Option(help="Pictures to encode, a folder, a file or a uint8 .npy; by default the recipe's test split."),
    ] = None,
    number: Annotated[int, typer.Option(min=1, help="Test pictures to encode.")] = 2000,
    data: Data = None,
    device: Device = None,
    dtype: Dtype = None,
) -> None:
    """Look inside a model's code: its map, what lies along its directions, and the codes of pictures."""
    import time

    from genarium.errors import CheckpointError
    from genarium.files import check_writable
    from genarium.tasks.explore.codes import encode
    from genarium.tasks.explore.explorer import Explorer

    check_writable(out)
    runtime = options.make_runtime(device, dtype)
    found = runtime.catalogue[checkpoint]
    if "explore" not in found.tasks:
        raise CheckpointError(f"{found.name} ({found.family.title}) has no code: it lacks `encode` or `decode`.")
    started = time.perf_counter()
    pictures, names = _load(runtime, found, images, number, data)
    codes: Any = runtime.call(checkpoint, encode, pictures)
    pipeline = runtime.pipeline(checkpoint)
    code_map = Explorer.of(runtime).map_of(checkpoint)
    out.mkdir(parents=True, exist_ok=True)
    _write_codes(out / "codes.npz", pipeline.code_kind, codes, names, code_map)
    written = ["codes.npz", *_draw(runtime, checkpoint, out, codes[0], code_map)]
    say(
        f"{len(names)} codes of kind {pipeline.code_kind}, {', '.join(written)},",
        time.perf_counter() - started,
        runtime,
        out,
    )
    if code_map is None and pipeline.code_kind != "noise":
        typer.echo(f"No map is stored with {found.name}; `evaluate {found.name} --only explore` makes one.", err=True)


def _load(
    runtime: Runtime, found: Checkpoint, images: Path | None, number: int, data: Path | None
) -> tuple[list[PIL.Image.Image], list[str]]:
    """Return pictures in the model's form, and their names."""
    from genarium.errors import RecipeError
    from genarium.evaluation.images import ImageEvaluation
    from genarium.media.pictures import load_folder

    if images is not None:
        loaded, names = load_folder(images)
        return [runtime.prepare(found.name, picture) for picture in loaded], names
    if found.recipe is None:
        raise RecipeError(f"{found.name} has no recipe, which would say on what data; give --images.")
    evaluation = ImageEvaluation(found.name, found, runtime, found.recipe, 1, number, data)
    pictures = evaluation.test_pictures(number)
    return pictures, [f"{evaluation.test_name}[{int(i)}]" for i in evaluation.order[: len(pictures)]]


def _write_codes(path: Path, kind: str, codes: Any, names: list[str], code_map: CodeMap | None) -> None:
    """Write the codes, the pictures' names and, where there is a map of continuous codes, the places on it."""
    import numpy as np

    values: dict[str, Any] = {"kind": kind, "names": np.array(names, dtype=np.str_)}
    values["codes"] = np.array(codes, dtype=np.str_) if isinstance(codes, list) else codes.numpy()
    if code_map is not None and code_map.is_continuous:
        values["points"] = code_map.to_axes(codes)[:, :2].astype(np.float32)

    def put(part: Path) -> None:
        with part.open("wb") as file:
            np.savez_compressed(file, **values)

    options.write(path, put)


def _draw(runtime: Runtime, name: str, out: Path, code: Any, code_map: CodeMap | None) -> list[str]:
    """Draw what there is to draw, and return the names of the files."""
    import asyncio

    from genarium.tasks.explore.codes import decode, vary
    from genarium.tasks.explore.directions import STEPS
    from genarium.tasks.explore.drawing import map_picture, tight
    from genarium.tasks.explore.explorer import MANIFOLD, Explorer

    pictures = {}
    if code_map is not None:
        pictures["map.png"] = map_picture(code_map)
        places = code_map.lattice(MANIFOLD)
        pictures["manifold.png"] = tight(asyncio.run(Explorer.of(runtime).at(name, places)), MANIFOLD)
    pipeline = runtime.pipeline(name)
    directions = asyncio.run(Explorer.of(runtime).directions_of(name))
    if directions is not None and pipeline.code_kind != "binary":
        several, columns = directions.traversal(code), STEPS
    else:
        several, columns = vary(pipeline.code_kind, code, pipeline.code_values)
    if len(several):
        pictures["traversal.png"] = tight(runtime.call(name, decode, several), columns)
    for file, picture in pictures.items():
        options.write(out / file, partial(picture.save, format="PNG"))
    return list(pictures)
