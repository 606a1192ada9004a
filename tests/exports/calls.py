"""Calls of every task of a pipeline, with each of its options, and their results bit by bit.

This file needs torch and diffusers only, so that it also runs in a process that cannot import this repository. A call is
plain JSON: what `calls_of` lists for one version of a class, `answer` repeats with another.
"""

from __future__ import annotations

import hashlib
import inspect
import itertools
import typing
from typing import Annotated, Any, Literal

import numpy as np
import PIL.Image
import torch

METHODS = (
    "__call__",
    "reconstruct",
    "interpolate",
    "swap_style",
    "anomaly_score",
    "log_likelihood",
    "encode",
    "decode",
    "style_map",
    "vocode",
)
# Small enough to be quick, large enough that each part of a method has its turn.
QUICK = {
    "num_inference_steps": 3,
    "num_refinements": 1,
    "num_frames": 3,
    "num_noise_levels": 2,
    "num_samples": 2,
    "num_probes": 1,
    "num_corrector_steps": 1,
    "tolerance": 0.1,
}
# A second value of an option, which is neither its default nor one that switches it off.
OTHERS = {
    "num_inference_steps": 4,
    "num_refinements": 2,
    "num_frames": 2,
    "num_noise_levels": 3,
    "num_samples": 1,
    "num_probes": 2,
    "num_corrector_steps": 2,
    "guidance_scale": 2.5,
    "eta": 0.5,
    "strength": 0.6,
    "temperature": 0.7,
    "top_k": 5,
    "top_p": 0.8,
    "choice_temperature": 1.5,
    "class_weight": 3.0,
    "redraw": 0.5,
    "churn": 20.0,
    "snr": 0.1,
    "tolerance": 0.05,
}
HOST = {"self", "generator", "class_labels", "callback_on_step_end", "output_type", "return_dict"}
LARGEST_EXACT = 8  # pixels; an exact divergence costs a backward pass for each pixel


# ---- material ----


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(number: int, size: int, channels: int, seed: int = 0) -> torch.Tensor:
    """Smooth random images, float [N, C, S, S] in [-1, 1]."""
    noise = torch.randn(number, channels, 4, 4, generator=generator(seed))
    return torch.nn.functional.interpolate(noise, size=size, mode="bilinear").mul(1.5).tanh()


def voice(seconds: float, rate: int, pitch: float = 120.0, seed: int = 0) -> torch.Tensor:
    """Harmonics that come and go, with a little noise, float [T] in [-1, 1]."""
    t = torch.arange(round(rate * seconds)) / rate
    source = generator(seed)
    loudness = torch.rand(12, generator=source)
    sound = sum(a * torch.sin(2 * torch.pi * pitch * (k + 1) * t) for k, a in enumerate(loudness))
    beat = 0.6 + 0.4 * torch.sin(2 * torch.pi * 3 * t + seed)
    return (0.03 * sound * beat + 0.001 * torch.randn(len(t), generator=source)).clamp(-1, 1)


def is_of_sound(pipeline) -> bool:
    return "sampling_rate" in pipeline.config


def material(pipeline, number: int, seed: int, form: str = "float"):
    """`number` inputs for a pipeline: pictures (form "float", "uint8" or "pil"), or sounds of two lengths."""
    config = pipeline.config
    if is_of_sound(pipeline):
        rate = config.sampling_rate
        sounds = [voice(0.5 + 0.1 * i, rate, 110.0 + 40 * (seed + i), seed + i) for i in range(number)]
        if form == "long":  # longer than what is synthesised at once
            sounds[0] = voice(5.3, rate, 150.0, seed)
        return [sound.numpy() for sound in sounds] if form == "array" else sounds
    images = pictures(number, config.sample_size, config.channels, seed)
    if form == "float":
        return images
    bytes_ = (images.add(1).mul(127.5).round().clamp(0, 255)).to(torch.uint8).permute(0, 2, 3, 1).numpy()
    if form == "uint8":
        return bytes_
    return [PIL.Image.fromarray(b[..., 0] if config.channels == 1 else b) for b in bytes_]


