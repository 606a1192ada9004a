"""Compare our DDPM default and the two-step student with stock samplers of diffusers on the weights of the DDPM.

    python benchmarks/against_stock.py
    python benchmarks/against_stock.py --num-samples 1000 --few 100 --out docs/benchmarks/ddpm.md

The stock samplers are DDPM with 1000 steps, DDIM with 50 and DPM-Solver++ with 20, all in float32 without guidance. They run
in the pipelines of diffusers as they are. Those know neither classes nor space-to-depth: a thin adapter hands the network the
labels, and the pixels are put back in place afterwards. All draw the classes in turn. The student has weights of its own.

Seconds are medians for 16 images, the samplers taking turns, so that all meet the same machine; DDPM-1000 is timed once. The
Fréchet distance to the test images is by both judges, EfficientNet-Lite0 and -Lite2. It falls as the number of samples grows:
so it stands there for `--few` samples of each, and for `--num-samples` of each but DDPM-1000.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import DDIMPipeline, DDIMScheduler, DDPMPipeline, DDPMScheduler, DPMSolverMultistepScheduler
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

TIMED = 16  # images
AT_ONCE = 100  # of the samples that are judged
JUDGES = ("efficientnet-lite0", "efficientnet-lite2")
FLAGS = (
    "avx2",
    "fma",
    "avx512f",
    "avx512_bf16",
    "amx_tile",
    "amx_bf16",
)  # of a processor, which decide how fast it multiplies


class WithLabels(nn.Module):
    """The network with fixed labels, for pipelines that pass none to their unet."""

    def __init__(self, unet):
        super().__init__()
        self.unet, self.config, self.labels = unet, unet.config, None
        self.device, self.dtype = unet.device, unet.dtype  # which the stock pipelines ask for

    def forward(self, x, timestep, return_dict=True):
        labels = None if self.unet.config.num_class_embeds is None else self.labels[: len(x)]
        return self.unet(x, timestep, class_labels=labels, return_dict=return_dict)


class Ours:
    """A checkpoint at its defaults."""

    few = False

    def __init__(self, runtime, name):
        checkpoint = runtime.catalogue[name]
        self.pipeline = runtime.pipeline(name)
        defaults = {key: control.default for key, control in checkpoint.controls("generate").items()}
        self.title = f"Genarium, {name}: {defaults['sampler']}, {defaults['num_inference_steps']} steps, guidance {defaults['guidance_scale']}"

    def sample(self, labels, seed):
        generator = [torch.Generator().manual_seed(seed + i) for i in range(len(labels))]
        return self.pipeline(len(labels), generator, labels, output_type="pt").images


class Stock:
    """A pipeline of diffusers on the same network, with a scheduler of its own."""

    def __init__(self, checkpoint, pipeline_class, scheduler_class, steps, few=False, **options):
        ours = load_pipeline(checkpoint)
        self.patch_size, self.steps, self.few = ours.config.patch_size, steps, few
        scheduler = scheduler_class.from_config(ours.scheduler.config, **options)
        self.pipeline = pipeline_class(WithLabels(ours.unet), scheduler)
        self.pipeline.set_progress_bar_config(disable=True)
        self.title = f"diffusers {pipeline_class.__name__}, {scheduler_class.__name__}, {steps} steps"

    def sample(self, labels, seed):
        self.pipeline.unet.labels = torch.tensor(labels)
        generator = torch.Generator().manual_seed(seed)
        images = self.pipeline(len(labels), generator, num_inference_steps=self.steps, output_type="np").images
        return F.pixel_shuffle(torch.from_numpy(images).permute(0, 3, 1, 2), self.patch_size)


def draw(model, number, num_classes):
    """Return samples of a model, classes in turn, uint8 [number, C, H, W]."""
    parts = []
    for start in tqdm(range(0, number, AT_ONCE), desc=model.title):
        labels = [i % num_classes for i in range(start, min(start + AT_ONCE, number))]
        parts.append((model.sample(labels, start) * 255).round().to(torch.uint8))
    return torch.cat(parts)


def seconds_of(models, runs, num_classes):
    """Return model -> median seconds for `TIMED` images."""
    labels = [i % num_classes for i in range(TIMED)]
    times = {model: [] for model in models}
    for run in range(runs + 1):
        for model in models:
            if model.few and run != 1:  # once, and as warm as the others have left the machine
                continue
            start = time.perf_counter()
            model.sample(labels, 0)
            if run:  # the first warms up
                times[model].append(time.perf_counter() - start)
    return {model: statistics.median(taken) for model, taken in times.items()}


def flags():
    """Return the processor's flags that matter, in words."""
    try:
        known = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return "unknown flags"
    return ", ".join(flag for flag in FLAGS if flag in known) or "none of these flags"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="ddpm-fashion-mnist")
    parser.add_argument("--student", default="flow-matching-fashion-mnist-2step")
    parser.add_argument("--num-samples", type=int, default=1000)
    parser.add_argument(
        "--few", type=int, default=100, help="samples of DDPM-1000, and of all that are compared with it"
    )
    parser.add_argument("--runs", type=int, default=5, help="timed runs of each but DDPM-1000")
    parser.add_argument("--ddpm-steps", type=int, default=1000)
    parser.add_argument("--data", help="local copy of the data set, in place of the Hub's")
    parser.add_argument("--out", type=Path, help="a Markdown file for the table")
    options = parser.parse_args()

    runtime = Runtime(device="cpu", dtype=torch.float32)
    checkpoint = runtime.catalogue[options.checkpoint]
    num_classes = len(checkpoint.class_names) or 1
    solver = {"algorithm_type": "dpmsolver++", "solver_order": 2}
    models = [
        Ours(runtime, options.checkpoint),
        Ours(runtime, options.student),
        Stock(checkpoint, DDPMPipeline, DPMSolverMultistepScheduler, 20, **solver),
        Stock(checkpoint, DDIMPipeline, DDIMScheduler, 50),
        Stock(checkpoint, DDPMPipeline, DDPMScheduler, options.ddpm_steps, few=True),
    ]
    seconds = seconds_of(models, options.runs, num_classes)
    spec = checkpoint.recipe.data
    test = load_images(spec, spec.test_split, options.data)
    networks = [load_network(name) for name in JUDGES]
    real = [extract(network, test.images, description=f"test set, {network.name}") for network in networks]
    lines = []
    for model in models:
        images = draw(model, options.few if model.few else options.num_samples, num_classes)
        fake = [extract(network, images) for network in networks]
        cells = [f"{frechet_distance(r, f[: options.few]):.2f}" for r, f in zip(real, fake, strict=True)]
        whole = ["–" if model.few else f"{frechet_distance(r, f):.2f}" for r, f in zip(real, fake, strict=True)]
        ratio = seconds[model] / seconds[models[0]]
        lines.append(f"| {model.title} | {seconds[model]:.2f} s | {ratio:.2f} | {' | '.join((*cells, *whole))} |")
    heads = [f"{name}, n = {number}" for number in (options.few, options.num_samples) for name in ("Lite0", "Lite2")]
    text = "\n".join(
        [
            "# Our DDPM default and the two-step student against stock diffusers",
            "",
            f"| sampler | {TIMED} images | of our default's time | {' | '.join(heads)} |",
            "|---|---|---|---|---|---|---|",
            *lines,
            "",
            f"The last columns are Fréchet distances to the {len(test)} test images in features of EfficientNet-Lite0 and of",
            "EfficientNet-Lite2. They are not Inception FID, and fall as n grows.",
            "",
            f"`python benchmarks/against_stock.py --num-samples {options.num_samples} --few {options.few} --runs {options.runs}` on",
            f"{describe_hardware(runtime.device, runtime.dtype)}; of the flags {', '.join(FLAGS)} it has {flags()}. Seconds are",
            "medians of runs in turn; DDPM with 1000 steps ran once.",
            "",
        ]
    )
    print("\n" + text)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text)


if __name__ == "__main__":
    main()
