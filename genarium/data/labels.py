"""Columns of labels into numbers: a checkpoint's names say what a number means, for every split.

A number alone means nothing: each split has classes of its own, and whole numbers may begin at 1 or have gaps. So labels are
names first. Training numbers the names of its split; every other split is numbered by the names that the checkpoint keeps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from genarium.errors import DataError

Names = Mapping[str, str]  # {"0": "cat", "1": "dog"}, as a checkpoint's id2label


def number_labels(
    values: Sequence[Any],
    where: str,
    class_names: Sequence[str] | None = None,
    known: Names | None = None,
    required: bool = False,
) -> tuple[torch.Tensor, dict[str, str]]:
    """Return a column of labels as numbers, and what the numbers mean.

    Args:
        values: whole numbers or strings. None, NaN, "" and -1 stand for a row without label.
        where: names the column in errors, "me/animals, test, label".
        class_names: what the whole numbers mean, if the data say so; otherwise each number is its own name.
        known: the names of a checkpoint, by which the column is numbered.
        required: refuse rows without label.

    Returns:
        int64 [N], -1 without label; {number: name}.

    Raises:
        DataError: no labels, a number that has no name, or a name that the checkpoint does not know.
    """
    texts = _names_of(values, where, class_names)
    if required and None in texts:
        raise DataError(f"{where}: row {texts.index(None)} has no value. Fill it in, or remove the row.")
    used = {text for text in texts if text is not None}
    if known is not None:
        numbered = {name: int(key) for key, name in known.items()}
        strangers = sorted(used - numbered.keys())
        if strangers:
            raise DataError(
                f"{where}: {_listed(strangers)} {'is' if len(strangers) == 1 else 'are'} not among the names that the "
                f"checkpoint knows: {_listed(numbered)}. Use data with the same names, or remove these rows."
            )
    else:
        order = list(class_names) if class_names is not None else sorted(used, key=_place(values))
        numbered = {name: number for number, name in enumerate(order)}
    labels = torch.tensor([-1 if text is None else numbered[text] for text in texts], dtype=torch.int64)
    return labels, {str(number): name for name, number in sorted(numbered.items(), key=lambda item: item[1])}


def _names_of(values: Sequence[Any], where: str, class_names: Sequence[str] | None) -> list[str | None]:
    """Return the name of each row, None for a row without."""
    if class_names is not None:
        class_names = [str(name) for name in class_names]
        double = next((name for name in class_names if class_names.count(name) > 1), None)
        if double is not None:
            raise DataError(f"{where}: two classes are called {double!r}; give each a name of its own.")
    texts: list[str | None] = []
    for row, value in enumerate(values):
        if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
            texts.append(None)
        elif isinstance(value, str) and (class_names is None or value in class_names):
            texts.append(value)
        elif isinstance(value, bool) and class_names is None:
            texts.append(str(value))
        elif _is_whole(value):
            number = int(value)
            if class_names is not None and not -1 <= number < len(class_names):
                raise DataError(
                    f"{where}: row {row} has the label {number}, and there are names for 0 ... {len(class_names) - 1}."
                )
            texts.append(None if number == -1 else class_names[number] if class_names is not None else str(number))
        else:
            raise DataError(f"{where}: row {row} holds {value!r}, which is no label: give whole numbers or strings.")
    if all(text is None for text in texts) and class_names is None:
        raise DataError(f"{where}: no row has a label. Set data.label_column to null to do without.")
    return texts


def _is_whole(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and float(value).is_integer()


def _place(values: Sequence[Any]):
    """Return the key by which names are ordered: whole numbers as numbers, strings as strings."""
    if any(isinstance(value, str) for value in values):
        return lambda name: (0, 0, name)
    return lambda name: (0, int(name), name) if name.lstrip("-").isdecimal() else (1, 0, name)


def _listed(names: Sequence[str] | Mapping[str, int], most: int = 10) -> str:
    some = [repr(name) for name in list(names)[:most]]
    return ", ".join(some) + (f" and {len(names) - most} more" if len(names) > most else "")
