"""Our auto-encoder and VAE against pythae's (Chadebec et al. 2022, https://arxiv.org/abs/2206.08309), trained equally long.

    pip install --no-deps -r benchmarks/requirements-pythae.txt
    python benchmarks/autoencoder_vs_pythae.py --seconds 100

All four train in this one process on Fashion-MNIST, in turns of a few seconds, until each has had `--seconds` of processor time,
with the same threads, precision, optimiser, learning-rate schedule, batch size and code size. Processor time on one thread is
what an idle core would take: other programs on the machine make the run longer, and not the training shorter. Ours are the
recipes' architectures. Theirs are the networks that pythae ships for 28x28 grey images, with its default settings.

The table goes to the screen and to docs/benchmarks/autoencoder.md.
"""

import argparse
import sys
import time
from pathlib import Path

import torch
from diffusers.training_utils import EMAModel
from tqdm.auto import tqdm
from vae_vs_pythae import TURN, Ours, Pythae, Training, first, in_batches, precision_of

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from genarium.data.images import load_images
from genarium.hardware import describe_hardware
from genarium.recipe import find_recipe
from pipelines.pipeline_autoencoder import AutoencoderPipeline


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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=100, help="processor time of each training")
    parser.add_argument("--num-test-images", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--data", help="local copy of Fashion-MNIST, in place of the Hub's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "docs/benchmarks/autoencoder.md")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)

    recipes = [find_recipe("ae-fashion-mnist"), find_recipe("vae-fashion-mnist")]
    spec, code_dim = recipes[0].training, recipes[0].architecture["code_dim"]
    data = load_images(recipes[0].data, recipes[0].data.train_split, options.data)
    test = first(load_images(recipes[0].data, recipes[0].data.test_split, options.data), options.num_test_images)
    models = [
        OurAutoencoder(recipes[0], data),
        PythaeAutoencoder(code_dim),
        OurVAE(recipes[1], data),
        PythaeVAE(),
    ]
    trainings = [Training(model, spec, options.seconds, options.seed, time.process_time) for model in models]
    with tqdm(
        total=len(models) * options.seconds, desc="training", bar_format="{l_bar}{bar}| {n:.0f}/{total:.0f} s"
    ) as bar:
        while any(t.spent < t.total for t in trainings):
            for training in trainings:
                before = min(training.spent, training.total)
                training.turn(data)
                bar.update(min(training.spent, training.total) - before)
    x = test.images.float() / 255
    table = ["| | parameters | images seen | PSNR |", "|---|---|---|---|"]
    for model, training in zip(models, trainings, strict=True):
        model.finish()
        error = (in_batches(model.reconstruct, x * 2 - 1) - x).square().mean((1, 2, 3))
        parameters = sum(p.numel() for p in training.parameters) / 1e6
        seen = training.steps * spec.batch_size / 1e3
        table.append(f"| {model.title} | {parameters:.1f} M | {seen:.0f} k | {-10 * error.log10().mean():.2f} dB |")
    text = f"""# Our auto-encoder and VAE against pythae's, trained equally long

{chr(10).join(table)}

`python benchmarks/autoencoder_vs_pythae.py --seconds {options.seconds:g} --seed {options.seed}`
on {describe_hardware(torch.device("cpu"), torch.float32)} (training in {precision_of(spec)} for all).

Each had {options.seconds:g} seconds of processor time to train, in turns of {TURN:g} seconds in one process, with AdamW, a learning rate of
{spec.learning_rate:g} with warm-up and cosine decay, and batches of {spec.batch_size}. All codes have {code_dim} numbers. PSNR is the mean over the
{len(test)} test images. The VAEs decode the mean of the code.
"""
    print("\n" + text)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(text)


if __name__ == "__main__":
    main()
