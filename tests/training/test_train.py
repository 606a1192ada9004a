"""Training: the loss goes down, a killed run goes on as if nothing had happened, good weights are not overwritten."""

import dataclasses
import itertools
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from conftest import ID2LABEL, TINY, pictures

from genarium import paths
from genarium.checkpoints import load_pipeline, open_checkpoint
from genarium.data.images import ImageData, load_images
from genarium.errors import DataError, GenariumError
from genarium.families import discover
from genarium.recipe import find_recipe
from genarium.training.loop import train
from genarium.training.steps import batch_indices, learning_rate

FAMILIES = discover(installed=False)


def tiny_recipe(family, **training):
    recipe = find_recipe(f"{family}-fashion-mnist")
    settings = {"images": 480, "batch_size": 16, "warmup_steps": 5, "save_every": 10, "sample_every": 1000}
    settings |= {"compile": False, "precision": "fp32", "learning_rate": 2e-3, **training}
    return dataclasses.replace(
        recipe,
        name=f"tiny-{family}",
        architecture=TINY[family],
        training=dataclasses.replace(recipe.training, **settings),
    )


@pytest.fixture
def data():
    images = ((pictures(64) + 1) * 127.5).to(torch.uint8)
    return ImageData(images, torch.arange(64) % 10, ID2LABEL)


def run(recipe, folder, data, **options):
    losses = {}
    result = train(
        recipe,
        FAMILIES[recipe.family],
        data=data,
        run_folder=folder / "run",
        output=folder / "checkpoint",
        on_step=lambda step, loss: losses.__setitem__(step, loss),
        **options,
    )
    return result, losses


@pytest.mark.parametrize("family", ["ddpm", "vae"])
def test_thirty_steps_lower_the_loss_and_leave_a_checkpoint(family, tmp_path, data):
    output, losses = run(tiny_recipe(family), tmp_path, data)
    assert len(losses) == 30
    values = list(losses.values())
    assert sum(values[-8:]) < 0.95 * sum(values[:8])
    pipeline = load_pipeline(open_checkpoint(output, FAMILIES))
    assert pipeline(2, class_labels=[0, 1], output_type="np").images.shape == (2, 28, 28, 1)
    assert pipeline.config.id2label == ID2LABEL
    log = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert log[-1]["step"] == 30 and log[-1]["images_per_second"] > 0 and "grad_norm" in log[-1]
    assert (tmp_path / "run/samples/0000030.png").exists() and list((tmp_path / "run").rglob("events.out.tfevents*"))


def test_a_stopped_run_resumes_to_the_same_losses(tmp_path, data):
    recipe = tiny_recipe("ddpm")
    _, whole = run(recipe, tmp_path / "whole", data)
    stopped, first = run(recipe, tmp_path / "parts", data, max_steps=13)
    assert stopped == tmp_path / "parts/run" and not (tmp_path / "parts/checkpoint").exists()
    _, second = run(recipe, tmp_path / "parts", data)
    assert sorted(first) == list(range(1, 14)) and sorted(second) == list(range(14, 31))
    assert {**first, **second} == pytest.approx(whole, rel=1e-6)
    steps = [json.loads(line)["step"] for line in (tmp_path / "parts/run/log.jsonl").read_text().splitlines()]
    assert steps == [10, 13, 20, 30]
    a, b = (load_pipeline(open_checkpoint(tmp_path / n / "checkpoint", FAMILIES)) for n in ("whole", "parts"))
    for p, q in zip(a.unet.parameters(), b.unet.parameters(), strict=True):
        assert torch.allclose(p, q, atol=1e-4)


def test_two_precisions_train_in_one_process(tmp_path, data, monkeypatch):
    monkeypatch.setattr("genarium.training.loop.multiplies_bfloat16", lambda device: True)
    for precision in ("fp32", "bf16", "fp32"):
        recipe = tiny_recipe("vae", images=32, precision=precision)
        assert len(run(recipe, tmp_path / precision, data, fresh=True)[1]) == 2


KILLED = """
import torch
from pathlib import Path
from test_train import ID2LABEL, ImageData, pictures, run, tiny_recipe
images = ((pictures(64) + 1) * 127.5).to(torch.uint8)
data = ImageData(images, torch.arange(64) % 10, ID2LABEL)
run(tiny_recipe("ddpm", images=1_600_000, save_every=5), Path({folder!r}), data)
"""


def test_a_killed_process_leaves_a_whole_state(tmp_path, data):
    """SIGKILL at some moment after a save: the state on disk loads, and its losses go on."""
    program = KILLED.format(folder=str(tmp_path))
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=paths.ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},  # it imports this module
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    state = tmp_path / "run/state/state.json"
    deadline = time.monotonic() + 120
    try:
        while not (state.exists() and json.loads(state.read_text() or "{}").get("step", 0) >= 10):
            assert process.poll() is None and time.monotonic() < deadline, "the run died by itself or never saved"
            time.sleep(0.02)
    except (FileNotFoundError, json.JSONDecodeError):
        pass  # caught between two saves: as good a moment as any
    process.send_signal(signal.SIGKILL)
    process.wait()
    with (tmp_path / "run/log.jsonl").open("a") as log:  # what the killed process wrote after its last save
        log.write('{"step": 1000000}\n{"ste')
    recipe = tiny_recipe("ddpm", images=1_600_000, save_every=5)
    _, losses = run(recipe, tmp_path, data, max_steps=3)
    assert all(json.loads(row)["step"] < 1_000_000 for row in (tmp_path / "run/log.jsonl").read_text().splitlines())
    assert min(losses) > 5 and all(np.isfinite(v) for v in losses.values())


