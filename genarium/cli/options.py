"""Options that several commands share, and how their text becomes values."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genarium.errors import InputError
from genarium.files import check_writable, write_array  # noqa: F401  the commands write by these two
from genarium.files import write_file as write  # noqa: F401

if TYPE_CHECKING:
    from genarium.runtime import Runtime

Name = Annotated[str, typer.Argument(metavar="CHECKPOINT", help="A name (see `list`), a folder, or a Hub id.")]
Seed = Annotated[str, typer.Option(help="Sample i is drawn with seed + i, in batches of any size.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="A parameter of the task (see `list`); repeat for more."),
]
BatchSize = Annotated[
    int, typer.Option(min=1, help="Samples that are computed at once. Several processes share the batches.")
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps; by default the best there is.")]
Dtype = Annotated[str | None, typer.Option(help="float32, bfloat16 or float16; by default the hardware's best.")]
Invert = Annotated[str, typer.Option(help="Swap bright and dark in the inputs: auto, yes or no.")]
PICTURES = (".png",)  # endings of results; tasks add their own
SOUNDS = (".wav", ".flac", ".ogg", ".mp3")
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
Data = Annotated[Path | None, typer.Option(help="A local folder or .npz in place of the recipe's Hub data set.")]


def parameters(pairs: list[str] | None) -> dict[str, str]:
    """Split pieces such as "steps=20" into names and values. The controls turn the values into numbers and check them.

    Raises:
        InputError: a piece has no "=".
    """
    values = {}
    for pair in pairs or ():
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise InputError(f"--set {pair}: write it as name=value.")
        values[name.strip().replace("-", "_")] = value.strip()
    return values


def classes(text: str) -> Any:
    """Return a choice of classes as `choose_labels` takes it, from the text of an option."""
    return text if text in ("cycle", "any") else [part.strip() for part in text.split(",") if part.strip()]


def make_runtime(device: str | None, dtype: str | None) -> Runtime:
    """Return a runtime on the wanted hardware.

    Raises:
        InputError: a device or dtype that is not there.
    """
    import torch

    from genarium.parallel import join
    from genarium.runtime import Runtime

    join()

    dtypes = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if dtype is not None and dtype not in dtypes:
        raise InputError(f"--dtype: choose one of {', '.join(dtypes)}, not {dtype!r}.")
    if device is not None:
        try:
            torch.empty(1, device=device)
        except (RuntimeError, AssertionError, ValueError) as error:  # torch has one for each way of lacking a device
            raise InputError(f"--device {device}: not here: {str(error).splitlines()[0]}") from error
    return Runtime(device=device, dtype=None if dtype is None else dtypes[dtype])


def check_out(path: Path, kinds: tuple[str, ...]) -> Path:
    """Return the path of an output file, and make its folder. Commands call this before they compute anything.

    Raises:
        InputError: the name has another ending than those of `kinds`, or is a folder's.
        FileError: the folder cannot be written.
    """
    if path.suffix.lower() not in kinds:
        raise InputError(f"--out {path}: choose a name that ends in {' or '.join(kinds)}.")
    if path.is_dir():
        raise InputError(f"--out {path}: is a folder; name a file.")
    check_writable(path.parent)
    return path
