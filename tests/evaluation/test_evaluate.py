"""The measures against known answers, and an evaluation from data to card on a tiny model."""

import collections
import dataclasses
import inspect
import json
import math
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import pictures
from huggingface_hub import ModelCard
from PIL import Image
from torch import nn

from genarium.data.images import ImageData
from genarium.errors import CheckpointError, GenariumError, RecipeError
from genarium.evaluation.evaluate import evaluate
from genarium.evaluation.features import EfficientNetLite0, EfficientNetLite2, extract, load_network
from genarium.evaluation.measures import (
    area_under_roc,
    bits_per_dim,
    frechet_distance,
    precision_recall,
    reconstruction_quality,
)
from genarium.evaluation.quantiles import percentile
from genarium.files import write_json
from genarium.media.pictures import read_request
from genarium.parallel import map_batches
from genarium.recipe import DataSpec, EvaluationSpec, Recipe, TrainingSpec
from genarium.runtime import Runtime


def gaussian(number: int, mean: list[float], deviations: list[float], seed: int) -> torch.Tensor:
    """Points [number, D] whose sample mean and sample covariance are exactly these."""
    x = torch.randn(number, len(mean), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    x = x - x.mean(0)
    x = x @ torch.linalg.inv(torch.linalg.cholesky(x.T @ x / (number - 1))).T
    return x * torch.tensor(deviations, dtype=torch.float64) + torch.tensor(mean, dtype=torch.float64)


# ---- measures ----


def test_frechet_distance_of_known_gaussians():
    a, b = gaussian(200, [0, 0, 0], [1, 2, 3], 0), gaussian(300, [1, -2, 2], [2, 2, 1], 1)
    # axis-parallel Gaussians: |m - m'|^2 + sum (s - s')^2
    assert frechet_distance(a, b) == pytest.approx(9 + 1 + 0 + 4, rel=1e-6)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)
    # turning the space changes nothing, though the covariances then are no longer diagonal
    turn = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2)))[0]
    assert frechet_distance(a @ turn, b @ turn) == pytest.approx(14, rel=1e-6)
    with pytest.raises(GenariumError, match="at least 2"):
        frechet_distance(a[:1], b)


def test_precision_and_recall_of_points_on_a_line():
    real = torch.tensor([[0.0], [1.0], [2.0], [10.0]])  # distances to the nearest neighbour: 1, 1, 1, 8
    fake = torch.tensor([[0.5], [2.5], [30.0], [31.0]])  # 2, 2, 1, 1
    assert precision_recall(real, fake, k=1) == (0.5, 0.75)
    assert precision_recall(real, real, k=1) == (1.0, 1.0)
    assert precision_recall(real, real + 1000, k=1) == (0.0, 0.0)
    with pytest.raises(GenariumError, match="more than 3"):
        precision_recall(real[:3], fake)


def test_area_under_roc_counts_pairs_and_ties_at_any_scale():
    normal, strange = torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([3.0, 5.0, 6e5])
    assert area_under_roc(normal, strange) == pytest.approx((2.5 + 4 + 4) / 12)
    # a sigmoid in float32 would make all of these equal
    assert area_under_roc(normal * 1e4 - 9e6, strange * 1e4) == 1.0
    assert area_under_roc(strange + 1e6, normal) == 0.0


def test_bits_per_dim_of_the_uniform_density():
    nats = 784 * math.log(1 / 2)  # uniform on [-1, 1]^784
    assert bits_per_dim(nats, 784) == pytest.approx(math.log2(255))
    assert bits_per_dim(nats + 784 * math.log(2), 784) == pytest.approx(math.log2(255) - 1), "likelier is fewer bits"


def test_bits_per_dim_of_the_uniform_mass():
    assert bits_per_dim(784 * math.log(1 / 256), 784, "mass") == pytest.approx(8), (
        "256 equally likely levels are 8 bits"
    )
    with pytest.raises(ValueError, match="of: choose 'density' or 'mass'"):
        bits_per_dim(-100.0, 784, "binary")