def test_another_recipe_does_not_resume_silently(tmp_path, data):
    run(tiny_recipe("ddpm"), tmp_path, data, max_steps=2)
    with pytest.raises(GenariumError, match="--fresh"):
        run(tiny_recipe("ddpm", images=960), tmp_path, data)
    _, losses = run(tiny_recipe("ddpm", images=960), tmp_path, data, fresh=True, max_steps=2)
    assert sorted(losses) == [1, 2]


def test_good_weights_are_not_overwritten(house, data):
    (house / "checkpoints/tiny-ddpm").mkdir()
    recipe = tiny_recipe("ddpm", images=32)
    output = train(recipe, FAMILIES["ddpm"], data=data)
    assert output == house / "runs/tiny-ddpm/checkpoint" and (output / "model_index.json").exists()
    assert not list((house / "checkpoints/tiny-ddpm").iterdir())
    seen = []
    again = train(recipe, FAMILIES["ddpm"], data=data, on_step=lambda step, loss: seen.append(step))
    assert again == output and not seen, "a finished run has nothing left to do"


def test_two_processes_train_as_one_model(tmp_path):
    program = KILLED.replace("images=1_600_000, save_every=5", "images=160").format(folder=str(tmp_path))
    (tmp_path / "program.py").write_text(program)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]  # a port of its own: tests run at once
    done = subprocess.run(
        [*torchrun, "--nproc_per_node", "2", str(tmp_path / "program.py")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "checkpoint/model_index.json").exists()
    assert json.loads((tmp_path / "run/log.jsonl").read_text().splitlines()[-1])["step"] == 10


def test_every_image_is_seen_once_an_epoch():
    seen = torch.cat([batch_indices(0, step, 7, 50) for step in range(50)])  # seven epochs of fifty
    for epoch in seen.split(50):
        assert sorted(epoch.tolist()) == list(range(50))
    assert not torch.equal(seen[:50], seen[50:100])
    assert len(batch_indices(0, 3, 120, 50)) == 120, "a batch may be larger than the data"


def test_learning_rate_warms_up_and_ends_at_zero():
    spec = dataclasses.replace(tiny_recipe("ddpm").training, learning_rate=1.0, warmup_steps=10)
    for schedule in ("linear", "cosine"):
        rates = [learning_rate(dataclasses.replace(spec, schedule=schedule), s, 100) for s in range(101)]
        assert rates[0] < 0.11 and max(rates) > 0.9 and rates[100] == pytest.approx(0, abs=1e-9)
        assert all(a >= b for a, b in itertools.pairwise(rates[10:]))
    assert learning_rate(dataclasses.replace(spec, schedule="constant"), 99, 100) == 1


def test_data_from_a_folder_in_the_hubs_layout_and_from_npz(tmp_path):
    import datasets

    images = ((pictures(6) + 1) * 127.5).to(torch.uint8).permute(0, 2, 3, 1).numpy()
    from PIL import Image

    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    rows = {"image": [Image.fromarray(i[:, :, 0]) for i in images], "label": [0, 1, 0, 1, 0, 1]}
    folder = tmp_path / "little/data"
    folder.mkdir(parents=True)
    datasets.Dataset.from_dict(rows, features=features).to_parquet(folder / "train-00000-of-00001.parquet")
    spec = dataclasses.replace(tiny_recipe("ddpm").data, horizontal_flip=False)
    from_folder = load_images(spec, "train", tmp_path / "little")
    assert from_folder.id2label == {"0": "a", "1": "b"} and from_folder.labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert np.array_equal(from_folder.images.permute(0, 2, 3, 1).numpy(), images)

    np.savez(tmp_path / "d.npz", train_images=images, train_labels=[0, 1, 0, 1, 0, 1], label_names=["a", "b"])
    from_npz = load_images(spec, "train", tmp_path / "d.npz")
    assert torch.equal(from_npz.images, from_folder.images) and from_npz.id2label == from_folder.id2label
    batch = from_npz.batch(torch.tensor([1, 3]))
    assert batch["images"].min() >= -1 and batch["images"].max() <= 1 and batch["class_labels"].tolist() == [1, 1]

    for override, says in ((tmp_path / "nowhere", "no such folder"), (tmp_path / "d.npz", "no array test_images")):
        with pytest.raises(DataError, match=says):
            load_images(spec, "test" if "npz" in str(override) else "train", override)
    with pytest.raises(DataError, match="the recipe asks"):
        load_images(dataclasses.replace(spec, sample_size=32), "train", tmp_path / "d.npz")
    with pytest.raises(DataError, match="no column"):
        load_images(dataclasses.replace(spec, label_column="style"), "train", tmp_path / "little")
