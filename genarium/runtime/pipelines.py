"""The loaded pipelines: load one when it is first asked for, and keep the recent ones within a memory budget.

Pipelines are shared by all visitors and never changed.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from genarium.catalogue import Catalogue, find_checkpoints
from genarium.checkpoints import Checkpoint, load_pipeline
from genarium.environment import gigabytes
from genarium.errors import CheckpointError
from genarium.families import discover
from genarium.imports import HEAVY
from genarium.messages import quoted
from genarium.runtime.trial import try_loading

if TYPE_CHECKING:
    import torch


def pick_device() -> torch.device:
    """Return Accelerate's choice: the GPU of this process where there is one, else the CPU."""
    with HEAVY:
        from genarium.parallel import join  # here, because the first page needs neither torch nor accelerate
    return join().device


def pick_dtype(device: torch.device) -> torch.dtype:
    """Return bfloat16 if the hardware multiplies it natively and faster, else float32.

    A CPU needs AMX for that. With AVX512-BF16 alone, small networks were measured to be no faster than in float32.
    """
    import torch

    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    if device.type == "cpu" and torch.cpu._is_amx_tile_supported():
        return torch.bfloat16
    return torch.float32


class PipelineCache:
    """Pipelines by the names of their checkpoints.

    Args:
        catalogue: the checkpoints; found by discovery unless given.
        device, dtype: the hardware's best unless given.
        memory_budget: bytes of weights to keep loaded; GENARIUM_MEMORY_GB, or a quarter of the memory.
        max_guests: checkpoints that visitors may add to the catalogue's; the least recently used makes room for the next.
    """

    def __init__(
        self,
        catalogue: Catalogue | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        memory_budget: int | None = None,
        max_guests: int = 8,
    ):
        self.catalogue = catalogue or find_checkpoints(discover())
        self._device: torch.device | str | None = device
        self._dtype = dtype
        self._memory_budget = memory_budget or _given_budget()
        self.max_guests = max_guests
        self._loaded: OrderedDict[str, Any] = OrderedDict()
        self._guests: OrderedDict[str, Checkpoint] = OrderedDict()
        self._lock = threading.Lock()  # of the three dictionaries
        self._loading: dict[str, threading.Lock] = {}
        self._needs: dict[str, int] = {}  # bytes of memory for one sample of a guest

    # ---- hardware: torch is asked when the first pipeline is loaded, not when the app starts ----

    # No `cached_property`, which holds a lock of its own meanwhile: two threads could each wait for the other's.

    @property
    def device(self) -> torch.device:
        """Where pipelines are loaded."""
        if self._device is None:
            self._device = pick_device()
        elif isinstance(self._device, str):
            with HEAVY:
                import torch
            self._device = torch.device(self._device)
        return self._device

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights."""
        if self._dtype is None:
            self._dtype = pick_dtype(self.device)
        return self._dtype

    @property
    def memory_budget(self) -> int:
        """Bytes of weights that are kept loaded."""
        if self._memory_budget is None:
            self._memory_budget = _usual_budget(self.device)
        return self._memory_budget

    # ---- guests: checkpoints that come while the app runs ----

    def welcome(self, checkpoint: Checkpoint, stop: threading.Event | None = None) -> int:
        """Take in a checkpoint under its name, and load it, first on trial in a process of its own.

        Args:
            stop: set it to stop while the trial goes on.

        Returns:
            The bytes of memory that one sample takes, for `admit`.

        Raises:
            CheckpointError: it cannot be loaded, or not within the trial's limits; then it is no guest.
            Stopped: `stop` was set.
        """
        needs = 0
        if not checkpoint.is_foreign:  # the code of a foreign one is trusted already, by the operator
            needs = self._needs[checkpoint.name] = try_loading(checkpoint, stop) or 0
        with self._lock:
            self._guests[checkpoint.name] = checkpoint
            self._guests.move_to_end(checkpoint.name)
        try:
            self.pipeline(checkpoint.name)
        except BaseException:
            with self._lock:
                self._guests.pop(checkpoint.name, None)
            raise
        self.admit(checkpoint, needs)
        return needs

    def admit(self, checkpoint: Checkpoint, needs: int) -> None:
        """Take in a checkpoint under its name that stood its trial before. Its weights are loaded when they are asked for.

        Args:
            needs: bytes of memory that one sample takes, as `welcome` returned them.
        """
        with self._lock:
            self._needs[checkpoint.name] = needs
            self._guests[checkpoint.name] = checkpoint
            self._guests.move_to_end(checkpoint.name)
            while len(self._guests) > self.max_guests:
                name, _ = self._guests.popitem(last=False)
                self._loaded.pop(name, None)
                self._needs.pop(name, None)

    def dismiss(self, name: str) -> None:
        """Forget a guest, whose folder is gone."""
        with self._lock:
            for known in (self._guests, self._loaded, self._needs):
                known.pop(name, None)

    def guests(self) -> list[Checkpoint]:
        """Return the guests, the least recently used first."""
        with self._lock:
            return list(self._guests.values())

    def guest(self, name: str) -> Checkpoint | None:
        """Return the guest of this name, who now counts as used; None if it never came, or has gone."""
        with self._lock:
            if name in self._guests:
                self._guests.move_to_end(name)
            return self._guests.get(name)

    def checkpoint(self, name: str) -> Checkpoint:
        """Return a guest, or one of the catalogue's.

        Raises:
            CheckpointError: unknown, broken or not to be had.
        """
        if not isinstance(name, str) or not name:  # a page may send anything
            raise CheckpointError(f"Choose a checkpoint by its name; {quoted(name)} is none.")
        return self.guest(name) or self.catalogue[name]

    # ---- loading ----

    def pipeline(self, name: str):
        """Return the pipeline of a checkpoint. It is loaded on first use, once even if several threads ask.

        Raises:
            CheckpointError: unknown, broken or not to be had.
        """
        with self._lock:
            if name in self._loaded:
                self._loaded.move_to_end(name)
                return self._loaded[name]
            loading = self._loading.setdefault(name, threading.Lock())
        with loading:
            with self._lock:
                if name in self._loaded:
                    return self._loaded[name]
            from genarium.runtime.steady import steady  # here, because it imports torch

            pipeline = load_pipeline(self.checkpoint(name), self.device, self.dtype)
            steady(pipeline)
            count_evaluations(pipeline)
            with self._lock:
                self._loaded[name] = pipeline
                self._evict()
        return pipeline

    def loaded(self) -> list[str]:
        """Return the names of the checkpoints in memory, least recently used first."""
        with self._lock:
            return list(self._loaded)

    def _evict(self) -> None:
        """Drop the least recently used until the rest fits. A run in progress keeps its own reference, so it goes on."""
        while len(self._loaded) > 1 and sum(map(_weight_bytes, self._loaded.values())) > self.memory_budget:
            self._loaded.popitem(last=False)


class Evaluations(threading.local):
    """Samples that this thread has sent through networks. A run has a thread to itself, so what it counts is its own."""

    samples = 0


EVALUATIONS = Evaluations()


def count_evaluations(pipeline) -> None:
    """Count each sample that passes through a network of this pipeline in `EVALUATIONS`, from now on.

    Only calls of `forward` count, and not other methods such as the `encode` and `decode` of an auto-encoder.
    """
    import torch

    for component in pipeline.components.values():
        if isinstance(component, torch.nn.Module):
            component.register_forward_pre_hook(_count, with_kwargs=True)


def _count(module, args, kwargs) -> None:
    """Count the samples of a pass. A function of the module, so that a pipeline can be pickled and its networks saved."""
    import torch

    tensors = (value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor) and value.ndim > 1)
    EVALUATIONS.samples += len(next(tensors, ()))


def _weight_bytes(pipeline) -> int:
    import torch

    modules = [c for c in pipeline.components.values() if isinstance(c, torch.nn.Module)]
    return sum(t.numel() * t.element_size() for m in modules for t in (*m.parameters(), *m.buffers()))


def _given_budget() -> int | None:
    """Return the bytes that the operator allows; None if the operator says nothing.

    Raises:
        InputError: the variable is no number above 0.
    """
    given = os.environ.get("GENARIUM_MEMORY_GB")
    return round(gigabytes("GENARIUM_MEMORY_GB", given) * 2**30) if given else None


def _usual_budget(device: torch.device) -> int:
    """Return a quarter of the memory."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory // 4
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4
