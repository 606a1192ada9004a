"""Compare our VAE with pythae's (Chadebec et al. 2022, https://arxiv.org/abs/2206.08309) on Fashion-MNIST, trained equally long.

    pip install --no-deps -r benchmarks/requirements-pythae.txt
    python benchmarks/vae_vs_pythae.py --seconds 300

Both train in this one process, in turns of a few seconds, until each has had `--seconds` of wall-clock time, with the
same threads, precision, optimiser, learning-rate schedule and batch size; so both meet the same machine. Ours is the
recipe's architecture; theirs the conv nets that pythae ships for 28x28 grey images, latent 32, its default settings.
Fitting the mixtures comes after the training, with the sampler of each library.

The table goes to the screen and to docs/benchmarks/vae.md.
"""

import argparse
import dataclasses
import math
import statistics
import sys
import time
from pathlib import Path

import torch
from diffusers.training_utils import EMAModel
from tqdm.auto import tqdm

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from genarium.data.images import load_images
from genarium.evaluation.features import extract, load_network
from genarium.evaluation.measures import frechet_distance
from genarium.hardware import describe_hardware, multiplies_bfloat16
from genarium.recipe import find_recipe
from pipelines.pipeline_vae import VAEPipeline

TURN = 5.0  # seconds of training before the other one's turn
LATENT_DIM = 32  # of pythae


class Ours:
    """The VAE of the recipe, conditional on the class."""

    title = "Genarium VAE"

    def __init__(self, recipe, data):
        self.pipeline = VAEPipeline.build(28, 1, data.id2label, **recipe.architecture)
        self.network = self.pipeline.vae.to(memory_format=torch.channels_last).train()
        self.ema = EMAModel(list(self.network.parameters()), decay=recipe.training.ema_decay)

    def loss(self, batch, progress):
        return self.pipeline.loss(batch, progress=progress)[0]

    def after_step(self):
        self.ema.step(self.network.parameters())

    def finish(self, fit_data):
        self.ema.copy_to(self.network.parameters())
        self.network.eval()
        self.pipeline.fit(fit_data.batches(500))

    def sample(self, number, sampler):
        labels = [i % 10 for i in range(number)]
        generator = torch.Generator().manual_seed(0)
        prior = "standard" if sampler == "prior" else "mixture"
        return self.pipeline(number, generator, labels, prior=prior, output_type="pt").images

    def reconstruct(self, images):
        return self.pipeline.reconstruct(images, output_type="pt").images


class Pythae:
    """pythae's VAE with its networks and defaults: mean squared error, beta 1, N(0, I), 10 Gaussians with full covariance."""

    title = "pythae VAE"

    def __init__(self):
        from pythae.models import VAE, VAEConfig
        from pythae.models.nn.benchmarks.mnist import Decoder_Conv_AE_MNIST, Encoder_Conv_VAE_MNIST
        from pythae.samplers import GaussianMixtureSampler, NormalSampler

        config = VAEConfig(input_dim=(1, 28, 28), latent_dim=LATENT_DIM)
        self.network = VAE(config, encoder=Encoder_Conv_VAE_MNIST(config), decoder=Decoder_Conv_AE_MNIST(config))
        self.network.train()
        self.samplers = {"prior": NormalSampler(self.network), "mixture": GaussianMixtureSampler(self.network)}

    def loss(self, batch, progress):
        return self.network({"data": batch["images"] / 2 + 0.5}).loss / 784  # per pixel, as ours: for the clipping

    def after_step(self):
        pass  # its batch norm would not fit averaged weights

    def finish(self, fit_data):
        self.network.eval()
        self.samplers["mixture"].fit(fit_data.images.float() / 255)

    def sample(self, number, sampler):
        torch.manual_seed(0)
        return self.samplers[sampler].sample(number, batch_size=min(number, 500)).clamp(0, 1)

    @torch.no_grad()
    def reconstruct(self, images):
        return self.network.decoder(self.network.encoder(images / 2 + 0.5).embedding).reconstruction.clamp(0, 1)


def precision_of(spec):
    """Return the recipe's precision, or fp32 where this processor only emulates bf16."""
    emulated = spec.precision == "bf16" and not multiplies_bfloat16(torch.device("cpu"))
    return "fp32" if emulated else spec.precision


