"""The deep auto-encoder of Hinton and Salakhutdinov 2006 from random weights and from pre-trained RBMs: error against epochs.

    python benchmarks/dbn_pretraining.py --epochs 5

784-1000-500-250-30 sigmoid units and back on MNIST. Four RBMs are trained one after the other by contrastive divergence (CD-1),
the last one with Gaussian hidden units, and unrolled. The same network then learns from these weights and from random ones, by
stochastic gradient descent with momentum, as was usual then, and by Adam. The error is the sum over pixels of the squared
difference in [0, 1], the mean over the test pictures, as in the paper (3.00 there after fine-tuning, and 13.87 for principal
components). The table goes to docs/benchmarks/dbn.md.
"""

import argparse
import copy
import itertools
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from genarium.data.images import load_images
from genarium.hardware import describe_hardware
from genarium.recipe import find_recipe
from pipelines.boltzmann import BoltzmannMachine
from pipelines.gibbs import contrastive_loss
from pipelines.modeling_autoencoder import AutoencoderModel
from pipelines.unrolling import unroll

SIZES = (784, 1000, 500, 250, 30)
OPTIMIZERS = {
    "SGD": lambda parameters: torch.optim.SGD(parameters, lr=1.0, momentum=0.9),
    "Adam": lambda parameters: torch.optim.Adam(parameters, lr=1e-3),
}


def batches(rows, size, generator):
    """Yield the rows of one epoch in random order."""
    for index in torch.randperm(len(rows), generator=generator).split(size):
        yield rows[index]


def pretrain(grey, epochs, size, generator):
    """Train the RBMs from the pixels up, and return them."""
    machines, rows = [], grey
    for visible, hidden in itertools.pairwise(SIZES):
        machine = BoltzmannMachine(visible, hidden, gaussian_hidden=hidden == SIZES[-1])
        machine.set_visible_mean(rows.mean(0))
        rate = 1e-4 if machine.gaussian_hidden else 1e-3
        optimizer = torch.optim.Adam(machine.parameters(), rate)
        total, step = epochs * -(-len(rows) // size), 0
        for _ in range(epochs):
            for p in batches(rows, size, generator):
                optimizer.param_groups[0]["lr"] = rate * (1 - step / total)
                v = (torch.rand(p.shape, generator=generator) < p).float()
                with torch.no_grad():
                    machine.move_hidden_mean(machine.hidden_means(machine(v)), 0.01)
                loss, parts = contrastive_loss(machine, v, None, 1, generator)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                step += 1
        print(f"RBM {visible}-{hidden}: {parts['reconstruction_nats']:.1f} nats", flush=True)
        machines.append(machine)
        with torch.no_grad():
            rows = torch.cat([machine.hidden_means(machine(part)) for part in rows.split(5000)])
    return machines


@torch.no_grad()
def error(network, grey):
    """Return the mean over pictures of the sum over pixels of the squared difference."""
    parts = [(network(part * 2 - 1).sigmoid() - part).square().sum((1, 2, 3)) for part in grey.split(1000)]
    return torch.cat(parts).mean().item()


def finetune(network, optimizer, grey, test, epochs, size, generator):
    """Train all weights at once; return the test error before the first epoch and after each."""
    optimizer, errors = OPTIMIZERS[optimizer](network.parameters()), [error(network, test)]
    for _ in range(epochs):
        for x in batches(grey, size, generator):
            loss = F.binary_cross_entropy_with_logits(network(x * 2 - 1), x, reduction="none").sum((1, 2, 3)).mean()
            optimizer.zero_grad()
            (loss / 784).backward()
            optimizer.step()
        errors.append(error(network, test))
        print(f"  {errors[-1]:.2f}", flush=True)
    return errors


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=5, help="of the whole network")
    parser.add_argument("--pretraining-epochs", type=int, default=3, help="of each RBM")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--limit", type=int, help="training pictures, at most")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--data", help="local copy of MNIST, in place of the Hub's")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/benchmarks/dbn.md")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    spec = find_recipe("dbn-mnist").data
    grey = load_images(spec, spec.train_split, options.data).images[: options.limit].float() / 255
    test = load_images(spec, spec.test_split, options.data).images.float() / 255
    generator = torch.Generator().manual_seed(0)

    size = {"network": "fully_connected", "hidden_sizes": SIZES[1:-1], "code_dim": SIZES[-1], "activation": "sigmoid"}
    random = AutoencoderModel(28, 1, mixture_components=0, **size)
    begun = time.monotonic()
    machines = pretrain(grey.flatten(1), options.pretraining_epochs, options.batch_size, generator)
    seconds = time.monotonic() - begun
    unrolled = copy.deepcopy(random)
    unroll(machines, unrolled)
    mean = grey.flatten(1).mean(0)
    axes = torch.linalg.eigh(torch.cov(grey.flatten(1).T)).eigenvectors[:, -SIZES[-1] :]
    left = test.flatten(1) - mean
    components = (left - left @ axes @ axes.T).square().sum(1).mean().item()

    columns = {}
    for optimizer in OPTIMIZERS:
        for start, network in (("random", random), ("pre-trained", unrolled)):
            print(f"{optimizer}, {start}:", flush=True)
            task = (copy.deepcopy(network), optimizer, grey, test, options.epochs, options.batch_size)
            columns[f"{optimizer}, {start}"] = finetune(*task, torch.Generator().manual_seed(1))

    lines = ["| epochs | " + " | ".join(columns) + " |", "|" + "---|" * (1 + len(columns))]
    for epoch, errors in enumerate(zip(*columns.values(), strict=True)):
        lines.append(f"| {epoch} | " + " | ".join(f"{e:.2f}" for e in errors) + " |")
    table = "\n".join(lines)
    command = f"--epochs {options.epochs} --pretraining-epochs {options.pretraining_epochs}"
    command += f" --limit {options.limit}" if options.limit else ""
    text = f"""# A deep auto-encoder from random weights and from pre-trained RBMs

Squared error of the reconstruction, the sum over pixels in [0, 1], mean over the {len(test)} test pictures of MNIST:

{table}

{SIZES[-1]} principal components: {components:.2f}.

`python benchmarks/dbn_pretraining.py {command}`
on {describe_hardware(torch.device("cpu"), torch.float32)}.

The network is {"-".join(map(str, SIZES))} and back, with sigmoid units, as in Hinton and Salakhutdinov 2006, who report 3.00 after
fine-tuning and 13.87 for principal components. The pre-training is {options.pretraining_epochs} epochs of CD-1 for each of the four
RBMs, {seconds:.0f} s in all, and is not counted in the epochs. Both starts see the same {len(grey)} training pictures in the same order,
in batches of {options.batch_size}, with the cross-entropy of the pixels as the loss. SGD has a rate of 1 for the mean over pixels and
momentum 0.9. Adam has a rate of 0.001.
"""
    print("\n" + text)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(text)


if __name__ == "__main__":
    main()
