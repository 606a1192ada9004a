"""How well a denoising auto-encoder restores noisy pictures, beside BM3D and a median filter.

    pip install -r benchmarks/requirements-bm3d.txt
    python benchmarks/denoising.py

PSNR of noisy and of restored test pictures for three kinds of noise at three strengths. BM3D (Dabov et al. 2007,
https://doi.org/10.1109/TIP.2007.901238) removes Gaussian noise of a known deviation. It is given the true deviation, and sheets of
100 pictures, so that its blocks find more of their like. For masking and salt and pepper it gets the deviation of that
noise, which is not of its kind; there the fair peer is a median filter of 3x3 pixels. A sparse code is measured where its
checkpoint is there: on Gaussian noise, and on masking, where it knows which pixels are missing.

The table goes to the screen and to docs/benchmarks/denoising.md.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import median_filter
from tqdm.auto import tqdm

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from genarium.data.images import load_images
from genarium.hardware import describe_hardware
from genarium.recipe import find_recipe
from genarium.runtime import Runtime
from pipelines.corruption import KINDS

STRENGTHS = (0.1, 0.25, 0.5)
SHEET = 10  # pictures along each side
SPARSE = {"gaussian": "gaussian", "masking": "missing_pixels"}


def psnr(a, b):
    """Mean over pictures [N, ...] in [0, 1], dB."""
    error = np.square(np.clip(a, 0, 1) - b).reshape(len(a), -1).mean(1)
    return float(-10 * np.log10(np.maximum(error, 1e-10)).mean())


def with_bm3d(noisy, sigma):
    """Restore pictures [N, H, W], as sheets of `SHEET` x `SHEET` of them."""
    import bm3d

    number, height, width = noisy.shape
    restored = []
    for start in range(0, number, SHEET**2):
        part = noisy[start : start + SHEET**2]
        full = np.concatenate([part, np.zeros((SHEET**2 - len(part), height, width))])
        sheet = full.reshape(SHEET, SHEET, height, width).swapaxes(1, 2).reshape(SHEET * height, SHEET * width)
        back = bm3d.bm3d(sheet, sigma).reshape(SHEET, height, SHEET, width).swapaxes(1, 2)
        restored.append(back.reshape(-1, height, width)[: len(part)])
    return np.concatenate(restored)


def restored_by(pipeline, x, **options):
    """Return (noisy, restored) pictures [N, H, W] in [0, 1]; picture i has seed i."""
    generators = [torch.Generator().manual_seed(i) for i in range(len(x))]
    output = pipeline.reconstruct(x, generators, output_type="pt", **options)
    return output.noisy[:, 0].numpy(), output.images[:, 0].numpy()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="dae-fashion-mnist")
    parser.add_argument("--sparse", default="sparse-fashion-mnist")
    parser.add_argument("--num-images", type=int, default=200, help="test pictures")
    parser.add_argument("--data", help="local copy of the data set, in place of the Hub's")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/benchmarks/denoising.md")
    options = parser.parse_args()

    runtime = Runtime(device="cpu", dtype="float32")
    recipe = find_recipe(options.checkpoint)
    test = load_images(recipe.data, recipe.data.test_split, options.data)
    x = test.images[: options.num_images].float() / 127.5 - 1
    clean = (x[:, 0] / 2 + 0.5).numpy()
    pipeline = runtime.pipeline(options.checkpoint)
    sparse = runtime.pipeline(options.sparse) if options.sparse in runtime.catalogue.checkpoints else None
    seconds = {"ours": 0.0, "bm3d": 0.0}
    rows = []
    for kind in tqdm(KINDS):
        for level in STRENGTHS:
            start = time.monotonic()
            noisy, restored = restored_by(pipeline, x, noise=kind, noise_level=level)
            seconds["ours"] += time.monotonic() - start
            start = time.monotonic()
            by_bm3d = with_bm3d(noisy, float(np.sqrt(np.square(noisy - clean).mean())))
            seconds["bm3d"] += time.monotonic() - start
            median = np.stack([median_filter(picture, 3) for picture in noisy])
            row = [
                kind.replace("_", " "),
                f"{level:g}",
                psnr(noisy, clean),
                psnr(restored, clean),
                psnr(by_bm3d, clean),
            ]
            row.append(psnr(median, clean) if kind != "gaussian" else None)
            if sparse is not None:
                damage = SPARSE.get(kind)
                code = damage and restored_by(sparse, x, damage=damage, damage_level=level)[1]
                row.append(None if code is None else psnr(code, clean))
            rows.append(row)

    heads = ["noise", "strength", "noisy", options.checkpoint, "BM3D", "median filter"]
    heads += [options.sparse] if sparse is not None else []
    table = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    shown = lambda v: v if isinstance(v, str) else "–" if v is None else f"{v:.1f} dB"  # noqa: E731
    table += ["| " + " | ".join(map(shown, row)) + " |" for row in rows]
    runs = len(rows) * len(x)
    text = f"""# Denoising beside BM3D and a median filter

{chr(10).join(table)}

`python benchmarks/denoising.py --num-images {options.num_images}` on {describe_hardware(torch.device("cpu"), torch.float32)}.

PSNR is the mean over {len(x)} test pictures of {recipe.data.name}; picture i has noise of seed i. The strength is the standard
deviation of Gaussian noise, the range from black to white being 1, or the part of the pixels that other noise hits. Noisy
pictures are clipped to that range. The auto-encoder is not given the kind and the strength of the noise; it learnt all three
kinds at strengths from {pipeline.config.noise_levels[0]:g} to {pipeline.config.noise_levels[1]:g}, and pictures of this kind. BM3D and the median filter know no kind of
picture. BM3D is given the deviation of the noise and sheets of
100 pictures, where it finds more blocks of a kind. Only Gaussian noise is of the kind that it is made for. The sparse
code is given the strength of Gaussian noise, and which pixels are missing where masking hides them.
A picture takes {1000 * seconds["ours"] / runs:.1f} ms, and {1000 * seconds["bm3d"] / runs:.0f} ms with BM3D.
"""
    print("\n" + text)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(text)


if __name__ == "__main__":
    main()
