"""Figures of style swaps: each against a known answer, and an evaluation from data to card."""

import json

import numpy as np
import pytest
import torch
from conftest import build_tiny
from huggingface_hub import ModelCard
from PIL import Image

from genarium.catalogue import find_checkpoints
from genarium.checkpoints import Checkpoint
from genarium.data.images import load_images
from genarium.data.pairs import Pairs
from genarium.errors import GenariumError
from genarium.evaluation.evaluate import evaluate
from genarium.evaluation.figure import lacking, measurable
from genarium.families import discover
from genarium.recipe import DataSpec, EvaluationSpec, PairSpec, Recipe, TrainingSpec, find_recipe
from genarium.runtime import Runtime
from genarium.tasks.swap_style.figures.classifier import StyleClassifier, train_classifier
from genarium.tasks.swap_style.figures.images import choose_swaps, feature_distance, found_among, pixel_distance

SIZE = 16
STYLES = ("dark", "bright", "blue")
FAMILY = discover(installed=False)["style-ae"]
SPEC = DataSpec(
    name="someone/blots",
    sample_size=SIZE,
    channels=3,
    label_column=None,
    conditions={"style": "style"},
    pairs=PairSpec(same="blot", differ="style"),
)


def blots(number: int, seed: int) -> np.ndarray:
    """Random blots in three styles, all of one after the other: uint8 [3 number, SIZE, SIZE, 3]."""
    noise = torch.randn(number, 1, 4, 4, generator=torch.Generator().manual_seed(seed))
    inked = torch.nn.functional.interpolate(noise, size=SIZE, mode="bilinear") > 0.2
    ink, paper = ([20, 20, 20], [200, 250, 200], [20, 20, 230]), ([255, 255, 255], [60, 0, 0], [255, 255, 255])
    drawn = [
        torch.where(inked, torch.tensor(i)[:, None, None], torch.tensor(p)[:, None, None]) for i, p in zip(ink, paper)
    ]
    return torch.cat(drawn).to(torch.uint8).permute(0, 2, 3, 1).numpy()


@pytest.fixture(scope="module")
def data_file(tmp_path_factory):
    arrays = {"style_names": np.array(STYLES)}
    for split, number, seed in (("train", 110, 0), ("test", 12, 1)):
        arrays[f"{split}_images"] = blots(number, seed)
        arrays[f"{split}_style"] = np.repeat(np.arange(3), number)
        arrays[f"{split}_blot"] = np.tile([f"{split} {i}" for i in range(number)], 3)
    path = tmp_path_factory.mktemp("blots") / "blots.npz"
    np.savez(path, **arrays)
    return path


class Pixels(torch.nn.Module):
    """Features: the picture itself, smaller."""

    name, title, num_features = "pixels", "the picture in 8x8", 192

    def forward(self, images):
        return torch.nn.functional.avg_pool2d(images.float(), 2).flatten(1)


# ---- the figures ----


def test_the_classifier_tells_styles_of_new_contents_and_is_the_same_each_time(data_file):
    train, test = (load_images(SPEC, split, data_file) for split in ("train", "test"))
    classifier = train_classifier(train, epochs=8)
    assert classifier.accuracy(test.images, test.pairs.styles) == 1.0
    assert classifier.accuracy(test.images, (test.pairs.styles + 1) % 3) == 0.0
    again = train_classifier(train, epochs=8)
    assert all(torch.equal(a, b) for a, b in zip(classifier.state_dict().values(), again.state_dict().values()))
    other = train_classifier(train, epochs=1, seed=1)
    assert isinstance(other, StyleClassifier) and not torch.equal(other.head.weight, classifier.head.weight)


def test_the_true_drawing_is_ranked_among_others_of_its_style():
    generator = torch.Generator().manual_seed(0)
    others, other_styles = torch.randn(60, 8, generator=generator), torch.arange(60) % 2
    others[other_styles == 1] += 100  # what a style has in common is to tell nothing
    styles = torch.tensor([0, 1, 0, 1])
    targets = torch.randn(4, 8, generator=generator) + 100 * styles[:, None]
    arguments = (targets, styles, others, other_styles, 0, 20)
    assert found_among(targets, *arguments).tolist() == [0, 0, 0, 0]
    nearly = targets + 0.01 * torch.randn(4, 8, generator=generator)
    assert found_among(nearly, *arguments).tolist() == [0, 0, 0, 0]
    centre = torch.stack([others[other_styles == style].mean(0) for style in styles])
    assert found_among(2 * centre - targets, *arguments).tolist() == [19] * 4, "the opposite comes last"
    wild = torch.randn(400, 8, generator=generator)
    ranks = found_among(wild, torch.randn(400, 8, generator=generator), torch.zeros(400), others, other_styles, 0, 20)
    assert abs((ranks < 5).float().mean().item() - 5 / 20) < 0.1, "chance"
    with pytest.raises(GenariumError, match="needs 99 other drawings"):
        found_among(targets, targets, styles, others, other_styles, 0)


def test_distances_of_known_pictures():
    a = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    assert pixel_distance(a, a) == 0 and pixel_distance(a, a + 51) == pytest.approx(0.2)
    x, y = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([[2.0, 0.0], [0.0, 3.0]])
    assert feature_distance(x, y) == pytest.approx(0.5)