def test_reconstruction_quality_of_a_known_error():
    images = torch.randint(20, 200, (3, 1, 28, 28), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    assert reconstruction_quality(images, images) == (100, pytest.approx(1))
    psnr, ssim = reconstruction_quality(images + 10, images)
    assert psnr == pytest.approx(20 * math.log10(255 / 10)) and 0.9 < ssim < 1


def test_percentile_reads_the_quantiles():
    quantiles = [float(i) for i in range(201)]
    assert [percentile(v, quantiles) for v in (-5, 0, 50, 199, 1000)] == [0, 0, 25, 99.5, 100]


def test_batches_come_back_in_order():
    seen = []
    assert map_batches(lambda a, b, advance: (advance(0.5), seen.append(a), (a, b))[-1], 7, 3, "x") == [
        (0, 3),
        (3, 6),
        (6, 7),
    ]
    assert seen == [0, 3, 6]


# ---- feature networks ----


def test_efficientnet_features_do_not_depend_on_the_batch():
    network = load_network("efficientnet-lite0")
    images = ((pictures(3) / 2 + 0.5) * 255).to(torch.uint8)  # grey [3, 1, 28, 28]
    features = extract(network, images)
    assert features.shape == (3, EfficientNetLite0.num_features) and features.dtype == torch.float32
    assert torch.allclose(features[1:2], extract(network, images[1:2].expand(-1, 3, -1, -1)), atol=1e-4)
    assert EfficientNetLite2.num_features == EfficientNetLite0.num_features and EfficientNetLite2.variant == 2
    assert features.std(0).max() > 0.05, "different images have different features"


def test_networks_that_cannot_be_had_are_refused_with_words():
    with pytest.raises(GenariumError, match="efficientnet-lite0 or efficientnet-lite2 or inception"):
        load_network("vgg")
    with pytest.raises(GenariumError, match="num_features"):
        load_network(nn.Identity())
    try:
        import torch_fidelity  # noqa: F401
    except ImportError:
        with pytest.raises(GenariumError, match="torch-fidelity"):
            load_network("inception")


# ---- the whole way ----


class FourNumbers(nn.Module):
    """A feature network of no weight: means of the four quarters."""

    num_features = 4
    name = "four-numbers"
    title = "means of four quarters"

    def forward(self, images):
        return nn.functional.adaptive_avg_pool2d(images.float(), 2).mean(1).flatten(1) / 255


def data_spec(name: str) -> DataSpec:
    return DataSpec(name=name, sample_size=28, channels=1)


@pytest.fixture
def mine(tiny_checkpoints, tmp_path, monkeypatch):
    """A copy of tiny-vae to be evaluated, with its recipe and test images; "digits" are 8 white squares."""
    monkeypatch.setattr("genarium.tasks.generate.second_judge.EfficientNetLite2", FourNumbers)
    folder = tmp_path / "mine"
    shutil.copytree(tiny_checkpoints / "tiny-vae", folder)
    squares = np.zeros((8, 28, 28, 1), np.uint8)
    squares[:, 4:24, 4:24] = 255
    np.savez(tmp_path / "digits.npz", test_images=squares)
    monkeypatch.setenv("GENARIUM_DATA", str(tmp_path))
    recipe = Recipe(
        name="mine",
        family="vae",
        repo_id="someone/mine",
        data=data_spec("someone/pictures"),
        architecture={},
        training=TrainingSpec(images=10),
        evaluation=EvaluationSpec(
            num_samples=12,
            num_test_images=10,
            seed=3,
            anomaly_data=data_spec("x/digits.npz"),
            likelihood={"num_samples": 2},
        ),
    )
    images = ((pictures(30) / 2 + 0.5) * 255).round().to(torch.uint8)
    return folder, recipe, ImageData(images, torch.arange(30) % 10, None)


def test_evaluate_writes_figures_quantiles_and_card(mine):
    folder, recipe, test = mine
    before = json.loads((folder / "model_index.json").read_text())
    cache = {}
    result = evaluate(
        str(folder), Runtime(), recipe, features=FourNumbers(), parameters={"temperature": 0.5}, test=test, cache=cache
    )
    assert result == json.loads((folder / "evaluation.json").read_text())
    metrics = {(m["name"], m.get("score")): m for m in result["metrics"]}
    assert {name for name, _ in metrics} == {
        *("second_frechet_distance", "second_frechet_distance_of_real"),
        *("frechet_distance", "frechet_distance_of_real", "precision", "recall", "psnr", "ssim", "log_likelihood"),
        *("bits_per_dim", "auroc_other_data", "auroc_noise", "auroc_one_class", "seconds_per_image", "map_share"),
    }
    assert all(np.isfinite(m["value"]) and m["n"] > 0 and m["seed"] == 3 and m["protocol"] for m in metrics.values())
    distance = metrics["frechet_distance", None]
    assert distance["n"] == 12 and distance["features"] == "four-numbers" and "temperature 0.5" in distance["protocol"]
    assert metrics["auroc_noise", "elbo"]["against"] == "uniform noise" and ("auroc_noise", "reconstruction") in metrics
    assert len(cache) == 1, "here both judges are one network"
    assert metrics["second_frechet_distance", None]["value"] == distance["value"]
    assert "second judge" in (folder / "README.md").read_text()

    index = json.loads((folder / "model_index.json").read_text())
    quantiles = index.pop("anomaly_quantiles")
    assert index == {k: v for k, v in before.items() if k != "anomaly_quantiles"}
    assert set(quantiles) == {"elbo", "elbo, class given", "reconstruction", "reconstruction, class given"}
    assert all(len(q) == 201 and q == sorted(q) for q in quantiles.values())

    card = ModelCard.load(folder / "README.md")
    assert card.data.library_name == "diffusers" and card.data.datasets == ["someone/pictures"]
    assert len(card.data.eval_results) == len(result["metrics"])
    assert "four-numbers" in card.text and "someone/mine" in card.text and "{{" not in card.text
    for name in ("samples", "reconstructions", "interpolations"):
        assert Image.open(folder / f"{name}.png").width > 100 and f"({name}.png)" in card.text
    assert read_request(folder / "samples.png")["checkpoint"] == "mine"
    assert str(folder.parent) not in card.content + json.dumps(result), "no paths of this machine"


def test_parts_are_measured_alone_and_the_rest_is_kept(mine):
    folder, recipe, test = mine
    runtime = Runtime()
    evaluate(str(folder), runtime, recipe, parts=["reconstruction"], test=test, card=False)
    result = evaluate(str(folder), runtime, recipe, parts=["speed"], card=False)
    assert [m["name"] for m in result["metrics"]] == ["psnr", "ssim", "seconds_per_image"]
    assert not (folder / "README.md").exists()


def test_the_same_seed_gives_the_same_figures_in_other_batches(mine):
    folder, recipe, test = mine
    options = {"parts": ["distance", "anomaly"], "features": FourNumbers(), "test": test, "card": False}
    first = evaluate(str(folder), Runtime(), recipe, batch_size=4, **options)
    second = evaluate(str(folder), Runtime(), recipe, batch_size=64, **options)
    for a, b in zip(first["metrics"], second["metrics"], strict=True):
        assert a["name"] == b["name"] and a["value"] == pytest.approx(b["value"], rel=1e-3, abs=1e-4)


def test_what_is_missing_is_said(mine, tmp_path):
    folder, recipe, test = mine
    with pytest.raises(RecipeError, match="no recipe"):
        evaluate(str(folder), Runtime())
    with pytest.raises(GenariumError, match="'taste'"):
        evaluate(str(folder), Runtime(), recipe, parts=["taste"], test=test)
    with pytest.raises(CheckpointError):
        evaluate("nothing-here", Runtime(), recipe)
    (tmp_path / "digits.npz").unlink()
    result = evaluate(str(folder), Runtime(), recipe, parts=["anomaly"], test=test, card=False)
    assert "auroc_other_data" in result["skipped"] and {m["name"] for m in result["metrics"]} == {
        "auroc_noise",
        "auroc_one_class",
    }


def test_one_class_is_separated_from_the_others_by_a_score_conditional_on_the_class(mine, monkeypatch):
    """Images of one brightness for each class, and a score that is how far an image is off its class's."""
    monkeypatch.setattr("genarium.tasks.anomaly.figures.FEW_IMAGES", 10)
    folder, recipe, _ = mine
    runtime = Runtime()
    labels = torch.arange(40) % 10
    images = (20 * labels + 5).to(torch.uint8)[:, None, None, None].expand(40, 1, 28, 28).contiguous()
    asked = []

    def score(images, generator=None, class_labels=None, score="elbo", callback_on_step_end=None, **others):
        callback_on_step_end(None, 0, 0, {"num_timesteps": 1})
        level = torch.from_numpy(images[:, 0, 0, 0].astype(np.float32))
        if class_labels is None:
            return SimpleNamespace(scores=level, maps=None, unit="levels")
        asked.extend(zip((level / 20).int().tolist(), class_labels, strict=True))
        off = (level - (20 * torch.tensor(class_labels) + 5)).abs()
        return SimpleNamespace(scores=off if score == "elbo" else level, maps=None, unit="levels")

    score.__signature__ = inspect.signature(type(runtime.pipeline(str(folder))).anomaly_score)
    monkeypatch.setattr(runtime.pipeline(str(folder)), "anomaly_score", score)
    recipe = dataclasses.replace(recipe, evaluation=dataclasses.replace(recipe.evaluation, num_test_images=30))
    test = ImageData(images, labels, None)
    result = evaluate(str(folder), runtime, recipe, parts=["anomaly"], test=test, card=False)
    values = {m["score"]: m for m in result["metrics"] if m["name"] == "auroc_one_class"}
    assert values["elbo"]["value"] == 1.0 and values["elbo"]["n"] == 60
    assert values["reconstruction"]["value"] < 0.8, "a score of its own opinion"
    pairs = collections.Counter(claimed for true, claimed in asked[:60] if true == claimed)
    assert pairs == dict.fromkeys(range(10), 3), "as many of each class"
    assert collections.Counter(claimed for true, claimed in asked[:60] if true != claimed) == dict.fromkeys(
        range(10), 3
    )
    quantiles = json.loads((folder / "model_index.json").read_text())["anomaly_quantiles"]
    assert quantiles["elbo, class given"] == [0.0] * 201 and quantiles["elbo"][-1] == 185
    evaluate(str(folder), runtime, recipe, parts=["anomaly"], test=ImageData(images, None, None), card=False)
    names = {m["name"] for m in json.loads((folder / "evaluation.json").read_text())["metrics"]}
    assert "auroc_one_class" not in names, "of data without classes"


def test_figures_that_are_no_numbers_are_not_written(tmp_path):
    write_json(tmp_path / "a.json", {"value": 1})
    with pytest.raises(GenariumError, match="finite"):
        write_json(tmp_path / "a.json", {"value": float("nan")})
    assert json.loads((tmp_path / "a.json").read_text()) == {"value": 1} and len(list(tmp_path.iterdir())) == 1
