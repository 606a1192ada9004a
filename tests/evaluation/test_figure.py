"""What tasks declare about their evaluation: keys, words and settings of figures, and a task from another package."""

import dataclasses
import importlib.metadata
import json
import shutil
import sys

import pytest
import torch
from conftest import pictures

from genarium.card.part import card_parts
from genarium.card.render import in_words
from genarium.catalogue import find_checkpoints
from genarium.checkpoints import MODEL_INDEX, load_pipeline, open_checkpoint
from genarium.data.images import ImageData
from genarium.errors import GenariumError, NotMeasurableError, PluginError, RecipeError
from genarium.evaluation import figure
from genarium.evaluation.evaluate import evaluate
from genarium.evaluation.figure import Figure, figure_of, measurable, parts_of, protocol_in_words, settings_of
from genarium.evaluation.table import write_table
from genarium.families import discover
from genarium.hub import bare, proof
from genarium.recipe import DataSpec, EvaluationSpec, Recipe, TrainingSpec, find_recipe
from genarium.runtime import Runtime
from genarium.tasks import discovery, find_tasks
from genarium.tasks.anomaly.quantiles import quantiles_key, stored_quantiles

MODALITIES = ("image", "audio")


@pytest.mark.parametrize("modality", MODALITIES)
def test_every_part_says_how_each_of_its_figures_is_called_and_measured(modality):
    for part in parts_of(modality).values():
        names = [f.name for f in part.figures]
        assert len(set(names)) == len(names) > 0
        for f in part.figures:
            assert f.title and "told" not in f"{f.title} {f.protocol}" and "{}" not in f.protocol
            assert figure_of(modality, {"part": part.name, "name": f.name}) is f
    assert figure_of("image", {"name": "psnr"}).title == "Reconstruction PSNR", "without a part, by its name"


def test_a_title_has_the_variant_in_brackets_and_a_default_goes_without_saying():
    f = Figure("auroc", "AUROC", "", variant="{against}, {score}")
    assert f.title_of({"against": "noise", "score": "elbo"}) == "AUROC (noise, elbo)"
    assert f.title_of({"against": "noise", "score": "default"}) == "AUROC (noise)"
    assert f.title_of({}) == "AUROC"


def test_a_figure_that_no_installed_task_declares_is_called_by_its_key():
    metric = {"part": "taste", "name": "sweetness", "value": 1.23456, "protocol": "by a | bee", "unit": "g"}
    words = in_words("image", metric)
    assert (words["title"], words["shown"], words["protocol"]) == ("sweetness", "1.235 g", "by a / bee")


def test_protocols_of_earlier_versions_are_shown_in_the_words_of_today():
    earlier = (
        "the model being told of each that it is of the class, image i with seed 0 + i, score elbo; 1 is perfect",
        "real images of x test whose style is told right by a small convolutional network that learnt x train",
        "style by name, designer any; told by a small convolutional network that learnt x train for 12 epochs",
    )
    for protocol in earlier:
        assert "told" not in protocol_in_words(protocol) and "learnt" not in protocol_in_words(protocol)
    for modality in MODALITIES:
        for part in parts_of(modality).values():
            for f in part.figures:
                assert protocol_in_words(f.protocol) == f.protocol, "the words of today stay"


def test_settings_are_read_from_protocols_of_any_figure():
    protocol = (
        "500 samples, sample i with seed 0 + i, classes in turn, style any, sampler heun, snr 0.16, dequantize True, against 9 "
        "images of x test; features: EfficientNet-Lite0, ImageNet, 1280 features, 112 px; k = 3"
    )
    assert settings_of(protocol) == {"style": "any", "sampler": "heun", "snr": "0.16", "dequantize": "True"}
    assert settings_of("mean over 3 images of x test, 8-bit, no labels given, no parameters") == {}


def test_two_tasks_cannot_share_the_name_of_a_part(monkeypatch):
    part = next(iter(parts_of("image").values()))
    module = type("Module", (), {"PARTS": (part, dataclasses.replace(part))})
    task = type("Task", (), {"name": "twice", "part": lambda self, name: module})
    monkeypatch.setattr(figure, "find_tasks", lambda: {"twice": task()})
    with pytest.raises(PluginError, match="another task has a part 'distance'"):
        parts_of("image")


# ---- quantiles of checkpoints from earlier versions ----