class Training:
    """The training of one model, which goes on in turns until its seconds by the clock are spent."""

    def __init__(self, model, spec, seconds, seed, clock=time.monotonic):
        self.clock = clock
        self.model, self.spec, self.total, self.spent, self.steps = model, spec, seconds, 0.0, 0
        self.parameters = list(model.network.parameters())
        self.optimizer = torch.optim.AdamW(self.parameters, lr=0.0, betas=spec.betas, weight_decay=spec.weight_decay)
        self.generator = torch.Generator().manual_seed(seed)

    def turn(self, data):
        start, before = self.clock(), self.spent
        while self.spent < min(self.total, before + TURN):
            progress = self.spent / self.total
            rate = self.spec.learning_rate * min(1.0, (self.steps + 1) / self.spec.warmup_steps)
            for group in self.optimizer.param_groups:
                group["lr"] = rate * 0.5 * (1 + math.cos(math.pi * progress))
            batch = data.batch(torch.randint(len(data), (self.spec.batch_size,), generator=self.generator))
            with torch.autocast("cpu", torch.bfloat16, enabled=precision_of(self.spec) == "bf16"):
                loss = self.model.loss(batch, progress)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.parameters, self.spec.grad_clip)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            self.model.after_step()
            self.steps += 1
            self.spent = before + self.clock() - start


def first(data, number):
    """Return the first images of a split. Fashion-MNIST is shuffled already."""
    return dataclasses.replace(data, images=data.images[:number], labels=data.labels[:number])


def in_batches(function, images):
    return torch.cat([function(part) for part in images.split(500)])


def seconds_for(function, runs=15):
    """Return the median duration of a call after one warm-up, in seconds."""
    times = []
    for _ in range(runs + 1):
        start = time.monotonic()
        function()
        times.append(time.monotonic() - start)
    return statistics.median(times[1:])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300, help="training time of each")
    parser.add_argument("--num-samples", type=int, default=2000)
    parser.add_argument("--num-test-images", type=int, default=10000)
    parser.add_argument("--num-fit-images", type=int, default=60000, help="that the mixtures are fitted to")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--recipe", default="vae-fashion-mnist")
    parser.add_argument("--data", help="local copy of Fashion-MNIST, in place of the Hub's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "docs/benchmarks/vae.md")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)

    recipe = find_recipe(options.recipe)
    data = load_images(recipe.data, recipe.data.train_split, options.data)
    test = first(load_images(recipe.data, recipe.data.test_split, options.data), options.num_test_images)
    models = [Ours(recipe, data), Pythae()]
    trainings = [Training(model, recipe.training, options.seconds, options.seed) for model in models]
    with tqdm(
        total=2 * options.seconds, unit="s", desc="training both", bar_format="{l_bar}{bar}| {n:.0f}/{total:.0f} s"
    ) as bar:
        while any(t.spent < t.total for t in trainings):
            for training in trainings:
                before = training.spent
                training.turn(data)
                bar.update(min(training.spent, training.total) - before)
    for model in models:
        start = time.monotonic()
        model.finish(first(data, options.num_fit_images))
        print(f"{model.title}: mixture fitted in {time.monotonic() - start:.0f} s")

    network = load_network("efficientnet-lite0")
    real = extract(network, test.images, description="features of the test set")
    x = test.images.float() / 255
    rows = []
    for model, training in zip(models, trainings, strict=True):
        row = {"": model.title, "parameters": f"{sum(p.numel() for p in training.parameters) / 1e6:.1f} M"}
        row["images seen"] = f"{training.steps * recipe.training.batch_size / 1e3:.0f} k"
        for sampler in ("prior", "mixture"):
            samples = (model.sample(options.num_samples, sampler) * 255).round().to(torch.uint8)
            features = extract(network, samples, description=f"{model.title}, {sampler}")
            row[f"Fréchet distance, {sampler}"] = f"{frechet_distance(real, features):.1f}"
        mse = (in_batches(model.reconstruct, x * 2 - 1) - x).square().mean((1, 2, 3))
        row["PSNR"] = f"{-10 * mse.log10().mean():.2f} dB"
        for sampler in ("prior", "mixture"):
            row[f"16 images, {sampler}"] = f"{1000 * seconds_for(lambda m=model, s=sampler: m.sample(16, s)):.1f} ms"
        rows.append(row)

    lines = ["| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
    lines += ["| " + " | ".join(row.values()) + " |" for row in rows]
    table = "\n".join(lines)
    spec, network_title = recipe.training, network.title
    text = f"""# Our VAE against pythae's, trained equally long

{table}

`python benchmarks/vae_vs_pythae.py --seconds {options.seconds:g} --num-samples {options.num_samples} --seed {options.seed}`
on {describe_hardware(torch.device("cpu"), torch.float32)} (training in {precision_of(spec)} for both).

Each had {options.seconds:g} seconds of training, in turns of {TURN:g} seconds in one process, with AdamW, a learning rate of
{spec.learning_rate:g} with warm-up and cosine decay, and batches of {spec.batch_size}. Fréchet distances are between features
({network_title}) of {options.num_samples} samples and of the {len(test)} test images; they are not Inception FID. PSNR is the
mean over the test images. Times are medians. Ours knows the classes, and samples cycle through them; pythae's VAE has
none. Both mixtures were fitted to {min(options.num_fit_images, len(data))} training images, with full covariances: ours
has {models[0].network.config.mixture_components} components for each class, pythae's its default of 10 in all.
"""
    print("\n" + text)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(text)


if __name__ == "__main__":
    main()