# ---- the calls ----


def calls_of(pipeline) -> list[dict[str, Any]]:
    """Return every call of a pipeline's tasks: {"name", "method", "arguments"}, plain JSON.

    All options are written out, the defaults too: a later version with other defaults repeats the same calls.
    """
    return [call for method in METHODS if _has(pipeline, method) for call in _calls(pipeline, method)]


def _has(pipeline, method: str) -> bool:
    return any(callable(vars(base).get(method)) for base in type(pipeline).__mro__)


def _calls(pipeline, method: str):
    function = getattr(pipeline, method)
    parameters = inspect.signature(function).parameters
    hints = typing.get_type_hints(function, include_extras=True)
    conditions = pipeline.config.get("conditions") or {}
    defaults, literals, others, names = {}, {}, {}, {}
    for name, parameter in parameters.items():
        hint, bounds = hints.get(name), {}
        if typing.get_origin(hint) is Annotated:
            hint, bounds = hint.__origin__, hint.__metadata__[0]
        if name in HOST or parameter.default is parameter.empty or parameter.default is None:
            continue
        defaults[name] = 2 if name == "batch_size" else QUICK.get(name, parameter.default)
        if name == "batch_size":
            continue
        if typing.get_origin(hint) is Literal:
            needs = bounds.get("needs", {})
            choices = typing.get_args(hint)
            if isinstance(needs, dict):  # of a choice, the component without which there is no such choice
                choices = [one for one in choices if getattr(pipeline, needs.get(one, ""), True) is not None]
            literals[name] = choices
            if defaults[name] not in choices:
                defaults[name] = choices[0]
        elif name == "vocoder":
            literals[name] = ("neural", "griffin_lim")
        elif hint is bool:
            others[name] = not parameter.default
        elif "choices_from" in bounds:
            known = conditions.get(bounds["choices_from"]) or {}
            if known:
                names[name] = known[sorted(known, key=int)[-1]]
        elif name in OTHERS:
            others[name] = OTHERS[name]
    if "divergence" in literals and pipeline.config.sample_size > LARGEST_EXACT:
        literals["divergence"] = ["hutchinson"]

    basic = {"generator": "list", "callback_on_step_end": "watch", "output_type": "np", "class_labels": [1, 2]}
    plain = basic | {"generator": "one", "output_type": "pt", "class_labels": None}
    if not pipeline.config.get("id2label"):
        basic["class_labels"] = None

    def call(name: str, base: dict, **changes):
        arguments = {k: v for k, v in base.items() if k in parameters} | defaults | changes
        if arguments.get("divergence") == "exact":
            arguments["num_inference_steps"] = 1
        arguments = {k: v for k, v in arguments.items() if k in parameters}
        return {"name": f"{method.strip('_')}/{name}", "method": method, "arguments": arguments}

    for combination in itertools.product(*literals.values()):
        chosen = dict(zip(literals, combination, strict=True))
        if "rk45" in combination and sum(chosen[name] != defaults[name] for name in chosen) > 1:
            continue  # takes long, and both choices have been seen
        label = "+".join(map(str, combination)) or "default"
        yield call(label, basic, **chosen)
        if sum(chosen[name] != defaults[name] for name in chosen) <= 1 and "rk45" not in combination:
            yield call(f"{label}, changed", plain, **chosen, **others)
    for name, value in others.items():
        yield call(f"{name}={value}", basic, **{name: value})
    for name, value in names.items():
        without = {"style": None} if method == "swap_style" else {}
        yield call(f"{name}={value}", basic, **{name: value}, **without)
    for name, value in (("guidance_scale", 0.0), ("guidance_scale", 1.0), ("strength", 1.0), ("strength", 0.0)):
        if name in defaults and value >= _minimum(hints[name]):
            yield call(f"{name}={value}", basic, **{name: value})
    if basic["class_labels"] and "class_labels" in parameters:
        yield call("one label", basic, class_labels=3)
    if "generator" in parameters:
        yield call("no generator", basic, generator=None, callback_on_step_end=None)
    if "return_dict" in parameters:
        yield call("tuple", basic, return_dict=False)
    forms = ("long", "array") if is_of_sound(pipeline) else ("uint8", "pil")
    for form in forms:
        if set(parameters) & {"images", "audio", "content", "a"}:
            yield call(f"given {form}", basic) | {"form": form}
    if not is_of_sound(pipeline) and "output_type" in parameters:
        yield call("pil", basic, output_type="pil")


