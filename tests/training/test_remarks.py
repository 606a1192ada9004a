"""What a person should know of the classes is said before the first step, and a class that is too small stops nothing."""

import dataclasses

import pytest
import torch
from accelerate import Accelerator
from conftest import TINY, pictures

from genarium.checkpoints import open_checkpoint
from genarium.data.images import ImageData
from genarium.families import discover
from genarium.recipe import find_recipe
from genarium.training import loop
from genarium.training.loop import train

FAMILIES = discover(installed=False)


def test_small_and_empty_classes_and_images_without_class(tmp_path, capsys):
    recipe = find_recipe("vae-fashion-mnist")
    training = dataclasses.replace(
        recipe.training, images=16, batch_size=8, warmup_steps=1, precision="fp32", compile=False, sample_every=1000
    )
    architecture = {**TINY["vae"], "mixture_components": 3}
    recipe = dataclasses.replace(recipe, name="tiny-vae", architecture=architecture, training=training)
    labels = torch.tensor([0] * 9 + [1] * 2 + [-1] * 5)
    images = ((pictures(16) + 1) * 127.5).to(torch.uint8)
    data = ImageData(images, labels, {"0": "many", "1": "few", "2": "none"})
    steps = []

    def on_step(step, loss):
        if not steps:
            steps.append(capsys.readouterr().out)

    output = train(
        recipe, FAMILIES["vae"], data=data, run_folder=tmp_path / "run", output=tmp_path / "out", on_step=on_step
    )
    (said,) = steps
    assert "5 of 16 images have no label" in said and "no image of none" in said
    assert "few (2), none (0); their mixtures get fewer" in said
    assert open_checkpoint(output, FAMILIES).class_names == ("many", "few", "none")


@pytest.mark.parametrize(("emulated", "precision"), [(True, "no"), (False, "bf16")])
def test_bf16_is_used_only_where_the_hardware_has_it(emulated, precision, tmp_path, monkeypatch, caplog):
    """Where it is emulated, a training would be 20 times slower than in fp32."""
    asked = []

    def make(*, mixed_precision, **options):
        asked.append(mixed_precision)
        return Accelerator(mixed_precision="no", **options)

    monkeypatch.setattr(loop, "Accelerator", make)
    monkeypatch.setattr(loop, "multiplies_bfloat16", lambda device: not emulated)
    recipe = find_recipe("vae-fashion-mnist")
    training = dataclasses.replace(recipe.training, images=16, batch_size=8, precision="bf16", compile=False)
    recipe = dataclasses.replace(recipe, name="tiny-vae", architecture=TINY["vae"], training=training)
    data = ImageData(((pictures(16) + 1) * 127.5).to(torch.uint8), torch.arange(16) % 2, {"0": "a", "1": "b"})
    train(recipe, FAMILIES["vae"], data=data, run_folder=tmp_path / "run", output=tmp_path / "out", max_steps=1)
    assert asked == [precision]
    assert ("bfloat16" in caplog.text) == emulated
