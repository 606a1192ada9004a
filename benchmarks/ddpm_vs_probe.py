"""Compare the bundled DDPM with a flow-matching model that was trained for 25 minutes.

    python benchmarks/ddpm_vs_probe.py

The probe is flow matching (Lipman et al. 2023 eq. 23) with the same 4.0 M network on 306 k images: classes dropped
10 % of the time, logit-normal times, AdamW at 1e-3 with 100 steps of warm-up and a linear decay, EMA. It samples in
20 Heun steps without guidance. It is trained once and kept in runs/probe/. The table goes to the screen and to
docs/benchmarks/ddpm_probe.md.
"""

import argparse
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import FlowMatchHeunDiscreteScheduler, UNet2DModel
from diffusers.training_utils import EMAModel
from tqdm.auto import tqdm

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from genarium.data.images import load_images
from genarium.evaluation.features import extract, load_network
from genarium.evaluation.measures import frechet_distance, precision_recall
from genarium.hardware import describe_hardware
from genarium.runtime import Runtime
from genarium.training.steps import batch_indices

IMAGES, BATCH_SIZE, WARMUP, RATE, HEUN_STEPS = 306_000, 128, 100, 1e-3, 20
NO_CLASS = 10


def train_probe(config, data, folder):
    """Return the averaged network and the seconds that its training took."""
    torch.manual_seed(0)
    network = UNet2DModel.from_config(config).to(memory_format=torch.channels_last).train()
    run = torch.compile(network)
    ema = EMAModel(network.parameters(), decay=0.999)
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE)
    num_steps = IMAGES // BATCH_SIZE
    start = time.perf_counter()
    for step in tqdm(range(num_steps), desc="training the probe"):
        batch = data.batch(batch_indices(0, step, BATCH_SIZE, len(data)))
        x0 = F.pixel_unshuffle(batch["images"], 2)
        labels = torch.where(torch.rand(BATCH_SIZE) < 0.1, NO_CLASS, batch["class_labels"])
        t = torch.randn(BATCH_SIZE).sigmoid()
        noise = torch.randn_like(x0)
        x = (1 - t.view(-1, 1, 1, 1)) * x0 + t.view(-1, 1, 1, 1) * noise
        with torch.autocast("cpu", torch.bfloat16):
            velocity = run(x, t * 1000, class_labels=labels).sample
        loss = F.mse_loss(velocity.float(), noise - x0)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / WARMUP) * (1 - step / num_steps)
        optimizer.step()
        optimizer.zero_grad()
        ema.step(network.parameters())
    seconds = time.perf_counter() - start
    ema.copy_to(network.parameters())
    network.save_pretrained(folder)
    (folder / "seconds").write_text(f"{seconds:.0f}")
    return network.eval(), seconds


@torch.no_grad()
def sample_probe(network, labels, seeds):
    """Draw an image of each label with each seed, both [N]; return float [N, 1, 28, 28] in [0, 1]."""
    scheduler = FlowMatchHeunDiscreteScheduler()
    scheduler.sigma_min = 1 / HEUN_STEPS  # its own, 0.001, asks where logit-normal times hardly trained: much worse
    scheduler.set_timesteps(HEUN_STEPS)
    config = network.config
    shape = (config.in_channels, config.sample_size, config.sample_size)
    x = torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds])
    for t in scheduler.timesteps:
        x = scheduler.step(network(x, t, class_labels=torch.tensor(labels)).sample, t, x).prev_sample
    return F.pixel_shuffle(x, 2).add(1).div(2).clamp(0, 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num-samples", type=int, default=2000)
    parser.add_argument("--data", help="local copy of the data set, in place of the Hub's")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/benchmarks/ddpm_probe.md")
    options = parser.parse_args()

    runtime = Runtime()
    checkpoint = runtime.catalogue["ddpm-fashion-mnist"]
    spec = checkpoint.recipe.data
    pipeline = runtime.pipeline(checkpoint.name)
    folder = ROOT / "runs/probe"
    if (folder / "seconds").exists():
        probe, seconds = UNet2DModel.from_pretrained(folder).eval(), float((folder / "seconds").read_text())
    else:
        data = load_images(spec, spec.train_split, options.data)
        probe, seconds = train_probe(pipeline.unet.config, data, folder)

    controls = checkpoint.controls("generate")
    sampler, steps, guidance = (controls[k].default for k in ("sampler", "num_inference_steps", "guidance_scale"))
    default = f"{sampler}, {steps} steps, guidance {guidance}"

    def ours(labels, seeds):
        return pipeline(len(labels), [torch.Generator().manual_seed(s) for s in seeds], labels, output_type="pt").images

    test = load_images(spec, spec.test_split, options.data)
    network = load_network("efficientnet-lite0")
    real = extract(network, test.images, description="features of the test set")
    near = real[torch.randperm(len(real), generator=torch.Generator().manual_seed(0))[: options.num_samples]]
    rows = []
    for title, sample in (
        (f"ddpm-fashion-mnist, {default}", ours),
        (f"probe, {HEUN_STEPS} Heun steps", lambda labels, seeds: sample_probe(probe, labels, seeds)),
    ):
        parts = []
        for start in tqdm(range(0, options.num_samples, 100), desc=title):
            seeds = range(start, min(start + 100, options.num_samples))
            parts.append((sample([s % 10 for s in seeds], seeds) * 255).round().to(torch.uint8))
        fake = extract(network, torch.cat(parts))
        rows.append((title, frechet_distance(real, fake), *precision_recall(near, fake)))
        print(rows[-1], flush=True)

    images = {"ddpm": f"{checkpoint.recipe.training.images // 1000} k", "probe": f"{IMAGES // 1000} k"}
    table = ["| model | images seen | Fréchet distance | precision | recall |", "|" + "---|" * 5]
    for (title, distance, precision, recall), kind in zip(rows, ("ddpm", "probe")):
        table.append(f"| {title} | {images[kind]} | {distance:.1f} | {precision:.3f} | {recall:.3f} |")
    text = "\n".join(
        [
            "# The shipped DDPM against the 25-minute probe",
            "",
            *table,
            "",
            f"`python benchmarks/ddpm_vs_probe.py --num-samples {options.num_samples}` on "
            f"{describe_hardware(runtime.device, runtime.dtype)}.",
            f"Features: {network.title}; {options.num_samples} samples, classes in turn, against the {len(test)} test "
            f"images. Not Inception FID. The probe's training took {seconds / 60:.0f} minutes here; the DDPM's: "
            f"{checkpoint.recipe.card.time}.",
            "",
        ]
    )
    print("\n" + text)
    options.out.write_text(text)


if __name__ == "__main__":
    main()