@pytest.mark.parametrize("key", ["elbo, class told", "elbo, class given"])
def test_quantiles_of_scores_given_a_class_are_found_under_the_key_of_each_version(
    tiny_checkpoints, families, tmp_path, key
):
    index = json.loads((tiny_checkpoints / "tiny-vae" / MODEL_INDEX).read_text())
    index["anomaly_quantiles"] = {"elbo": [0.0, 1.0], key: [2.0, 3.0]}
    (tmp_path / MODEL_INDEX).write_text(json.dumps(index))
    checkpoint = open_checkpoint(tmp_path, families)
    assert stored_quantiles(checkpoint, {"score": "elbo"}) == [0.0, 1.0]
    assert stored_quantiles(checkpoint, {"score": "elbo"}, class_given=True) == [2.0, 3.0]
    assert stored_quantiles(checkpoint, {"score": "reconstruction"}, class_given=True) is None
    assert quantiles_key("elbo", class_given=True) == "elbo, class given"


# ---- a task from another package ----

TASK = """
from genarium.tasks import Task

TASK = Task("mirror", method="reconstruct", inputs=("images",), order=90)
"""
FIGURES = """
from genarium.errors import NotMeasurableError
from genarium.evaluation.figure import Column, Figure, Part

ERROR = Figure("mirror_error", "Error of mirror images", "mean over {n} images of {test}", unit="%")


def measure(evaluation):
    images = evaluation.test_images(5)
    if evaluation.num_test == 4:
        raise NotMeasurableError("there is no mirror")
    return [evaluation.metric(ERROR, 12.5, len(images), {"test": evaluation.test_name})]


COLUMN = Column("mirror", lambda measured: measured.show("{:.1f} %", "mirror_error"), "how wrong the mirror is.")
PARTS = (Part("mirror", "image", "reconstruct", (ERROR,), measure, columns=(COLUMN,)),)
"""
CARD = """
from genarium.card.part import CardPart, picture, save_sheet


def draw(evaluation):
    (one,) = evaluation.test_pictures(1)
    save_sheet(one, evaluation.checkpoint.folder / "mirror.png")


PARTS = (CardPart("image", picture("mirror.png", "Mirror", "Looking back."), "Mirrors", draw),)
"""
PROOF = """
from genarium.hub.proof_call import Proof

PROOF = Proof(("images",), lambda number: {"output_type": "np"})
"""


@pytest.fixture
def sixth_task(tmp_path, monkeypatch):
    """A package `mirror_task` that offers the task `mirror`, installed for one test."""
    package = tmp_path / "mirror_task"
    package.mkdir()
    files = {"__init__": "", "task": TASK, "figures": FIGURES, "card": CARD, "proof": PROOF}
    for name, text in files.items():
        (package / f"{name}.py").write_text(text)
    point = importlib.metadata.EntryPoint("mirror", "mirror_task", discovery.ENTRY_POINT_GROUP)
    installed = discovery.entry_points
    monkeypatch.setattr(discovery, "entry_points", lambda group: [*installed(group=group), point])
    monkeypatch.syspath_prepend(tmp_path)
    find_tasks.cache_clear()
    yield
    find_tasks.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "mirror_task"]:
        del sys.modules[name]


def recipe_of(name, family="vae"):
    return Recipe(
        name=name,
        family=family,
        repo_id=f"someone/{name}",
        data=DataSpec(name="someone/pictures", sample_size=28, channels=1),
        architecture={},
        training=TrainingSpec(images=10),
        evaluation=EvaluationSpec(num_test_images=6),
    )


RECIPE = """
name: tiny-vae
family: vae
repo_id: someone/tiny-vae
data: {name: someone/pictures, sample_size: 28, channels: 1}
architecture: {}
training: {images: 10}
"""


def test_a_task_from_another_package_brings_figures_card_column_and_proof(
    sixth_task, house, tiny_checkpoints, tmp_path
):
    shutil.copytree(tiny_checkpoints / "tiny-vae", house / "checkpoints/tiny-vae")
    (house / "hub_configs/tiny-vae.yaml").write_text(RECIPE)
    runtime = Runtime(find_checkpoints(discover(installed=False)), "cpu", torch.float32)
    test = ImageData(((pictures(8) / 2 + 0.5) * 255).round().to(torch.uint8), None, None)
    assert "mirror" in measurable(runtime.catalogue["tiny-vae"], None)
    result = evaluate("tiny-vae", runtime, recipe_of("tiny-vae"), parts=["mirror"], test=test)
    (metric,) = result["metrics"]
    expected = {"part": "mirror", "name": "mirror_error", "value": 12.5, "n": 5, "seed": 0, "unit": "%"}
    assert metric == {**expected, "protocol": "mean over 5 images of someone/pictures test"}

    card = (house / "checkpoints/tiny-vae/README.md").read_text()
    assert "| Error of mirror images | 12.5 % | 5 | mean over 5 images of someone/pictures test |" in card
    assert "## Mirrors\n\nLooking back.\n\n![Mirror](mirror.png)" in card
    assert (house / "checkpoints/tiny-vae/mirror.png").exists()

    assert write_table(runtime, tmp_path / "families.md") == 1
    text = (tmp_path / "families.md").read_text()
    assert "| 12.5 % |" in text and "- *mirror*: how wrong the mirror is." in text
    assert "| pictures | mirror | Error of mirror images | mean over *n* images of *test* |" in text

    checkpoint = runtime.catalogue["tiny-vae"]
    call = proof.task_call(checkpoint, "mirror")
    assert call is not None and (call["method"], call["outputs"]) == ("reconstruct", ("images",))
    pipeline = load_pipeline(checkpoint)
    images = bare.compute(pipeline, {"seeds": proof.SEEDS, "tasks": [call]}, proof.MATERIAL["image"](pipeline))
    assert images["mirror"].shape == (2, 28, 28, 1)
    other = bare.compute(
        pipeline,
        {"seeds": proof.SEEDS, "tasks": [{**call, "outputs": ("smells",)}]},
        proof.MATERIAL["image"](pipeline),
    )
    assert other == {}, "what has no output to compare is left out"


