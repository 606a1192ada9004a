"""One process of a training or an evaluation on several machines: torchrun starts it with `train` or `evaluate` and a folder.

Noise is drawn for each picture from a generator of its own, so that the losses do not depend on how a batch is shared out.
"""

import dataclasses
import json
import os
import sys
import time
from pathlib import Path

import torch
from conftest import ID2LABEL, TINY, pictures
from torch import nn

from genarium.data.images import ImageData
from genarium.families import discover
from genarium.recipe import Recipe, find_recipe
from genarium.training.loop import train

FAMILIES = discover(installed=False)
STEPS, BATCH, SAVE_EVERY = 24, 8, 4


def recipe_of() -> Recipe:
    recipe = find_recipe("ddpm-fashion-mnist")
    settings = {"images": STEPS * BATCH, "batch_size": BATCH, "warmup_steps": 5, "learning_rate": 2e-3}
    settings |= {"save_every": SAVE_EVERY, "sample_every": 1000, "compile": False, "precision": "fp32"}
    training = dataclasses.replace(recipe.training, **settings)
    return dataclasses.replace(recipe, name="tiny-ddpm", architecture=TINY["ddpm"], training=training)


def data_of(seed: int = 0) -> ImageData:
    images = ((pictures(40, seed) + 1) * 127.5).to(torch.uint8)
    return ImageData(images, torch.arange(40) % 10, ID2LABEL)


def of_each_picture(loss):
    """Return a loss that calls another one for each picture, with a generator that the picture alone decides."""

    def mean(self, batch, generator=None, progress=1.0):
        losses = []
        for i, image in enumerate(batch["images"]):
            own = torch.Generator().manual_seed(int(image.double().abs().sum() * 1e6))
            row = {"images": batch["images"][i : i + 1], "class_labels": batch["class_labels"][i : i + 1]}
            losses.append(loss(self, row, own, progress)[0])
        value = torch.stack(losses).mean()
        return value, {"mse": value.detach()}

    return mean


def train_here(folder: Path, pause: float = 0.0) -> dict[int, float]:
    """Train in this process, alone or as one of several; return the losses of the steps on the main process."""
    losses: dict[int, float] = {}

    def on_step(step: int, loss: float) -> None:
        losses[step] = loss
        time.sleep(pause)

    family = FAMILIES["ddpm"]
    pipeline_class = family.pipeline_class()
    original = pipeline_class.loss
    pipeline_class.loss = of_each_picture(original)
    try:
        place = {"run_folder": folder / "run", "output": folder / "checkpoint"}
        train(recipe_of(), family, data=data_of(), on_step=on_step, **place)
    finally:
        pipeline_class.loss = original
    return losses


class Colours(nn.Module):
    """Mean and deviation of each of four rows of pictures: a feature network in one line."""

    num_features = 8

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        rows = images[:, :1].float().reshape(len(images), 4, -1)
        return torch.cat([rows.mean(2), rows.std(2)], 1)


def evaluate_here(folder: Path) -> list[dict]:
    """Measure a checkpoint in this process, alone or as one of several; return its figures."""
    from genarium.catalogue import find_checkpoints
    from genarium.evaluation.evaluate import evaluate
    from genarium.runtime import Runtime

    result = evaluate(
        str(folder / "checkpoint"),
        Runtime(find_checkpoints(FAMILIES), device="cpu"),
        recipe=recipe_of(),
        features=Colours(),
        num_samples=10,
        num_test_images=14,
        parts=["distance", "reconstruction"],
        parameters={"num_inference_steps": 2},
        batch_size=4,
        test=data_of(seed=1),
        card=False,
    )
    return result["metrics"]


if __name__ == "__main__":
    work, place = sys.argv[1], Path(sys.argv[2])
    rank = int(os.environ["RANK"])
    (place / f"process-{rank}").write_text(str(os.getpid()))
    works = {
        "train": lambda: train_here(place, float(os.environ.get("PAUSE", 0))),
        "evaluate": lambda: evaluate_here(place),
    }
    found = works[work]()
    if rank == 0:
        (place / f"{work}.json").write_text(json.dumps(found))
