"""Our sparse coding against scikit-learn's MiniBatchDictionaryLearning: the same number of atoms and of non-zeros.

    python benchmarks/sparse_coding.py --seconds 120

Both learn a dictionary of Fashion-MNIST in this one process, in turns, until each has had `--seconds` of wall-clock time: ours by
its recipe, theirs by `partial_fit` on batches of the same size, with its defaults but for the number of atoms and
coordinate descent in place of LARS, which is faster at this size. Then test pictures are coded with at most as many atoms each:

- orthogonal matching pursuit of scikit-learn, with either dictionary, so that only the dictionaries differ;
- with ours also FISTA, whose largest weights are kept and found again by least squares, and the fast encoder.

The table goes to the screen and to docs/benchmarks/sparse_coding.md.
"""

import argparse
import math
import sys
import time
from pathlib import Path

import torch
from diffusers.training_utils import EMAModel
from sklearn.decomposition import MiniBatchDictionaryLearning, sparse_encode

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from genarium.data.images import load_images
from genarium.hardware import describe_hardware
from genarium.recipe import find_recipe
from pipelines.modeling_sparse_coding import top_k
from pipelines.pipeline_sparse_coding import PENALTY_IMAGES, SparseCodingPipeline

TURN = 5.0  # seconds of training before the other one's turn


class Ours:
    """The recipe's sparse coding, and its training."""

    title = "Genarium"

    def __init__(self, recipe, data):
        self.pipeline = SparseCodingPipeline.build(28, 1, data.id2label, **recipe.architecture)
        self.model, self.spec = self.pipeline.model.train(), recipe.training
        parameters = list(self.model.parameters())
        self.optimizer = torch.optim.AdamW(parameters, betas=self.spec.betas, weight_decay=self.spec.weight_decay)
        self.ema = EMAModel(parameters, decay=self.spec.ema_decay)

    def step(self, images, progress):
        warm = min(1.0, progress * 20)
        self.optimizer.param_groups[0]["lr"] = self.spec.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * progress))
        self.pipeline.loss({"images": images * 2 - 1}, progress=progress)[0].backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.spec.grad_clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.ema.step(self.model.parameters())

    def finish(self, signals):
        self.ema.copy_to(self.model.parameters())
        self.model.eval()
        self.model.measure_lipschitz_exactly()
        with torch.no_grad():
            self.pipeline._set_penalty(signals[:PENALTY_IMAGES])

    @property
    def atoms(self):
        return self.model.atoms().detach().numpy()


class ScikitLearn:
    """scikit-learn's online dictionary learning (Mairal et al. 2009)."""

    title = "scikit-learn"

    def __init__(self, atoms, batch_size):
        self.learner = MiniBatchDictionaryLearning(atoms, batch_size=batch_size, fit_algorithm="cd", random_state=0)

    def step(self, images, progress):
        self.learner.partial_fit(images.flatten(1).numpy())

    def finish(self, signals):
        pass

    @property
    def atoms(self):
        return self.learner.components_


def train(models, data, seconds, batch_size):
    """Give the models turns until each has had its seconds; return how many images each has seen."""
    spent, seen = [0.0] * len(models), [0] * len(models)
    generators = [torch.Generator().manual_seed(0) for _ in models]
    while min(spent) < seconds:
        for i, model in enumerate(models):
            begun = time.monotonic()
            before = spent[i]
            while spent[i] < min(seconds, before + TURN):
                batch = torch.randint(len(data), (batch_size,), generator=generators[i])
                model.step(data[batch], spent[i] / seconds)
                seen[i] += batch_size
                spent[i] = before + time.monotonic() - begun
    return seen


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120, help="training time of each")
    parser.add_argument("--num-test-images", type=int, default=300)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--recipe", default="sparse-fashion-mnist")
    parser.add_argument("--data", help="local copy of Fashion-MNIST, in place of the Hub's")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/benchmarks/sparse_coding.md")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)

    recipe = find_recipe(options.recipe)
    data = load_images(recipe.data, recipe.data.train_split, options.data)
    test = load_images(recipe.data, recipe.data.test_split, options.data)
    images = data.images.float() / 255
    x = test.images[: options.num_test_images].flatten(1).float() / 255
    ours = Ours(recipe, data)
    atoms, nonzeros = ours.model.config.num_atoms, ours.model.config.num_nonzeros
    theirs = ScikitLearn(atoms, recipe.training.batch_size)
    seen = train([ours, theirs], images, options.seconds, recipe.training.batch_size)
    ours.finish(images[:PENALTY_IMAGES].flatten(1))

    def pursuit(model):
        return (
            torch.from_numpy(
                sparse_encode(x.numpy(), model.atoms, algorithm="omp", n_nonzero_coefs=nonzeros, check_input=False)
            ).float()
            @ torch.from_numpy(model.atoms).float()
        )

    @torch.no_grad()
    def search():
        pipeline = ours.pipeline
        return ours.model.decode(pipeline._refitted(x, top_k(pipeline._codes(x, 60), nonzeros), 60))

    coders = [
        ("scikit-learn", "orthogonal matching pursuit", lambda: pursuit(theirs)),
        ("Genarium", "orthogonal matching pursuit", lambda: pursuit(ours)),
        ("Genarium", "FISTA, 60 steps, and 60 for the weights", search),
        ("Genarium", "fast encoder", torch.no_grad()(lambda: ours.model.decode(ours.model.encode(x)))),
    ]
    table = ["| dictionary | codes by | squared error | PSNR | a picture |", "|---|---|---|---|---|"]
    for title, how, code in coders:
        begun = time.monotonic()
        error = (code().clamp(0, 1) - x).square()
        each = 1000 * (time.monotonic() - begun) / len(x)
        decibels = -10 * error.mean(1).log10().mean()
        table.append(f"| {title} | {how} | {error.sum(1).mean():.2f} | {decibels:.2f} dB | {each:.1f} ms |")
    text = f"""# Sparse coding against scikit-learn's MiniBatchDictionaryLearning

{chr(10).join(table)}

`python benchmarks/sparse_coding.py --seconds {options.seconds:g} --num-test-images {len(x)}`
on {describe_hardware(torch.device("cpu"), torch.float32)}.

Both dictionaries have {atoms} atoms for pictures of {x.shape[1]} pixels, and each picture is coded with at most {nonzeros} of them. Both
learnt for {options.seconds:g} seconds in this run, in turns. Ours saw {seen[0] / 1e3:.1f} thousand pictures, scikit-learn's {seen[1] / 1e3:.1f} thousand.
Our weights are at least 0; those of matching pursuit may have either sign, with both dictionaries. The error is summed over
pixels in [0, 1], mean over {len(x)} test pictures of {recipe.data.name}.
"""
    print("\n" + text)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(text)


if __name__ == "__main__":
    main()
