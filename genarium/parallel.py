"""Batches shared out among processes (torchrun), and their results brought together again in order.

Batches are cut by the number of samples alone and handed out whole. So each sample is computed beside the same
neighbours however many processes there are: floating-point sums of a batch then agree, and rounded pixels are equal
byte for byte. (A library that splits one operation over another number of threads may still round differently; give
every process the same OMP_NUM_THREADS to exclude that too.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from tqdm.auto import tqdm

from genarium.environment import is_allowed
from genarium.errors import InputError

Part = TypeVar("Part")


def join() -> PartialState:
    """Return the place of this process among those that torchrun started. Without torchrun it is alone.

    Call this before anything else asks accelerate, whose first answer stays. Without `cpu`, accelerate takes each process
    on a machine without accelerator for the only one.
    """
    return PartialState(cpu=not torch.accelerator.is_available())


def check_launch() -> None:
    """Refuse a start in which accelerate would divide the weights among the processes.

    A training keeps a moving average of the weights, draws samples and writes checkpoints with whole networks. So each
    process holds them whole, and accelerate brings the gradients together (DDP).

    Raises:
        InputError: accelerate was asked for FSDP, DeepSpeed or Megatron-LM.
    """
    for name in ("FSDP", "DEEPSPEED", "MEGATRON_LM"):
        if is_allowed(f"ACCELERATE_USE_{name}"):
            raise InputError(
                f"Accelerate was asked for {name}, which divides the weights among processes. Each process holds them whole "
                "here: set distributed_type to MULTI_GPU, or start it with torchrun."
            )


def map_batches(
    compute: Callable[[int, int, Callable[[float], None]], Part], number: int, batch_size: int, description: str
) -> list[Part]:
    """Compute the samples 0 ... number - 1 in batches, each process its share.

    Args:
        compute: takes (start, stop, advance) and returns the result of the samples start ... stop - 1. It may call
            `advance(share)` with the part of the batch that is done, in [0, 1], for the progress bar.
        number: of samples.
        batch_size: samples computed at once.
        description: of the progress bar, which the main process shows for its own share.

    Returns:
        The results of all batches in order, on every process.
    """
    state = join()
    batches = [(start, min(start + batch_size, number)) for start in range(0, number, batch_size)]
    mine = range(state.process_index, len(batches), state.num_processes)
    parts: list[tuple[int, Part]] = []
    done, total = 0, sum(batches[i][1] - batches[i][0] for i in mine)
    with tqdm(total=total, desc=description, unit="image", disable=not state.is_main_process, leave=False) as bar:
        for i in mine:
            start, stop = batches[i]

            def advance(share: float, done: int = done, size: int = stop - start) -> None:
                bar.update(int(done + share * size) - bar.n)

            parts.append((i, compute(start, stop, advance)))
            done += stop - start
            bar.update(done - bar.n)
    if state.num_processes > 1:
        parts = gather_object(parts)
    return [part for _, part in sorted(parts, key=lambda pair: pair[0])]
