"""From a request to a result: load and place pipelines, keep the recent ones, run in batches, preview, stop.

One runtime serves all visitors. What a run changes lives in that run; pipelines are shared and never changed.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import PIL.Image
import torch

from genarium.checkpoints import Catalogue, Checkpoint, find_checkpoints, load_pipeline
from genarium.errors import GenariumError, InputError, Stopped
from genarium.families import discover
from genarium.parallel import join
from genarium.pictures import fit_picture, open_picture, to_pictures
from genarium.requests import Request

try:
    import spaces  # on ZeroGPU Spaces only, where it must come before CUDA is first used
except ImportError:
    spaces = None

PREVIEW_SECONDS = 0.1  # at most ten previews a second: more would only keep the network busy
HEARTBEAT_SECONDS = 0.5  # a stream gives a sign this often while it waits, so that its reader can close it


def on_gpu(generator_function):
    """Borrow a GPU for as long as this generator function runs, where GPUs are lent: in a ZeroGPU Space. Elsewhere nothing.

    There `spaces.GPU` calls it in a forked process that has the GPU, and passes on what it yields. So its arguments and
    what it yields are pickled; an exception would lose its text and is better yielded; a lock or an event of this process
    means nothing there. Closing the generator closes it there too.
    """
    return generator_function if spaces is None else spaces.GPU(generator_function)


def pick_device() -> torch.device:
    """Accelerate's choice: the GPU of this process where there is one, else the CPU."""
    return join().device


