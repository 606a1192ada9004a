"""Compare our DDPM's default with the DDIMPipeline of diffusers (50 steps, float32) on the same weights.

    python benchmarks/ddpm_vs_stock.py

Seconds for 16 images (the two take turns, so that both meet the same machine; medians), and the Fréchet distance of
`--num-samples` samples to the test images. The stock pipeline knows neither classes nor space-to-depth: a thin adapter
hands its network the labels, and the pixels are put back in place afterwards. Both draw the classes in turn.

The table goes to the screen and to docs/benchmarks/ddpm.md.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import DDIMPipeline, DDIMScheduler
from torch import nn
from tqdm.auto import tqdm

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from genarium.checkpoints import load_pipeline
from genarium.data.images import load_images
from genarium.evaluation.features import extract, load_network
from genarium.evaluation.measures import frechet_distance
from genarium.hardware import describe_hardware
from genarium.runtime import Runtime

STOCK_STEPS = 50


class WithLabels(nn.Module):
    """The network with fixed labels, for DDIMPipeline, which passes none to its unet."""

    def __init__(self, unet):
        super().__init__()
        self.unet, self.config, self.labels = unet, unet.config, None
        self.device, self.dtype = unet.device, unet.dtype  # which the stock pipeline asks for

    def forward(self, x, timestep):
        labels = None if self.unet.config.num_class_embeds is None else self.labels[: len(x)]
        return self.unet(x, timestep, class_labels=labels)


class Ours:
    def __init__(self, runtime, checkpoint):
        self.pipeline = runtime.pipeline(checkpoint.name)
        defaults = {name: control.default for name, control in checkpoint.controls("generate").items()}
        self.title = f"Genarium, {defaults['sampler']}, {defaults['num_inference_steps']} steps, guidance {defaults['guidance_scale']}"
        self.precision = str(runtime.dtype).removeprefix("torch.")

    def sample(self, labels, seed):
        return self.pipeline(len(labels), torch.Generator().manual_seed(seed), labels, output_type="pt").images


class Stock:
    def __init__(self, checkpoint, device):
        pipeline = load_pipeline(checkpoint, device, torch.float32)
        self.patch_size = pipeline.config.patch_size
        self.pipeline = DDIMPipeline(WithLabels(pipeline.unet), DDIMScheduler.from_config(pipeline.scheduler.config))
        self.pipeline.set_progress_bar_config(disable=True)
        self.title, self.precision = f"diffusers DDIMPipeline, {STOCK_STEPS} steps", "float32"

    def sample(self, labels, seed):
        self.pipeline.unet.labels = torch.tensor(labels, device=self.pipeline.device)
        generator = torch.Generator().manual_seed(seed)
        images = self.pipeline(len(labels), generator, num_inference_steps=STOCK_STEPS, output_type="np").images
        return F.pixel_shuffle(torch.from_numpy(images).permute(0, 3, 1, 2), self.patch_size)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="ddpm-fashion-mnist")
    parser.add_argument("--num-samples", type=int, default=2000)
    parser.add_argument("--runs", type=int, default=5, help="timed runs of each")
    parser.add_argument("--data", help="local copy of the data set, in place of the Hub's")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/benchmarks/ddpm.md")
    options = parser.parse_args()

    runtime = Runtime()
    checkpoint = runtime.catalogue[options.checkpoint]
    models = [Ours(runtime, checkpoint), Stock(checkpoint, runtime.device)]
    num_classes = len(checkpoint.class_names) or 1
    labels = [i % num_classes for i in range(16)]
    times = {model.title: [] for model in models}
    for run in range(options.runs + 1):  # the first is to warm up
        for model in models:
            start = time.perf_counter()
            model.sample(labels, 0)
            if run:
                times[model.title].append(time.perf_counter() - start)

    spec = checkpoint.recipe.data
    test = load_images(spec, spec.test_split, options.data)
    network = load_network("efficientnet-lite0")
    real = extract(network, test.images, description="features of the test set")
    rows = []
    for model in models:
        parts = []
        for start in tqdm(range(0, options.num_samples, 100), desc=model.title):
            labels = [i % num_classes for i in range(start, min(start + 100, options.num_samples))]
            parts.append((model.sample(labels, start) * 255).round().to(torch.uint8))
        distance = frechet_distance(real, extract(network, torch.cat(parts)))
        rows.append((model.title, model.precision, statistics.median(times[model.title]), distance))
    ratio = rows[1][2] / rows[0][2]
    table = ["| pipeline | precision | 16 images | Fréchet distance |", "|---|---|---|---|"]
    table += [f"| {title} | {precision} | {seconds:.2f} s | {fd:.1f} |" for title, precision, seconds, fd in rows]
    text = "\n".join(
        [
            "# Our DDPM default against stock diffusers, same weights",
            "",
            *table,
            "",
            f"Ours takes 1/{ratio:.1f} of the stock pipeline's time.",
            "",
            f"`python benchmarks/ddpm_vs_stock.py --num-samples {options.num_samples} --runs {options.runs}` on "
            f"{describe_hardware(runtime.device, runtime.dtype)}.",
            f"Fréchet distances are between features ({network.title}) of {options.num_samples} samples and of the "
            f"{len(test)} test images; they are not Inception FID. Times are medians of runs in turn.",
            "",
        ]
    )
    print("\n" + text)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(text)


if __name__ == "__main__":
    main()
