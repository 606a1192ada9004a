"""Make the checkpoints of this folder: tiny ones of every family, as this version of the repository exports them.

    python tests/exports/make.py FOLDER [FAMILY ...]

writes FOLDER/<family>.zip. A zip holds what `save_pretrained` writes, sources included. tests/pipelines/test_exports.py
tests every zip of tests/exports/: a later version must load them and give the same bits. When a version exports in
another way, add zips of it under another name (`vae@0.2.zip`), and leave the old ones as they are.
"""

from __future__ import annotations

import math
import sys
import tempfile
import zipfile
from pathlib import Path

import torch

FOLDER = Path(__file__).resolve().parent
sys.path[:0] = [str(FOLDER), *[str(FOLDER.parents[1])] * ("genarium" not in sys.modules)]

from calls import batch_of, fitted, modules_of, stages_of  # noqa: E402

from genarium.families import discover  # noqa: E402

STEPS = 40  # of training for each stage: enough that no part is as it was made
LEVELS = 8  # of a weight, on each side of 0: so few that a zip is small
PICTURE = {"sample_size": 8, "channels": 1, "id2label": {str(i): f"class {i}" for i in range(4)}}
STYLES = {"style": {"0": "pencil", "1": "ink", "2": "chalk"}}
UNET = {
    "patch_size": 2,
    "block_out_channels": [8, 16],
    "layers_per_block": 1,
    "attention_head_dim": 8,
    "norm_num_groups": 4,
}
VOICE = {
    "sampling_rate": 16000,
    "conditions": {"speaker": {"0": "set/ann", "1": "set/bob", "2": "set/cy"}},
    "bands": 16,
    "latent_dim": 4,
    "content_width": 12,
    "content_layers": 1,
    "speaker_width": 12,
    "speaker_dim": 8,
    "decoder_width": 12,
    "decoder_layers": 1,
    "vocoder": {"n_fft": 800, "hop_length": 200, "width": 12, "hidden": 16, "num_layers": 1},
    "vocoder_frames": 12,
    "discriminator_width": 2,
}
BUILDS = {
    "ddpm": PICTURE | UNET,
    "dit": PICTURE
    | {"conditions": STYLES, "latent_channels": 2, "block_out_channels": [8, 12]}
    | {"width": 24, "depth": 2, "num_heads": 2},
    "flow-matching": PICTURE | UNET,
    "score-sde": PICTURE | UNET,
    "style-ae": PICTURE
    | {"id2label": None, "channels": 3, "conditions": STYLES, "sample_size": 16, "block_out_channels": [8, 12]}
    | {"content_channels": [2, 4], "decoder_layers": 1, "style_dim": 6, "discriminator_widths": [8, 8]},
    "vae": PICTURE | {"latent_dim": 4, "block_out_channels": [8, 12], "layers_per_block": 1, "mixture_components": 2},
    "vqgan": PICTURE
    | {"conditions": STYLES, "block_out_channels": [8, 12], "decoder_layers": 1, "codebook_size": 16, "code_dim": 4}
    | {"width": 24, "num_layers": 2, "num_heads": 2, "discriminator_widths": [8, 8], "sample_size": 16},
    "voice-vae": VOICE,
    "voice-vqvae": VOICE | {"codebook_size": 12},
}


def make(name: str):
    """Return a tiny pipeline of a family, briefly trained from seed 0, with weights of few digits."""
    torch.manual_seed(0)
    pipeline = discover(installed=False)[name].pipeline_class().build(**BUILDS[name])
    for stage in stages_of(pipeline):
        modules = modules_of(pipeline, stage)
        weights = [p for module in modules.values() for p in module.train().requires_grad_(True).parameters()]
        optimiser = torch.optim.Adam(weights, lr=3e-3)
        for step in range(STEPS):
            options = {} if stage is None else {"stage": stage}
            source = torch.Generator().manual_seed(step)
            loss, _ = pipeline.loss(batch_of(pipeline, 12, step), source, progress=step / STEPS, **options)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        for module in modules.values():
            module.eval().requires_grad_(False)
            for weight in module.parameters():
                _round(weight)
    fitted(pipeline)
    return pipeline


@torch.no_grad()
def _round(weight: torch.Tensor) -> None:
    """To multiples of a power of two; where training has left nothing but zeros, to small random ones."""
    if not weight.any():
        torch.nn.init.normal_(weight, std=0.1)
    unit = 2.0 ** math.ceil(math.log2(weight.abs().max().item())) / LEVELS
    weight.copy_((weight / unit).round() * unit)


def write(name: str, folder: Path) -> Path:
    """Export a family's tiny pipeline and pack it into `folder`/<name>.zip."""
    path = folder / f"{name}.zip"
    with tempfile.TemporaryDirectory() as place:
        make(name).save_pretrained(place)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
            for one in sorted(Path(place).rglob("*")):
                if one.is_file():
                    entry = zipfile.ZipInfo(str(one.relative_to(place)))  # without a date: same files, same zip
                    file.writestr(entry, one.read_bytes(), zipfile.ZIP_DEFLATED, 9)
    return path


if __name__ == "__main__":
    torch.set_num_threads(1)  # such networks gain nothing by more
    for one in sys.argv[2:] or BUILDS:
        written = write(one, Path(sys.argv[1]))
        print(f"{written}: {written.stat().st_size / 1000:.1f} kB")