def pick_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the hardware multiplies it natively and gains by it, float32 otherwise.

    On CPUs that means AMX: with AVX512-BF16 alone, small networks were measured no faster than in float32.
    """
    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    if device.type == "cpu" and torch.cpu._is_amx_tile_supported():
        return torch.bfloat16
    return torch.float32


@dataclass(frozen=True)
class Progress:
    """After a step: `step` of `total` are done in `seconds`; `pictures` is the current estimate, or None if unchanged.

    While a run waits for its turn, loads, or takes long over a step, the last progress comes again as a sign of life.
    """

    step: int
    total: int
    seconds: float
    pictures: list[PIL.Image.Image] | None


@dataclass(frozen=True)
class Result:
    """What came of a request.

    `pictures`: of the image tasks. `inputs`: the pictures as the model saw them. `scores` [N], `maps` [N, H, W] or None
    and `unit`: of the anomaly task. `codes` int64 [N, h, w]: of models that write images in codes. `seconds`: computing time, without waiting and loading. `evaluations`: passes through
    the network for each image made or scored, on average; guidance counts twice.
    """

    request: Request
    pictures: list[PIL.Image.Image]
    inputs: list[PIL.Image.Image]
    seconds: float
    evaluations: float = 0.0
    scores: np.ndarray | None = None
    maps: np.ndarray | None = None
    unit: str = ""
    codes: np.ndarray | None = None
    device: str = ""
    dtype: str = ""


class Runtime:
    """Loads pipelines when first asked, keeps the most recently used within a memory budget, and runs requests.

    Args:
        catalogue: the checkpoints; found by discovery unless given.
        device, dtype: the hardware's best unless given.
        memory_budget: bytes of weights to keep loaded; GENARIUM_MEMORY_GB, or a quarter of the memory.
        max_batch: samples computed at once.
        concurrency: runs that compute at the same time; others wait their turn, and can be stopped while they wait.
        max_guests: checkpoints that visitors may add to the catalogue's; the least recently used makes room for the next.
    """

    def __init__(
        self,
        catalogue: Catalogue | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        memory_budget: int | None = None,
        max_batch: int = 64,
        concurrency: int = 1,
        max_guests: int = 8,
    ):
        self.catalogue = catalogue or find_checkpoints(discover())
        self.device = torch.device(device) if device else pick_device()
        self.dtype = dtype or pick_dtype(self.device)
        self.memory_budget = memory_budget or _memory_budget(self.device)
        self.max_batch = max_batch
        self.max_guests = max_guests
        self._loaded: OrderedDict[str, Any] = OrderedDict()
        self._guests: OrderedDict[str, Checkpoint] = OrderedDict()
        self._lock = threading.Lock()  # of the three dictionaries
        self._loading: dict[str, threading.Lock] = {}
        self._turn = threading.Semaphore(concurrency)
        self._compute = on_gpu(self._events)

    # ---- guests: checkpoints that come while the app runs ----

    def welcome(self, checkpoint: Checkpoint) -> None:
        """Take in a checkpoint under its name, and load it.

        Raises:
            CheckpointError: it cannot be loaded; then it is no guest.
        """
        with self._lock:
            self._guests[checkpoint.name] = checkpoint
            self._guests.move_to_end(checkpoint.name)
        try:
            self.pipeline(checkpoint.name)
        except BaseException:
            with self._lock:
                self._guests.pop(checkpoint.name, None)
            raise
        with self._lock:
            while len(self._guests) > self.max_guests:
                name, _ = self._guests.popitem(last=False)
                self._loaded.pop(name, None)

    def guests(self) -> list[Checkpoint]:
        """Least recently used first."""
        with self._lock:
            return list(self._guests.values())

    def guest(self, name: str) -> Checkpoint | None:
        """The guest of this name, who now counts as used; None if it never came, or has gone."""
        with self._lock:
            if name in self._guests:
                self._guests.move_to_end(name)
            return self._guests.get(name)

    def checkpoint(self, name: str) -> Checkpoint:
        """A guest, or one of the catalogue's.

        Raises:
            CheckpointError: unknown, broken or not to be had.
        """
        return self.guest(name) or self.catalogue[name]

    # ---- loading ----

    def pipeline(self, name: str):
        """The loaded pipeline of a checkpoint; loads it on first use, once even if many ask.

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
            pipeline = load_pipeline(self.checkpoint(name), self.device, self.dtype)
            count_evaluations(pipeline)
            with self._lock:
                self._loaded[name] = pipeline
                self._evict()
        return pipeline

    def loaded(self) -> list[str]:
        """Names of the checkpoints in memory, least recently used first."""
        with self._lock:
            return list(self._loaded)

    def _evict(self) -> None:
        """Drop the least recently used until the rest fits. A run in progress keeps its own reference, so it goes on."""
        while len(self._loaded) > 1 and sum(map(_weight_bytes, self._loaded.values())) > self.memory_budget:
            self._loaded.popitem(last=False)

    # ---- running ----

    def stream(
        self, request: Request, inputs: Mapping[str, Any] | None = None, stop: threading.Event | None = None
    ) -> Iterator[Progress | Result]:
        """Run a request in a thread of its own; yield `Progress` after steps, then the `Result`.

        Closing the iterator stops the computation at its next step.

        Args:
            request: what to compute.
            inputs: the task's material by parameter: a picture or its path, or a list of them; of any size and mode.
            stop: set it from anywhere to stop, also while the run waits for its turn, when the iterator cannot be closed.

        Raises:
            GenariumError: something in the request or in the inputs is wrong; the message says what to do.
        """
        checkpoint = self.checkpoint(request.checkpoint)
        request = request.checked(checkpoint)
        material = {n: self._material(request, n, (inputs or {}).get(n)) for n in checkpoint.tasks[request.task].inputs}
        with contextlib.closing(self._compute(checkpoint, request, material)) as events:
            for event in events:
                if isinstance(event, BaseException):
                    raise event
                if stop is not None and stop.is_set() and not isinstance(event, Result):
                    raise Stopped("Stopped.")
                yield event

    def _events(
        self, checkpoint: Checkpoint, request: Request, material: Mapping[str, Any]
    ) -> Iterator[Progress | Result | BaseException]:
        """Compute in a thread; yield `Progress`, also as a sign of life, and at last the `Result` or what went wrong."""
        events: queue.SimpleQueue = queue.SimpleQueue()
        stop = threading.Event()

        def work() -> None:
            try:
                while not self._turn.acquire(timeout=0.1):
                    if stop.is_set():
                        raise Stopped("Stopped before it began.")
                try:
                    pipeline = self.pipeline(request.checkpoint)
                    events.put(_Run(pipeline, checkpoint, request, material, self.max_batch, events, stop).result())
                finally:
                    self._turn.release()
            except BaseException as error:  # handed to the caller's thread, whatever it is
                events.put(error)

        thread = threading.Thread(target=work, name=f"{request.task} {request.checkpoint}", daemon=True)
        thread.start()
        last = Progress(0, 1, 0.0, None)
        try:
            while True:
                try:
                    event = events.get(timeout=HEARTBEAT_SECONDS)
                except queue.Empty:
                    yield last
                    continue
                yield event
                if isinstance(event, (Result, BaseException)):
                    return
                last = replace(event, pictures=None)
        finally:
            stop.set()

    def run(self, request: Request, inputs: Mapping[str, Any] | None = None) -> Result:
        """Run a request to its end. Raises as `stream`."""
        with contextlib.closing(self.stream(request, inputs)) as events:
            for event in events:
                if isinstance(event, Result):
                    return event
        raise GenariumError("The computation ended without a result.")  # pragma: no cover

    def prepare(self, name: str, picture: Any, invert: str = "auto") -> PIL.Image.Image:
        """A person's picture in the form of a checkpoint's data: size, mode, and bright on dark where these are.

        Raises:
            InputError: it is no picture that can be read.
        """
        checkpoint = self.checkpoint(name)
        index = checkpoint.index
        size, channels = index.get("sample_size"), index.get("channels")
        if not size or not channels:  # a stock checkpoint: only its network knows
            config = self.pipeline(name).config
            size, channels = config.sample_size, config.channels
        recipe = checkpoint.recipe
        dark = recipe is not None and recipe.data.dark_background
        return fit_picture(open_picture(picture), size, channels, dark_background=dark, invert=invert)

    def _material(self, request: Request, name: str, value: Any) -> Any:
        if value is None or (isinstance(value, (list, tuple)) and not value):
            raise InputError(f"There is no picture for {name!r}. Choose one, or take an example.")
        values = value if isinstance(value, (list, tuple)) else [value]
        fitted = [self.prepare(request.checkpoint, v, invert=request.invert) for v in values]
        return fitted if name == "images" else fitted[0]


