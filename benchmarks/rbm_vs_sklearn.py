"""Our RBM against scikit-learn's BernoulliRBM and PyPI's rbms on binarised MNIST: same units, same data, equally long.

    pip install --no-deps -r benchmarks/requirements-rbms.txt
    python benchmarks/rbm_vs_sklearn.py --seconds 60

All train in this one process, in turns of a few seconds, until each has had `--seconds` of wall-clock time. Each has its own
defaults, but for the number of hidden units and the size of the batches. rbms makes 100 Gibbs steps in each update by default,
which leaves it few updates in this time. It is also trained with as many as ours makes on average.

The weights of all are then put into our machine, whose log Z is estimated by annealed importance sampling, so that all are
measured alike. rbms is left out where it is not installed. The table goes to docs/benchmarks/rbm.md.
"""

import argparse
import importlib.util
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from diffusers.training_utils import EMAModel

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from genarium.data.images import load_images
from genarium.hardware import describe_hardware
from genarium.recipe import find_recipe
from pipelines.annealed_importance import log_partition
from pipelines.binarization import binarize, to_unit_range
from pipelines.boltzmann import BoltzmannMachine
from pipelines.pipeline_rbm import RBMPipeline

TURN = 5.0  # seconds of training before the next one's turn


class Ours:
    """The recipe's RBM without its class units, and its training."""

    title = "Genarium RBM"

    def __init__(self, recipe, grey, generator):
        architecture = {**recipe.architecture, "class_units": False}
        self.pipeline = RBMPipeline.build(28, 1, None, **architecture)
        self.machine, self.generator, self.spec = self.pipeline.rbm, generator, recipe.training
        self.pipeline.trainable("rbm")
        self.pipeline.prepare("rbm", ({"images": part.reshape(-1, 1, 28, 28) * 2 - 1} for part in grey.split(1000)))
        self.machine.train()
        self.optimizer = torch.optim.AdamW(
            self.machine.parameters(), betas=self.spec.betas, weight_decay=self.spec.weight_decay
        )
        self.ema = EMAModel(list(self.machine.parameters()), decay=self.spec.ema_decay)

    def step(self, rows, progress):
        self.optimizer.param_groups[0]["lr"] = self.spec.learning_rate * (1 - progress)
        batch = {"images": rows.reshape(-1, 1, 28, 28) * 2 - 1}
        self.pipeline.loss(batch, self.generator, progress)[0].backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.ema.step(self.machine.parameters())

    def finished(self):
        self.ema.copy_to(self.machine.parameters())
        return self.machine


class ScikitLearn:
    """scikit-learn's: persistent chains with one Gibbs step, plain gradient steps of 0.1, no centring."""

    title = "scikit-learn BernoulliRBM"

    def __init__(self, hidden, batch_size):
        from sklearn.neural_network import BernoulliRBM

        self.model = BernoulliRBM(hidden, batch_size=batch_size, random_state=0)

    def step(self, rows, progress):
        self.model.partial_fit(rows.numpy())

    def finished(self):
        parts = (self.model.components_.T, self.model.intercept_visible_, self.model.intercept_hidden_)
        return machine_of(*(torch.as_tensor(part).float() for part in parts))


class Rbms:
    """rbms: persistent chains, centred gradient brought to length 1, plain steps of 0.01."""

    def __init__(self, hidden, batch_size, gibbs_steps, grey):
        from rbms.bernoulli_bernoulli.classes import BBRBM
        from rbms.training.pcd import fit_batch_pcd

        self.title, self.fit, self.gibbs_steps = f"rbms, {gibbs_steps} Gibbs steps", fit_batch_pcd, gibbs_steps
        device = torch.device("cpu")
        self.model = BBRBM.init_parameters(hidden, SimpleNamespace(data=grey), device, torch.float32)
        for p in self.model.parameters():
            p.grad = torch.zeros_like(p)
        self.chains = self.model.init_chains(2000)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01, maximize=True)

    @torch.no_grad()
    def step(self, rows, progress):
        batch = (rows, torch.ones(len(rows)))
        self.chains, _ = self.fit(batch, self.chains, self.model, self.gibbs_steps, 1.0, centered=True)
        self.optimizer.step()

    def finished(self):
        return machine_of(self.model.weight_matrix, self.model.vbias, self.model.hbias)


@torch.no_grad()
def machine_of(weight, visible_bias, hidden_bias):
    """Return our machine with the weights of another library, whose energy has no centre."""
    machine = BoltzmannMachine(*weight.shape)
    machine.weight.copy_(weight)
    machine.visible_bias.copy_(visible_bias + weight @ machine.hidden_mean)
    machine.hidden_bias.copy_(hidden_bias + machine.visible_mean @ weight)
    return machine


