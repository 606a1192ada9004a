"""What reading data may take of a machine: memory for decoded pictures, and processes that decode them."""

from __future__ import annotations

import os

from genarium.environment import gigabytes
from genarium.errors import InputError

MEMORY_GB = 2.0  # of decoded pictures of one split, in each process
MEMORY_VARIABLE = "GENARIUM_DATA_MEMORY_GB"
MOST_WORKERS = 4
WORKERS_VARIABLE = "GENARIUM_DATA_WORKERS"


def memory_budget() -> int:
    """Return the bytes that the decoded pictures of a split may take. A larger split is decoded batch by batch.

    Raises:
        InputError: GENARIUM_DATA_MEMORY_GB is no number.
    """
    return round(gigabytes(MEMORY_VARIABLE, os.environ.get(MEMORY_VARIABLE) or MEMORY_GB) * 2**30)


def num_workers() -> int:
    """Return how many processes decode pictures beside a training; 0: the training decodes them itself.

    The cores are shared among the processes of torchrun on this machine.

    Raises:
        InputError: GENARIUM_DATA_WORKERS is no whole number.
    """
    value = os.environ.get(WORKERS_VARIABLE)
    if value:
        if not value.isdecimal():
            raise InputError(f"{WORKERS_VARIABLE}: takes a whole number such as 4, not {value!r}.")
        return int(value)
    here = int(os.environ.get("LOCAL_WORLD_SIZE") or 1)
    return min(MOST_WORKERS, max(1, (os.cpu_count() or 1) // here - 1))