def test_a_task_without_proof_has_its_method_compared(tiny_checkpoints, families, monkeypatch):
    checkpoint = open_checkpoint(tiny_checkpoints / "tiny-vae", families)
    monkeypatch.setattr(type(checkpoint.tasks["anomaly"]), "part", lambda task, name: None)
    call = proof.task_call(checkpoint, "anomaly")
    assert call is not None and call["method"] == "anomaly_score" and "scores" in call["outputs"]


def test_what_a_task_cannot_measure_is_skipped_with_the_reason_and_measured_later(
    sixth_task, tiny_checkpoints, tmp_path
):
    folder = tmp_path / "mine"
    shutil.copytree(tiny_checkpoints / "tiny-vae", folder)
    test = ImageData(((pictures(8) / 2 + 0.5) * 255).round().to(torch.uint8), None, None)
    options = {"recipe": recipe_of("mine"), "test": test, "card": False}
    result = evaluate(str(folder), Runtime(), parts=["mirror", "reconstruction"], num_test_images=4, **options)
    assert result["skipped"] == {"mirror": "there is no mirror"}
    assert {m["part"] for m in result["metrics"]} == {"reconstruction"}
    result = evaluate(str(folder), Runtime(), parts=["reconstruction"], **options)
    assert result["skipped"] == {"mirror": "there is no mirror"}, "what was not tried again is still said"
    result = evaluate(str(folder), Runtime(), parts=["mirror"], **options)
    assert result["skipped"] == {} and [m["name"] for m in result["metrics"]] == ["psnr", "ssim", "mirror_error"]


def test_figures_of_a_package_that_is_gone_are_kept(tiny_checkpoints, tmp_path):
    folder = tmp_path / "mine"
    shutil.copytree(tiny_checkpoints / "tiny-vae", folder)
    mirror = {"part": "mirror", "name": "mirror_error", "value": 1, "n": 1, "seed": 0, "protocol": "by eye"}
    (folder / "evaluation.json").write_text(json.dumps({"metrics": [mirror]}))
    test = ImageData(((pictures(8) / 2 + 0.5) * 255).round().to(torch.uint8), None, None)
    result = evaluate(str(folder), Runtime(), recipe_of("mine"), parts=["reconstruction"], test=test)
    assert result["metrics"][0] == mirror and result["metrics"][1]["name"] == "psnr"
    assert "| mirror_error | 1 | 1 | by eye |" in (folder / "README.md").read_text()


# ---- one driver for all modalities ----


def test_data_of_another_kind_are_refused_in_both_directions(tiny_checkpoints, families):
    for name, other in (("tiny-vae", "voice-vae"), ("tiny-voice-vae", "vae-fashion-mnist")):
        if not (tiny_checkpoints / name).exists():
            continue
        with pytest.raises(RecipeError, match="are of another kind"):
            evaluate(str(tiny_checkpoints / name), Runtime(), find_recipe(other))


def test_errors_of_evaluations_are_genariums():
    assert issubclass(NotMeasurableError, GenariumError)


def test_each_task_of_a_checkpoint_contributes_to_its_card(tiny_checkpoints, families):
    checkpoint = open_checkpoint(tiny_checkpoints / "tiny-vae", families)
    headings = [part.heading for part in card_parts(checkpoint)]
    assert headings[:4] == ["", "Receptive fields", "Reconstructions", "Codebook"]
    assert headings[4:] == ["Dictionary", "Interpolations", "Heat maps"]