def _minimum(hint) -> float:
    return hint.__metadata__[0].get("minimum", -np.inf) if typing.get_origin(hint) is Annotated else -np.inf


# ---- the results ----


def answer(pipeline, call: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return all that a call gives, and what it reports after each step, as arrays by a stable name."""
    arguments, seen = dict(call["arguments"]), []
    form = call.get("form", "float")
    parameters = inspect.signature(getattr(pipeline, call["method"])).parameters
    many = "list" if arguments.get("generator") == "list" else "one"
    single = {"a": 0, "b": 1} if "a" in parameters else {}
    for name, seed in {"images": 0, "audio": 0, "content": 0, "style": 3, "styles": 5, **single}.items():
        if name in parameters and name not in arguments:
            given = material(pipeline, 1 if name in single else 2, seed, form)
            arguments[name] = (given[:1] if form == "uint8" else given[0]) if name in single else given
    for name in ("latents", "codes", "noise"):
        if call["method"] == "decode" and name in parameters:
            given = _random_codes(pipeline)
            arguments[name] = given
    if "generator" in arguments:
        number = 1 if single else 2
        seeds = [generator(7 + 2 * i) for i in range(number)]
        wanted = arguments["generator"]
        arguments["generator"] = None if wanted is None else (seeds if many == "list" and not single else seeds[0])
    if arguments.get("callback_on_step_end"):
        arguments["callback_on_step_end"] = lambda pipe, step, timestep, values: seen.append((step, timestep, values))
    torch.manual_seed(0)
    np.random.seed(0)
    try:
        result = getattr(pipeline, call["method"])(**arguments)
    except Exception as error:  # an option that does not fit is refused by both versions
        return {"refused": np.array(type(error).__name__)}
    found = dict(_arrays(result))
    if seen:
        found["steps"] = np.array([[step, values["num_timesteps"]] for step, _, values in seen], np.int64)
        found["timesteps"] = np.array([float(timestep) for _, timestep, _ in seen], np.float64)
        found["estimates"] = np.array([_checksum(values["pred_original_sample"]) for _, _, values in seen])
        found["reported"] = np.array(" ".join(sorted(set().union(*(values for _, _, values in seen)))))
    return found


def _random_codes(pipeline) -> torch.Tensor:
    """Codes of the form that `encode` gives, other than those of any image."""
    quick = {"num_inference_steps": 1} if "num_inference_steps" in inspect.signature(pipeline.encode).parameters else {}
    like = pipeline.encode(material(pipeline, 2, 0), **quick)
    if like.is_floating_point():
        return torch.randn(like.shape, generator=generator(11)).to(like.dtype)
    return torch.randint(int(like.max()) + 1, like.shape, generator=generator(11)).to(like.dtype)


def _arrays(value, name: str = "result"):
    """Every tensor, array, picture, number and text in a result, by its path."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        yield name, (value.float() if value.dtype in (torch.bfloat16,) else value).numpy()
    elif isinstance(value, np.ndarray):
        yield name, value
    elif isinstance(value, PIL.Image.Image):
        yield name, np.asarray(value)
    elif isinstance(value, dict):  # an output of diffusers is one
        for key, item in value.items():
            yield from _arrays(item, f"{name}.{key}")
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            yield from _arrays(item, f"{name}.{i}")
    elif value is not None:
        yield name, np.array(value)


def _checksum(x: torch.Tensor) -> str:
    x = x.detach().cpu().contiguous()
    return f"{x.dtype} {list(x.shape)} " + hashlib.sha256(x.view(torch.uint8).numpy().tobytes()).hexdigest()[:16]


def answers(pipeline, calls: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Return the results of all calls, by "call: result"."""
    return {f"{call['name']}: {key}": value for call in calls for key, value in answer(pipeline, call).items()}


# ---- training ----


def stages_of(pipeline) -> list[str | None]:
    """The stages of a pipeline's training; [None] where there is but one."""
    parameter = inspect.signature(pipeline.loss).parameters.get("stage")
    if parameter is None:
        return [None]
    hint = typing.get_type_hints(pipeline.loss).get("stage")
    return list(typing.get_args(hint)) or ["autoencoder", "transformer"]


def batch_of(pipeline, number: int = 6, seed: int = 0) -> dict[str, Any]:
    """A training batch with all that any family's loss looks for."""
    config = pipeline.config
    conditions = {name: torch.arange(number) % len(values) for name, values in (config.get("conditions") or {}).items()}
    if is_of_sound(pipeline):
        rate = config.sampling_rate
        sounds = [voice(0.6, rate, 100.0 + 15 * (seed + i), seed + i) for i in range(number)]
        return {"audio": torch.stack(sounds), "conditions": conditions}
    images = [pictures(number, config.sample_size, config.channels, 3 * seed + i) for i in range(3)]
    batch = {"images": images[0], "class_labels": torch.arange(number) % max(len(config.get("id2label") or ()), 1)}
    if conditions:
        batch |= {"conditions": conditions, "partners": images[1], "style_examples": images[2]}
        batch["partner_conditions"] = {name: values.roll(1) for name, values in conditions.items()}
    return batch


def modules_of(pipeline, stage: str | None) -> dict[str, torch.nn.Module]:
    """The modules that a stage trains."""
    if stage is not None:
        return pipeline.trainable(stage)
    return {name: part for name, part in pipeline.components.items() if isinstance(part, torch.nn.Module)}


def losses(pipeline, changes: dict[str, Any] | None = None) -> dict[str, np.ndarray]:
    """Return the loss of each stage early and late in training, its parts, and the gradient of each trained module.

    Helpers of the training are made with seed 0. All modules are left in evaluation mode, without gradients.
    """
    found = {}
    for stage in stages_of(pipeline):
        torch.manual_seed(0)
        modules = modules_of(pipeline, stage)
        options = {} if stage is None else {"stage": stage}
        for progress in (0.05, 0.9):
            for module in modules.values():
                module.train().requires_grad_(True)
                module.zero_grad()
            batch = batch_of(pipeline) | (changes or {})
            torch.manual_seed(0)
            loss, parts = pipeline.loss(batch, generator=generator(3), progress=progress, **options)
            loss.backward()
            name = f"{stage or 'loss'} at {progress}"
            found[f"{name}: loss"] = loss.detach().numpy()
            found |= {f"{name}: part {key}": np.asarray(torch.as_tensor(value)) for key, value in parts.items()}
            for key, module in modules.items():
                gradients = [p.grad.double() for p in module.parameters() if p.grad is not None]
                sizes = [float(g.norm()) for g in gradients]
                found[f"{name}: gradient of {key}"] = np.array(sizes)
        for module in modules.values():
            module.eval().requires_grad_(False)
    return found


def fitted(pipeline, number: int = 96) -> dict[str, np.ndarray]:
    """Run `prepare` of each stage and `fit`, and return the buffers and the configuration that they leave."""
    batches = [batch_of(pipeline, number // 3, seed) for seed in range(3)]
    found = {}
    if hasattr(pipeline, "prepare"):
        for stage in stages_of(pipeline):
            found |= _arrays_named(pipeline.prepare(stage, batches), f"prepare {stage}")
    if hasattr(pipeline, "fit"):
        torch.manual_seed(0)
        pipeline.fit(batches)
    for key, module in pipeline.components.items():
        if isinstance(module, torch.nn.Module):
            found |= {f"fitted {key}.{name}": value.detach().numpy() for name, value in module.named_buffers()}
    found |= _arrays_named({k: v for k, v in dict(pipeline.config).items() if not k.startswith("_")}, "configuration")
    return found


def _arrays_named(value, name: str) -> dict[str, np.ndarray]:
    return dict(_arrays(value, name))
