"""The deep auto-encoder of Hinton and Salakhutdinov 2006 beside principal components, on the MNIST test set.

    python benchmarks/deep_autoencoder.py

The squared error of a picture is the sum over its pixels in [0, 1], mean over the test pictures, as in the paper
(https://doi.org/10.1126/science.1127647): 3.00 with 784-1000-500-250-30, and 13.87 with 30 principal components.
The principal components are those of the training pictures.

The table goes to the screen and to docs/benchmarks/deep_autoencoder.md.
"""

import argparse
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from genarium.data.images import load_images
from genarium.hardware import describe_hardware
from genarium.recipe import find_recipe
from genarium.runtime import Runtime


def components(x, number):
    """Return mean [P] and first principal components [P, number] of rows [N, P]."""
    mean = x.double().mean(0)
    centred = x.double() - mean
    return mean, torch.linalg.eigh(centred.T @ centred).eigenvectors[:, -number:]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="deep-ae-mnist")
    parser.add_argument("--data", help="local copy of MNIST, in place of the Hub's")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/benchmarks/deep_autoencoder.md")
    options = parser.parse_args()

    recipe = find_recipe(options.checkpoint)
    train, test = (load_images(recipe.data, split, options.data).images for split in ("train", "test"))
    pipeline = Runtime(device="cpu", dtype="float32").pipeline(options.checkpoint)
    x = test.flatten(1).double() / 255
    number = pipeline.autoencoder.config.code_dim
    mean, axes = components(train.flatten(1) / 255, number)
    by_components = mean + (x - mean) @ axes @ axes.T
    restored = [
        pipeline.reconstruct(part.float() / 127.5 - 1, output_type="pt").images.flatten(1) for part in test.split(1000)
    ]
    error = lambda y: (y.double() - x).square().sum(1).mean().item()  # noqa: E731
    text = f"""# The deep auto-encoder of 2006 beside principal components

| code of {number} numbers | ours | in the paper |
|---|---|---|
| deep auto-encoder, `{options.checkpoint}` | {error(torch.cat(restored)):.2f} | 3.00 |
| principal components | {error(by_components):.2f} | 13.87 |

`python benchmarks/deep_autoencoder.py` on {describe_hardware(torch.device("cpu"), torch.float32)}.

The error is the squared error of a picture, summed over its pixels in [0, 1], mean over the {len(x)} test pictures of
{recipe.data.name}. Ours has the layers of the paper, 784-1000-500-250-30 and back, and trains in one piece from random weights; the
paper pre-trains each layer as an RBM and then fine-tunes. Hinton and Salakhutdinov 2006 give 3.00 and 13.87 in their text on
these digits.
"""
    print("\n" + text)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(text)


if __name__ == "__main__":
    main()
