"""How the contract's tests call the tasks of a family, and what they expect of results: of pictures, and of voices."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from conftest import ID2LABEL, build_tiny, pictures, voice

from genarium.tasks import controls_of, find_tasks, modality_of

QUICK = {"num_inference_steps": 4, "num_refinements": 1, "num_frames": 3, "num_noise_levels": 2, "num_samples": 2}


def generators(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


# ---- pictures ----


def call_with_pictures(pipeline, task, seeds=(3, 5), images=None, **options):
    """Run a task on two samples with few steps. Return what it computes, as tensors in a dict."""
    task = find_tasks()[task]
    method = getattr(pipeline, task.method)
    quick = {k: v for k, v in QUICK.items() if k in controls_of(type(pipeline), task)}
    if task.name == "generate":
        arguments = {"batch_size": len(seeds), "generator": generators(*seeds)}
        if "class_labels" not in options:
            arguments["class_labels"] = [seed % 10 for seed in seeds]
    elif task.inputs == ("images",):
        images = pictures(8)[list(seeds)] if images is None else images
        arguments = {"images": images, "generator": generators(*seeds)}
    else:
        a, b = pictures(2)
        arguments = {task.inputs[0]: a, task.inputs[1]: b, "generator": torch.Generator().manual_seed(seeds[0])}
    if task.name != "anomaly" and "output_type" not in options:
        arguments["output_type"] = "pt"
    output = method(**{**arguments, **quick, **options})
    if task.name == "anomaly":
        return {"scores": output.scores, "maps": output.maps}
    return {"images": output.images}


def same(a, b, **tolerance):
    return all(torch.allclose(a[k], b[k], **tolerance) for k in a if a[k] is not None)


def check_pictures(pipeline, family, task):
    output = call_with_pictures(pipeline, task)
    if task == "anomaly":
        assert output["scores"].shape == (2,) and output["scores"].is_floating_point()
        assert torch.isfinite(output["scores"]).all()
        if output["maps"] is not None:
            assert output["maps"].shape == (2, 28, 28) and (output["maps"] >= 0).all()
        return
    images = output["images"]
    number = {"interpolate": 3, "swap_style": 1}.get(task, 2)
    assert images.shape == (number, 1, 28, 28) and images.dtype == torch.float32
    assert images.min() >= 0 and images.max() <= 1 and torch.isfinite(images).all()
    assert images.std() > 1e-3, "a constant picture tests nothing"
    as_np = call_with_pictures(pipeline, task, output_type="np")["images"]
    assert isinstance(as_np, np.ndarray) and np.allclose(as_np, images.permute(0, 2, 3, 1).numpy(), atol=1e-5)
    as_pil = call_with_pictures(pipeline, task, output_type="pil")["images"]
    assert as_pil[0].mode == "L" and as_pil[0].size == (28, 28)
    assert np.abs(np.asarray(as_pil[0]) / 255 - as_np[0, :, :, 0]).max() <= 0.51 / 255 + 1e-5


def check_picture_preview(x):
    assert x.shape[1:] == (1, 28, 28) and torch.isfinite(x).all()


def check_picture_checkpoint(checkpoint, loaded, original, again):
    """Loaded networks are channels-last, which sums in another order; a solver of many steps adds up the rounding."""
    task = next(iter(checkpoint.tasks))
    assert loaded.config.id2label == ID2LABEL
    assert same(call_with_pictures(loaded, task), call_with_pictures(original, task), rtol=0, atol=1e-5)
    assert same(call_with_pictures(loaded, task), call_with_pictures(again, task), rtol=0, atol=0)


# ---- voices ----


def build_voice(family):
    """Return a tiny pipeline that keeps three trained voices."""
    pipeline = build_tiny(family)
    clips = torch.stack([voice(1, 90 + 40 * i, i) for i in range(6)])
    pipeline.fit([{"audio": clips, "conditions": {"speaker": torch.arange(6) % 3}}])
    return pipeline


def call_with_voices(pipeline, task, **options):
    """Run a task on two clips, or on a pair, and return its output."""
    a, b = voice(0.8), voice(1.1, 200, 1)
    if task in ("reconstruct", "anomaly"):
        arguments = {"audio": [a, b], "generator": generators(3, 5)}
    elif task == "swap_style":
        arguments = {"content": [a, b], "style": [b, a], "generator": generators(3, 5)}
    else:
        arguments = {"a": a, "b": b, "num_frames": 3, "generator": generators(3)[0]}
    return getattr(pipeline, find_tasks()[task].method)(**{**arguments, **options})


def sounds(output):
    return [torch.as_tensor(sound) for sound in output.audios]


def near(a, b):
    """Equal but for rounding, whatever their size: random vocoders are quiet."""
    return bool((a - b).abs().max() < 1e-3 * a.abs().max())


def check_sounds(pipeline, family, task):
    output = call_with_voices(pipeline, task)
    if task == "anomaly":
        assert output.scores.shape == (2,) and (output.scores > 0).all() and output.unit == "dB"
        assert [len(curve) for curve in output.maps] == [64, 88]
        return
    lengths = [12800, 17600] if task != "interpolate" else [12800] * 3
    assert output.sampling_rate == 16000 and [len(a) for a in output.audios] == lengths
    for audio in output.audios:
        assert isinstance(audio, np.ndarray) and audio.dtype == np.float32
        assert np.abs(audio).max() <= 1 and audio.std() > 1e-6
    as_pt = call_with_voices(pipeline, task, output_type="pt")
    assert all(torch.equal(a, b) for a, b in zip(sounds(output), as_pt.audios, strict=True))
    assert isinstance(call_with_voices(pipeline, task, return_dict=False), tuple)
    if family == "voice-vqvae" and task != "interpolate":
        assert output.frame_rate == 40 and [len(c) for c in output.codes] == [32, 44]
        assert all(c.dtype == torch.int64 and c.min() >= 0 and c.max() < 16 for c in output.codes)


def check_sound_preview(x):
    assert x.ndim == 2 and len(x) == 1 and torch.isfinite(x).all() and x.abs().max() <= 1


def check_voice_checkpoint(checkpoint, loaded, original, again):
    """Products with one row are rounded otherwise where weights lie elsewhere in memory."""
    assert checkpoint.modality == "audio"
    assert checkpoint.controls("swap_style")["speaker"].choices == ("any", "set/ann", "set/bob", "set/cy")
    found = sounds(call_with_voices(loaded, "swap_style"))
    for other in (original, again):
        for a, b in zip(found, sounds(call_with_voices(other, "swap_style")), strict=True):
            assert near(a, b)


# ---- by modality ----


@dataclass(frozen=True)
class Medium:
    """What the tests do with pipelines of one modality."""

    build: Callable[..., Any]
    call: Callable[..., Any]
    check_output: Callable[..., None]
    check_preview: Callable[..., None]
    check_checkpoint: Callable[..., None]


MEDIA = {
    "image": Medium(build_tiny, call_with_pictures, check_pictures, check_picture_preview, check_picture_checkpoint),
    "audio": Medium(build_voice, call_with_voices, check_sounds, check_sound_preview, check_voice_checkpoint),
}


def medium_of(pipeline):
    """Return the medium of a pipeline or of its class."""
    return MEDIA[modality_of(pipeline if isinstance(pipeline, type) else type(pipeline))]