def test_only_what_has_a_true_drawing_is_swapped():
    pairs = Pairs(torch.tensor([0, 0, 1, 2, 2]), torch.tensor([0, 1, 0, 1, 0]))
    swaps = choose_swaps(pairs, torch.tensor([4, 2, 0]), seed=3)
    assert swaps.contents.tolist() == [4, 0] and swaps.targets.tolist() == [3, 1]
    assert swaps.examples.tolist() == [1, 3], "the other content in that style"
    with pytest.raises(GenariumError, match="no swap to measure"):
        choose_swaps(pairs, torch.tensor([2]), seed=3)


def test_swaps_are_measured_where_the_data_have_pairs(tmp_path):
    checkpoint = Checkpoint("mine", FAMILY, tmp_path, {})
    assert "swap_style" in measurable(checkpoint, find_recipe("style-emoji"))
    assert "swap_style" not in measurable(checkpoint, find_recipe("vae-fashion-mnist"))
    assert "swap_style" not in measurable(checkpoint, None) and "anomaly" in measurable(checkpoint, None)


# ---- from data to card ----


@pytest.fixture
def mine(house, data_file, monkeypatch):
    """(runtime, recipe) of an untrained checkpoint `mine` with measured designers."""
    conditions = {"style": dict(zip("012", STYLES))}
    pipeline = build_tiny(FAMILY, sample_size=SIZE, channels=3, id2label=None, conditions=conditions)
    pipeline.fit(load_images(SPEC, "train", data_file).batches(100))
    pipeline.save_pretrained(house / "checkpoints/mine")
    recipe = Recipe(
        name="mine",
        family="style-ae",
        repo_id="someone/mine",
        data=SPEC,
        architecture={},
        training=TrainingSpec(images=10),
        evaluation=EvaluationSpec(num_test_images=36, seed=3),
    )
    return Runtime(find_checkpoints(discover(installed=False)), "cpu", torch.float32), recipe


def oracle(path):
    """Looks the true drawing up: by name, or in the style of the example."""
    with np.load(path) as arrays:
        images = arrays["test_images"]

    def row(image) -> int:
        return next(i for i, other in enumerate(images) if np.array_equal(image, other))

    def swap(content, style, generator, output_type, designer, strength):
        assert len(generator) == len(content) and output_type == "pt" and strength == 1.0
        if style is None:
            wanted = [STYLES.index(designer)] * len(content)
        else:
            assert designer == "any"
            wanted = [row(image) // 12 for image in style]
        true = [images[row(image) % 12 + 12 * number] for image, number in zip(content, wanted, strict=True)]
        pixels = torch.from_numpy(np.stack(true)).permute(0, 3, 1, 2).float() / 255
        return type("Output", (), {"images": pixels})

    return swap


def test_a_perfect_swap_has_perfect_figures_and_the_source_its_own(mine, data_file, monkeypatch):
    runtime, recipe = mine
    monkeypatch.setattr(runtime.pipeline("mine"), "swap_style", oracle(data_file), raising=False)
    result = evaluate(
        "mine", runtime, recipe, data_file, features=Pixels(), parts=["swap_style"], batch_size=16, card=False
    )
    figures = {(m["name"], m.get("how")): m for m in result["metrics"]}
    for how in ("an example", "name"):
        assert figures["style_accuracy", how]["value"] > 0.9  # the judge, after a short training, is not perfect
        assert figures["content_top1", how]["value"] == figures["content_top5", how]["value"] == 1.0
        assert figures["pixel_distance", how]["value"] == 0
        assert figures["feature_distance", how]["value"] == pytest.approx(0, abs=1e-9)
    real = figures["style_accuracy_of_real", None]
    assert real["value"] > 0.9 and real["n"] == 36
    source = {name: m["value"] for (name, how), m in figures.items() if how == "source"}
    assert source["style_accuracy_of_source"] < 0.1
    assert source["pixel_distance_of_source"] > 0.1 and source["feature_distance_of_source"] > 0.01
    assert all(m["n"] == 36 and m["seed"] == 3 for m in result["metrics"])
    assert "chance is 0.05" in figures["content_top5", "name"]["protocol"]
    assert "none of these contents was in the training data" in figures["content_top1", "an example"]["protocol"]


def test_an_untrained_checkpoint_is_measured_and_its_card_tells_how_to_swap(mine, data_file):
    runtime, recipe = mine
    folder = runtime.catalogue["mine"].folder
    assert lacking(runtime.catalogue["mine"]) == [
        "reconstruction",
        "anomaly",
        "explore",
    ]  # without recipe nobody knows of pairs
    evaluate("mine", runtime, recipe, data_file, features=Pixels(), parts=["swap_style", "reconstruction"])
    metrics = json.loads((folder / "evaluation.json").read_text())["metrics"]
    figures = {(m["name"], m.get("how")): m["value"] for m in metrics}
    assert figures["pixel_distance", "an example"] > 0.05 and figures["style_accuracy", "name"] < 0.9
    card = ModelCard.load(folder / "README.md")
    assert card.data.pipeline_tag == "image-to-image" and "style-transfer" in card.data.tags
    assert 'pipe.swap_style(content, designer="dark")' in card.text and "batch_size=10" not in card.text
    assert "genarium generate" not in card.text and "{{" not in card.text and "(swaps.png)" in card.text
    sheet = Image.open(folder / "swaps.png")
    assert abs(sheet.width / sheet.height - 4 / 8) < 0.1, "eight contents, each and its three drawings"
