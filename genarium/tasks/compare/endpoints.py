"""The endpoint /compare of the web API."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from genarium.tasks.endpoints import Endpoint, File, Number, Values, Work

if TYPE_CHECKING:
    from genarium.checkpoints import Checkpoint
    from genarium.runtime import Runtime

MAX_CELLS = 64  # in one call: visitors take turns
TEXT = {"type": "string"}
TEXTS = {"type": "array", "items": TEXT}
ANYTHING = {"type": "array", "items": {"anyOf": [{"type": "number"}, TEXT, {"type": "boolean"}]}}


def compare(
    checkpoint, others, task, image, second_image, columns, values, num_columns, class_name, seed, parameters
) -> Work:
    """Ask several checkpoints the same, and return their answers as one sheet.

    Args:
        checkpoint: Name of the first checkpoint, the first row.
        others: Names of the other checkpoints, a row each.
        task: "generate", "reconstruct", "interpolate" or "anomaly".
        image: Picture file, for every task but "generate".
        second_image: Picture file, for "interpolate" alone.
        columns: "seed", "class", or a parameter of the task, whose `values` are the columns.
        values: Values of that parameter.
        num_columns: Columns of seeds, or frames of an interpolation.
        class_name: Class of all samples that are drawn; "" for any.
        seed: Column i is drawn with seed + i; where columns are values, each is drawn with the seed.
        parameters: Further parameters, for every checkpoint that has them.

    Returns:
        The sheet as a PNG file, a .zip of all pictures, and the comparison with seconds, network evaluations and the figures
        of each picture.
    """

    def work(runtime: Runtime, found: Checkpoint, folder: Path) -> tuple[list[Path], dict[str, Any]]:
        from genarium.errors import CheckpointError, InputError
        from genarium.messages import quoted
        from genarium.runtime.request import parse_number, parse_seed
        from genarium.tasks.compare.comparison import Comparison
        from genarium.tasks.compare.running import compare as run
        from genarium.tasks.compare.sheet import report, save_sheet, zip_of

        if not isinstance(others, (list, tuple, type(None))) or not isinstance(parameters, (dict, type(None))):
            raise InputError('others: give a list of names, and for parameters a mapping such as {"eta": 0.5}.')
        for name in others or ():  # a program from outside shall not make the app read other folders or ask the Hub
            if not isinstance(name, str) or name not in runtime.catalogue.checkpoints:
                raise CheckpointError(f"There is no checkpoint {quoted(name)} here.")
        comparison = Comparison.from_dict(
            {
                "checkpoints": [found.name, *(others or ())],
                "task": task,
                "columns": columns,
                "values": values or [],
                "number": parse_number(num_columns),
                "seed": parse_seed(seed),
                "class_name": class_name or "",
                "parameters": parameters or {},
            }
        )
        if (cells := len(comparison.checkpoints) * max(comparison.number, len(comparison.values))) > MAX_CELLS:
            raise InputError(f"At most {MAX_CELLS} pictures in one call, not {cells}; the command line makes more.")
        compared = run(runtime, comparison, [path for path in (image, second_image) if path])
        archive = folder / "comparison.zip"
        archive.write_bytes(zip_of(compared))
        return [save_sheet(compared, folder / "comparison.png"), archive], report(compared)

    return work


ENDPOINTS = (
    Endpoint(
        "/compare",
        (
            Values("other checkpoints", [], TEXTS),
            Values("task", "generate", TEXT),
            File("picture"),
            File("second picture"),
            Values("columns", "seed", TEXT),
            Values("values", [], ANYTHING),
            Number("number of columns", 8),
            Values("class", "", TEXT),
        ),
        compare,
    ),
)
