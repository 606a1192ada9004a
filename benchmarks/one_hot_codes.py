"""Ten classes without labels: k-means, a plain one-hot bottleneck, and the shipped one that keeps classes under random changes.

    python benchmarks/one_hot_codes.py --images 300000

The plain bottleneck has the networks of the shipped checkpoint and another objective: reconstruction, by straight-through
Gumbel-softmax, with a KL term to the uniform distribution for each image and one for the mean over the batch. It is trained
here, in one run with one head. k-means is scikit-learn's, on pixels, the best of ten starts by its own objective. Accuracy is
that after the best matching of classes and labels, over all test images. Labels are used for that alone.

The table goes to the screen and to docs/benchmarks/one_hot.md.
"""

import argparse
import sys
import time
from pathlib import Path

import torch
from sklearn.cluster import MiniBatchKMeans
from tqdm.auto import tqdm

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from genarium.catalogue import find_checkpoints
from genarium.checkpoints import load_pipeline
from genarium.data.images import load_images
from genarium.evaluation.measures import matched_accuracy, normalised_information
from genarium.families import discover
from genarium.hardware import describe_hardware
from genarium.recipe import find_recipe
from pipelines.pipeline_discrete_ae import DiscreteAutoencoderPipeline

RECIPES = ("onehot-mnist", "onehot-fashion-mnist")


def train_plain(recipe, data, images: int, seed: int):
    """Train the recipe's networks with the plain objective; return the pipeline."""
    torch.manual_seed(seed)
    architecture = {**recipe.architecture, "objective": "reconstruction", "balance_weight": 10.0}
    architecture["encoder"] = {**architecture["encoder"], "heads": 1, "over_clusters": 0}
    pipeline = DiscreteAutoencoderPipeline.build(28, 1, **architecture)
    modules = pipeline.trainable("autoencoder")
    parameters = [p for module in modules.values() for p in module.train().parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3)
    generator, batch_size = torch.Generator().manual_seed(seed), 128
    steps = images // batch_size
    for step in tqdm(range(steps), desc=f"{recipe.name}, plain", mininterval=10):
        rows = torch.randint(len(data), (batch_size,), generator=generator)
        x = data.images[rows].float() / 127.5 - 1
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * min(1, (step + 1) / 100) * (1 - step / steps)
        with torch.autocast("cpu", torch.bfloat16):
            loss, _ = pipeline.loss({"images": x}, generator, step / steps)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
    for module in modules.values():
        module.eval()
    return pipeline


def encode(pipeline, data) -> torch.Tensor:
    """Return the classes of all images, int64 [N]."""
    return torch.cat([pipeline.encode(batch["images"]) for batch in data.batches(500)])


def k_means(train, test, seed: int) -> torch.Tensor:
    """Return the classes of the test images by k-means on pixels, int64 [N]."""
    fitted = MiniBatchKMeans(10, n_init=10, batch_size=4096, random_state=seed).fit(train.images.flatten(1).float())
    return torch.from_numpy(fitted.predict(test.images.flatten(1).float())).long()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=300_000, help="that the plain bottleneck sees")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    catalogue = find_checkpoints(discover(installed=False))
    rows = ["| data | method | accuracy | NMI | training |", "|---|---|---|---|---|"]
    for name in RECIPES:
        recipe = find_recipe(name)
        train, test = (load_images(recipe.data, split) for split in (recipe.data.train_split, recipe.data.test_split))
        started = time.perf_counter()
        classes = k_means(train, test, options.seed)
        found = [("k-means on pixels", classes, f"{time.perf_counter() - started:.0f} s")]
        started = time.perf_counter()
        plain = train_plain(recipe, train, options.images, options.seed)
        minutes = (time.perf_counter() - started) / 60
        found.append(
            (
                "plain one-hot bottleneck",
                encode(plain, test),
                f"{minutes:.1f} minutes, {options.images // 1000} k images",
            )
        )
        if name in catalogue.checkpoints:
            shipped = encode(load_pipeline(catalogue[name]), test)
            stages = ", ".join(f"{stage.images // 1000} k images ({stage.name})" for stage in recipe.training.stages)
            found.append((f"`{name}`, information", shipped, stages))
        for method, classes, cost in found:
            accuracy, information = matched_accuracy(classes, test.labels), normalised_information(classes, test.labels)
            rows.append(f"| {recipe.data.name} | {method} | {100 * accuracy:.1f} % | {information:.3f} | {cost} |")
            print(rows[-1], flush=True)
    text = "\n".join(
        [
            "# Ten classes without labels\n",
            *rows,
            f"\n`python benchmarks/one_hot_codes.py --images {options.images} --seed {options.seed}`",
            f"on {describe_hardware(torch.device('cpu'), torch.float32)}.\n",
            "Accuracy is that after the best matching of classes and labels (Hungarian method), NMI the normalised mutual",
            "information of both, each over all 10,000 test images. No method saw a label in training. All know that there are ten",
            "classes. The plain bottleneck and the shipped checkpoint have the same encoder.",
        ]
    )
    (ROOT / "docs/benchmarks/one_hot.md").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
