"""Our auto-encoder and VAE against pythae's (Chadebec et al. 2022, https://arxiv.org/abs/2206.08309), trained equally long.

    pip install --no-deps -r benchmarks/requirements-pythae.txt
    python benchmarks/autoencoder_vs_pythae.py --seconds 100

All four train on Fashion-MNIST at the same time, each on one thread of a process of its own, until each has had `--seconds` of
processor time, with the same precision, optimiser, learning-rate schedule, batch size and code size. Processor time is about
what an idle core would take: other programs on the machine make the run longer, and not the training shorter. Ours are the
recipes' architectures. Theirs are the networks that pythae ships for 28x28 grey images, with its default settings.

The table goes to the screen and to docs/benchmarks/autoencoder.md.
"""

import argparse
import dataclasses
import multiprocessing
import sys
import time
from functools import partial
from pathlib import Path

import torch
from diffusers.training_utils import EMAModel
from vae_vs_pythae import Ours, Pythae, Training, first, in_batches, precision_of

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from genarium.data.images import load_images
from genarium.hardware import describe_hardware
from genarium.recipe import find_recipe
from pipelines.pipeline_autoencoder import AutoencoderPipeline

WARMUP_STEPS = 20  # of a short training
SHARED = {}  # what the processes of the trainings inherit


class OurAutoencoder(Ours):
    """The recipe's auto-encoder."""

    title = "Genarium auto-encoder"

    def __init__(self, recipe, data):
        self.pipeline = AutoencoderPipeline.build(28, 1, data.id2label, **recipe.architecture)
        self.network = self.pipeline.autoencoder.to(memory_format=torch.channels_last).train()
        self.ema = EMAModel(list(self.network.parameters()), decay=recipe.training.ema_decay)

    def finish(self):
        self.ema.copy_to(self.network.parameters())
        self.network.eval()


class OurVAE(Ours):
    """The recipe's VAE."""

    def finish(self):
        self.ema.copy_to(self.network.parameters())
        self.network.eval()


class PythaeVAE(Pythae):
    """pythae's VAE, whose mean is decoded."""

    def finish(self):
        self.network.eval()


class PythaeAutoencoder(PythaeVAE):
    """pythae's AE: mean squared error, its networks and defaults."""

    title = "pythae AE"

    def __init__(self, code_dim):
        from pythae.models import AE, AEConfig
        from pythae.models.nn.benchmarks.mnist import Decoder_Conv_AE_MNIST, Encoder_Conv_AE_MNIST

        config = AEConfig(input_dim=(1, 28, 28), latent_dim=code_dim)
        self.network = AE(config, encoder=Encoder_Conv_AE_MNIST(config), decoder=Decoder_Conv_AE_MNIST(config))
        self.network.train()


def row_of(number):
    """Train one of the models and measure it, in a process of its own; return its row of the table."""
    data, test, spec, seconds, seed = SHARED["given"]
    torch.manual_seed(seed)
    model = SHARED["models"][number]()
    training = Training(model, spec, seconds, seed, time.process_time)
    while training.spent < training.total:
        training.turn(data)
        print(f"{model.title}: {training.spent:.0f} s, {training.steps} steps", file=sys.stderr, flush=True)
    model.finish()
    x = test.images.float() / 255
    error = (in_batches(model.reconstruct, x * 2 - 1) - x).square().mean((1, 2, 3))
    parameters = sum(p.numel() for p in training.parameters) / 1e6
    seen = training.steps * spec.batch_size / 1e3
    return f"| {model.title} | {parameters:.1f} M | {seen:.1f} k | {-10 * error.log10().mean():.2f} dB |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=100, help="processor time of each training")
    parser.add_argument("--num-test-images", type=int, default=1000)
    parser.add_argument("--data", help="local copy of Fashion-MNIST, in place of the Hub's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "docs/benchmarks/autoencoder.md")
    options = parser.parse_args()
    torch.set_num_threads(1)
    recipes = [find_recipe("ae-fashion-mnist"), find_recipe("vae-fashion-mnist")]
    code_dim = recipes[0].architecture["code_dim"]
    spec = dataclasses.replace(recipes[0].training, warmup_steps=WARMUP_STEPS)
    data = load_images(recipes[0].data, recipes[0].data.train_split, options.data)
    test = first(load_images(recipes[0].data, recipes[0].data.test_split, options.data), options.num_test_images)
    models = [
        partial(OurAutoencoder, recipes[0], data),
        partial(PythaeAutoencoder, code_dim),
        partial(OurVAE, recipes[1], data),
        PythaeVAE,
    ]
    context = multiprocessing.get_context("fork")  # the data are there already
    SHARED.update(models=models, given=(data, test, spec, options.seconds, options.seed))
    with context.Pool(len(models)) as pool:
        rows = pool.map(row_of, range(len(models)), chunksize=1)
    table = ["| | parameters | images seen | PSNR |", "|---|---|---|---|", *rows]
    text = f"""# Our auto-encoder and VAE against pythae's, trained equally long

{chr(10).join(table)}

`python benchmarks/autoencoder_vs_pythae.py --seconds {options.seconds:g} --num-test-images {len(test)} --seed {options.seed}`
on {describe_hardware(torch.device("cpu"), torch.float32)} (training in {precision_of(spec)} for all).

Each had {options.seconds:g} seconds of processor time to train on one thread, at the same time as the others, with AdamW, a learning rate of
{spec.learning_rate:g} with a warm-up of {WARMUP_STEPS} steps and cosine decay, and batches of {spec.batch_size}. All codes have {code_dim} numbers. PSNR is the mean over the
{len(test)} test images. The VAEs decode the mean of the code.
"""
    print("\n" + text)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(text)


if __name__ == "__main__":
    main()