@torch.no_grad()
def measure(machine, test, base_rates, options):
    """Return mean log-likelihood, log Z's interval, pseudo-likelihood and reconstruction of binary test pictures."""
    # The centre may be moved to the data's means without changing the machine, and AIS starts there.
    shift = base_rates - machine.visible_mean
    machine.hidden_bias.add_(shift @ machine.weight)
    machine.visible_mean.add_(shift)
    known = log_partition(machine, options.chains, options.temperatures)
    nats = torch.cat([-machine.free_energy(part) for part in test.split(500)]).mean().item() - known["log_z"]
    some = test[: options.num_pseudo]
    own = machine.free_energy(some)
    flipped = torch.cat([machine.flipped_free_energies(part) for part in some.split(50)])
    pseudo = -F.softplus(own[:, None] - flipped).sum(1).mean().item()
    return nats, known, pseudo


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60, help="training time of each")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--chains", type=int, default=100, help="of the estimate of log Z")
    parser.add_argument("--temperatures", type=int, default=3000)
    parser.add_argument("--num-pseudo", type=int, default=1000, help="test pictures for the pseudo-likelihood")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--recipe", default="rbm-mnist")
    parser.add_argument("--data", help="local copy of MNIST, in place of the Hub's")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/benchmarks/rbm.md")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    recipe = find_recipe(options.recipe)
    hidden = recipe.architecture["num_hidden"]

    train = load_images(recipe.data, recipe.data.train_split, options.data)
    test = load_images(recipe.data, recipe.data.test_split, options.data)
    grey = to_unit_range(train.images.float() / 127.5 - 1)
    binary_test = binarize(test.images.float() / 127.5 - 1, torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(0)
    models = [Ours(recipe, grey, generator), ScikitLearn(hidden, options.batch_size)]
    if importlib.util.find_spec("rbms"):
        first, last = recipe.architecture["gibbs_steps"]
        models += [Rbms(hidden, options.batch_size, steps, grey) for steps in (100, round((first + last) / 2))]
    else:
        print("rbms is not installed and is left out")

    spent, steps = [0.0] * len(models), [0] * len(models)
    while min(spent) < options.seconds:
        for i, model in enumerate(models):
            begun, before = time.monotonic(), spent[i]
            while spent[i] < min(options.seconds, before + TURN):
                rows = grey[torch.randint(len(grey), (options.batch_size,), generator=generator)]
                rows = (torch.rand(rows.shape, generator=generator) < rows).float()  # all see pixels drawn anew
                model.step(rows, spent[i] / options.seconds)
                steps[i] += 1
                spent[i] = before + time.monotonic() - begun

    lines = ["| | images seen | seconds an epoch | log-likelihood | pseudo-likelihood |", "|---|---|---|---|---|"]
    for model, seconds, number in zip(models, spent, steps, strict=True):
        machine = model.finished().eval()
        nats, known, pseudo = measure(machine, binary_test, grey.mean(0), options)
        seen = number * options.batch_size
        interval = f"{nats + known['log_z'] - known['high']:.1f} to {nats + known['log_z'] - known['low']:.1f}"
        cells = (
            model.title,
            f"{seen / 1e3:.0f} k",
            f"{seconds * len(grey) / seen:.1f}",
            f"{nats:.1f} ({interval})",
            f"{pseudo:.1f}",
        )
        lines.append("| " + " | ".join(cells) + " |")
        print(lines[-1], f"effective chains {known['effective_chains']:.0f}", flush=True)
    table = "\n".join(lines)
    text = f"""# Our RBM against scikit-learn's and rbms', trained equally long

{table}

`python benchmarks/rbm_vs_sklearn.py --seconds {options.seconds:g}`
on {describe_hardware(torch.device("cpu"), torch.float32)}.

784 visible and {hidden} hidden units, no class units, MNIST with pixels drawn black or white anew in each batch of
{options.batch_size}. Each had {options.seconds:g} seconds of training, in turns of {TURN:g} seconds in one process, at its own defaults.
Log-likelihood is the mean over the {len(binary_test)} test pictures, their pixels drawn once with seed 0, in nats. Log Z of each is
estimated by annealed importance sampling ({options.chains} chains, {options.temperatures} temperatures). The interval in brackets is that
of 3 standard errors of its weights. Where it is wide, few chains carry the estimate. The pseudo-likelihood is the sum of log p of each pixel given all others, exact, the mean over
{min(options.num_pseudo, len(binary_test))} test pictures. scikit-learn's own `score_samples` is a one-pixel estimate of it. Seconds an
epoch depend on the number of Gibbs steps: scikit-learn makes 1 in each update, ours {recipe.architecture["gibbs_steps"][0]} rising to
{recipe.architecture["gibbs_steps"][1]}. rbms has 2000 chains, its default, so that it makes few updates in this time. It begins at weights with a standard
deviation of 0.0001 and makes plain steps of 0.01 along a gradient of length 1, and after few updates its hidden units are still
alike: its figures here are those of independent pixels. It is written for graphics cards and long training.
"""
    print("\n" + text)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(text)


if __name__ == "__main__":
    main()
