"""The autoregressive checkpoints: likelihoods beside published ones, and drawing with kept features against without.

    python benchmarks/autoregressive.py likelihoods --data path/to/mnist
    python benchmarks/autoregressive.py speed

`likelihoods` computes log p of the 10,000 test pictures of MNIST with pixels drawn black or white once, picture i by the generator
with seed i, in one order and as a mixture of several (Uria, Murray and Larochelle 2014). `speed` draws 16 pictures pixel by pixel,
and measures what the same would take if each pixel needed a pass of the network over the whole picture. For this it times such passes
at evenly spread pixels, and multiplies by the number of pixels. It also compares the parameters that both ways give. A recipe without
weights is measured with fresh ones, because the time does not depend on them.

Each prints a table; both go to docs/benchmarks/autoregressive.md.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import genarium
from genarium.data.images import load_images
from genarium.errors import GenariumError
from genarium.hardware import describe_hardware
from genarium.recipe import find_recipe
from pipelines.pipeline_autoregressive import AutoregressivePipeline

NAMES = ("made-mnist", "pixelcnn-fashion-mnist")
PICTURES = 16
RUNS = 3


def pipeline_of(name):
    """Return the pipeline of a checkpoint, or with fresh weights where there is only a recipe."""
    try:
        return genarium.load(name)
    except GenariumError:
        recipe = find_recipe(name)
        torch.manual_seed(0)
        names = {str(i): str(i) for i in range(10)}
        return AutoregressivePipeline.build(recipe.data.sample_size, recipe.data.channels, names, **recipe.architecture)


def likelihoods(options):
    """Print the mean log-likelihood of test pictures for several numbers of orders."""
    pipeline, recipe = genarium.load(options.checkpoint), find_recipe(options.checkpoint)
    test = load_images(recipe.data, recipe.data.test_split, options.data)
    images = (test.images[: options.num_images].float() / 127.5 - 1).split(500)
    print("| orders | nats |\n|---|---|", flush=True)
    for number in options.orders:
        nats = []
        for i, part in enumerate(images):
            seeds = [torch.Generator().manual_seed(500 * i + j) for j in range(len(part))]
            nats.append(pipeline.log_likelihood(part, generator=seeds, num_orders=number))
        print(f"| {number} | {-torch.cat(nats).double().mean():.2f} |", flush=True)


@torch.no_grad()
def speed(options):
    """Print seconds for 16 pictures with kept features and without."""
    print("| | kept features | the whole picture for each pixel | ratio | largest difference |\n|---|---|---|---|---|")
    for name in options.names:
        pipeline = pipeline_of(name)
        pipeline.network.eval()
        seeds = [torch.Generator().manual_seed(i) for i in range(PICTURES)]
        times = []
        for _ in range(1 + RUNS):
            begun = time.perf_counter()
            images = pipeline(
                PICTURES, generator=[s.manual_seed(i) for i, s in enumerate(seeds)], output_type="pt"
            ).images
            times.append(time.perf_counter() - begun)
        kept = statistics.median(times[1:])
        x = images.flatten(1) * 2 - 1
        order = pipeline.network.order_for(torch.zeros(x.shape[1], dtype=torch.bool))
        state, difference, passes = pipeline.network.conditionals(PICTURES, None, order), 0.0, []
        timed = set(torch.linspace(0, len(order) - 1, options.passes).long().tolist())
        for step, d in enumerate(order.tolist()):
            params = state.params(step)
            if step in timed:
                so_far = torch.zeros_like(x)
                so_far[:, order[:step]] = x[:, order[:step]]
                begun = time.perf_counter()
                whole = pipeline.network(so_far, None, order)[:, d]
                passes.append(time.perf_counter() - begun)
                difference = max(difference, (whole - params).abs().max().item())
            state.reveal(step, x[:, d])
        each = statistics.median(passes) * len(order)
        print(f"| {name} | {kept:.2f} s | {each:.1f} s | {each / kept:.0f} | {difference:.1e} |", flush=True)
    print(f"\n{PICTURES} pictures, median of {RUNS}; {describe_hardware(torch.device('cpu'), torch.float32)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parts = parser.add_subparsers(required=True)
    part = parts.add_parser("likelihoods")
    part.add_argument("--checkpoint", default=NAMES[0])
    part.add_argument("--data", help="local copy of MNIST, in place of the Hub's")
    part.add_argument("--num-images", type=int, default=10000)
    part.add_argument("--orders", type=int, nargs="+", default=[1, 2, 3, 4])
    part.set_defaults(run=likelihoods)
    part = parts.add_parser("speed")
    part.add_argument("--names", nargs="+", default=NAMES)
    part.add_argument("--passes", type=int, default=20, help="of the network over whole pictures, that are timed")
    part.set_defaults(run=speed)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.run(options)


if __name__ == "__main__":
    main()