class _Run:
    """One computation: its batches, its progress, its stop."""

    def __init__(self, pipeline, checkpoint, request, material, max_batch, events, stop):
        self.pipeline, self.checkpoint, self.request, self.material = pipeline, checkpoint, request, material
        self.max_batch, self.events, self.stop = max_batch, events, stop
        self.task = checkpoint.tasks[request.task]
        self.done: list[PIL.Image.Image] = []
        self.started = time.perf_counter()
        self.previewed = float("-inf")
        self.batch, self.num_batches = 0, 1

    def result(self) -> Result:
        method = getattr(self.pipeline, self.task.method)
        scores, maps, unit, codes = [], [], "", []
        number = self._number()
        if self.checkpoint.is_foreign and "batch_size" not in inspect.signature(method).parameters:
            self.max_batch = 1
        EVALUATIONS.samples = 0
        starts = range(0, number, self.max_batch)
        self.num_batches = len(starts)
        for self.batch, start in enumerate(starts):
            if self.stop.is_set():
                raise Stopped("Stopped.")
            stop = min(start + self.max_batch, number)
            arguments = self._arguments(start, stop)
            if self.checkpoint.is_foreign:
                arguments = _known_to(method, arguments)
            output = method(**arguments)
            if self.request.task == "anomaly":
                scores.append(output.scores.float().numpy())
                maps.append(None if output.maps is None else output.maps.float().numpy())
                unit = output.unit
            else:
                self.done += list(output.images)
                codes += [output.codes.numpy()] if hasattr(output, "codes") else []
        inputs = list(self.material.values())
        number = len(self.done) or number
        return Result(
            request=self.request,
            pictures=self.done,
            inputs=[p for v in inputs for p in (v if isinstance(v, list) else [v])],
            seconds=time.perf_counter() - self.started,
            evaluations=EVALUATIONS.samples / number,
            scores=np.concatenate(scores) if scores else None,
            maps=np.concatenate(maps) if maps and maps[0] is not None else None,
            unit=unit,
            codes=np.concatenate(codes) if codes else None,
            device=str(self.pipeline.device),
            dtype=str(self.pipeline.dtype).removeprefix("torch."),
        )

    def _number(self) -> int:
        """Samples that can be split into batches; what cannot, such as an interpolation, counts as one."""
        if self.request.task == "generate":
            return self.request.batch_size
        return len(self.material["images"]) if "images" in self.material else 1

    def _arguments(self, start: int, stop: int) -> dict[str, Any]:
        request = self.request
        arguments: dict[str, Any] = dict(request.parameters)
        arguments["callback_on_step_end"] = self.on_step
        generators = request.generators(start, stop)
        if request.task == "generate":
            arguments["batch_size"] = stop - start
            arguments["generator"] = generators
        elif "images" in self.material:
            arguments["images"] = self.material["images"][start:stop]
            arguments["generator"] = generators
        else:
            arguments |= self.material
            arguments["generator"] = generators[0]
        if request.class_labels is not None:
            arguments["class_labels"] = list(request.class_labels[start:stop])
        return arguments

    def on_step(self, pipe, step: int, timestep, values: Mapping[str, Any]) -> None:
        """Called by the pipeline after each step; raising here is how a run stops."""
        if self.stop.is_set():
            raise Stopped("Stopped.")
        now = time.perf_counter()
        pictures = None
        if now - self.previewed >= PREVIEW_SECONDS:
            self.previewed = now
            sample = values["pred_original_sample"].detach().float().cpu()  # [N, C, H, W] in [-1, 1]
            pixels = ((sample / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
            pictures = self.done + to_pictures(pixels)
        each = values["num_timesteps"]
        self.events.put(Progress(self.batch * each + step + 1, self.num_batches * each, now - self.started, pictures))


def _known_to(method, arguments: dict[str, Any]) -> dict[str, Any]:
    """Those arguments that a method not made for this app takes, as diffusers' own mean them; so no callback."""
    known = inspect.signature(method).parameters
    arguments = {name: value for name, value in arguments.items() if name in known and name != "callback_on_step_end"}
    if "batch_size" not in known and "generator" in arguments:
        arguments["generator"] = arguments["generator"][0]
    return arguments


class Evaluations(threading.local):
    """Samples that this thread has sent through networks. A run has a thread to itself, so what it counts is its own."""

    samples = 0


EVALUATIONS = Evaluations()


def count_evaluations(pipeline) -> None:
    """From now on, each sample that passes through a network of this pipeline counts in `EVALUATIONS`.

    What networks do by other methods than `forward`, as an auto-encoder's `encode` and `decode`, does not.
    """

    def count(module, args, kwargs) -> None:
        tensors = (value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor) and value.ndim > 1)
        EVALUATIONS.samples += len(next(tensors, ()))

    for component in pipeline.components.values():
        if isinstance(component, torch.nn.Module):
            component.register_forward_pre_hook(count, with_kwargs=True)


def _weight_bytes(pipeline) -> int:
    modules = [c for c in pipeline.components.values() if isinstance(c, torch.nn.Module)]
    return sum(t.numel() * t.element_size() for m in modules for t in (*m.parameters(), *m.buffers()))


def _memory_budget(device: torch.device) -> int:
    if os.environ.get("GENARIUM_MEMORY_GB"):
        return int(float(os.environ["GENARIUM_MEMORY_GB"]) * 2**30)
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory // 4
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4
