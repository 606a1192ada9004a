"""Which sampler, how many steps, how much guidance: the measurement behind the DDPM family's defaults.

    python benchmarks/ddpm_samplers.py
    python benchmarks/ddpm_samplers.py --settings "dpm-solver++:8:1.0 unipc:12:1.5"

Fréchet distance of `--num-samples` samples (classes in turn, seeds 0, 1, ...) to the test images, for each
sampler:steps:guidance. The same seeds throughout, so that differences are the setting's. The table goes to the screen
and to docs/benchmarks/ddpm_samplers.md.
"""

import argparse
import sys
import time
from pathlib import Path

import torch
from tqdm.auto import tqdm

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from genarium.data import load_images
from genarium.features import extract, load_network
from genarium.measures import frechet_distance, precision_recall
from genarium.records import hardware
from genarium.runtime import Runtime

SETTINGS = (
    "unipc:8:1.5 unipc:12:1.0 unipc:12:1.5 unipc:12:2.0 unipc:20:1.5 dpm-solver++:8:1.5 dpm-solver++:12:1.5 heun:6:1.5 "
    "ddim:12:1.5 ddim:50:1.5 ddpm:50:1.5"
)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="ddpm-fashion-mnist")
    parser.add_argument("--settings", default=SETTINGS, help="sampler:steps:guidance, separated by spaces")
    parser.add_argument("--num-samples", type=int, default=500)
    parser.add_argument("--data", help="local copy of the data set, in place of the Hub's")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/benchmarks/ddpm_samplers.md")
    options = parser.parse_args()

    runtime = Runtime()
    checkpoint = runtime.catalogue[options.checkpoint]
    pipeline = runtime.pipeline(options.checkpoint)
    num_classes = len(checkpoint.class_names)
    spec = checkpoint.recipe.data
    test = load_images(spec, spec.test_split, options.data)
    network = load_network("efficientnet-lite0")
    real = extract(network, test.images, description="features of the test set")
    near = real[torch.randperm(len(real), generator=torch.Generator().manual_seed(0))[: options.num_samples]]

    evaluations = []
    hook = pipeline.unet.register_forward_pre_hook(lambda module, inputs: evaluations.append(len(inputs[0])))
    rows = []
    for setting in options.settings.split():
        sampler, steps, guidance = setting.split(":")
        evaluations.clear()
        parts, seconds = [], 0.0
        for start in tqdm(range(0, options.num_samples, 100), desc=setting):
            stop = min(start + 100, options.num_samples)
            begin = time.perf_counter()
            images = pipeline(
                stop - start,
                [torch.Generator().manual_seed(i) for i in range(start, stop)],
                [i % num_classes for i in range(start, stop)],
                sampler=sampler,
                num_inference_steps=int(steps),
                guidance_scale=float(guidance),
                output_type="pt",
            ).images
            seconds += time.perf_counter() - begin
            parts.append((images * 255).round().to(torch.uint8))
        fake = extract(network, torch.cat(parts))
        precision, recall = precision_recall(near, fake)
        each = sum(evaluations) / options.num_samples
        rows.append((sampler, steps, guidance, each, frechet_distance(real, fake), precision, recall, seconds))
        print(rows[-1], flush=True)
    hook.remove()

    table = [
        "| sampler | steps | guidance | network evaluations | Fréchet distance | precision | recall |",
        "|" + "---|" * 7,
    ]
    table += [f"| {s} | {n} | {g} | {e:.0f} | {fd:.1f} | {p:.3f} | {r:.3f} |" for s, n, g, e, fd, p, r, _ in rows]
    text = "\n".join(
        [
            f"# Samplers of {options.checkpoint}",
            "",
            *table,
            "",
            f'`python benchmarks/ddpm_samplers.py --num-samples {options.num_samples} --settings "{options.settings}"` on '
            f"{hardware(runtime.device, runtime.dtype)}.",
            f"Features: {network.title}; {options.num_samples} samples against the {len(test)} test images (precision and "
            "recall against as many of these as there are samples). Not Inception FID.",
            "",
        ]
    )
    print("\n" + text)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(text)


if __name__ == "__main__":
    main()
