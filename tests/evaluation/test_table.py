"""The known-answer table: figures as evaluation.json has them, and only what is lacking is measured."""

import json

import numpy as np
import pytest
from conftest import ID2LABEL, build_tiny
from torch import nn
from typer.testing import CliRunner

import genarium.recipe
from genarium.catalogue import find_checkpoints
from genarium.cli import app
from genarium.evaluation.figure import lacking
from genarium.evaluation.table import images_seen, write_table
from genarium.families import discover
from genarium.runtime import Runtime

RECIPE = """
name: {name}
family: {family}
repo_id: a/{name}
data: {{name: a/{data}, sample_size: 28, channels: 1}}
architecture: {{}}
training: {{images: 2500}}
card: {{time: "3 minutes alone, 2500 images"}}
evaluation: {{num_samples: 8, num_test_images: 8}}
"""


class FourMeans(nn.Module):
    """A second judge of no weight: means of the four quarters."""

    name, title, num_features = "four-means", "four means", 4

    def forward(self, images):
        return nn.functional.adaptive_avg_pool2d(images.float(), 2).mean(1).flatten(1) / 255


def metric(part, name, value, **more):
    return {
        "part": part,
        "name": name,
        "value": value,
        "n": 8,
        "seed": 0,
        "protocol": f"how of {name}, method ode, no labels given; strength 0.5",
        **more,
    }


def figures(distance, score):
    return [
        metric("distance", "frechet_distance", distance, features="efficientnet-lite0"),
        metric("distance", "precision", 0.25, features="efficientnet-lite0"),
        metric("distance", "frechet_distance_of_real", 41.2, features="efficientnet-lite0"),
        metric("reconstruction", "psnr", 23.456),
        metric("anomaly", "auroc_one_class", 0.75, score=score),
        metric("anomaly", "auroc_other_data", 0.5, score="other"),
        metric("anomaly", "auroc_other_data", 0.9876, score=score),
        metric("speed", "seconds_per_image", 0.125),
    ]


@pytest.fixture
def runtime(house):
    for name, family, data, metrics in (
        ("one", "vae", "clothes", figures(200.0, "elbo")),
        ("two", "ddpm", "clothes", figures(100.0, "default")),
        ("three", "vae", "digits", [metric("speed", "network_evaluations", 3)]),
        ("four", "vae", "clothes", []),
    ):
        folder = house / "checkpoints" / name
        build_tiny(discover(installed=False)[family], id2label=ID2LABEL).save_pretrained(folder)
        (house / "hub_configs" / f"{name}.yaml").write_text(RECIPE.format(name=name, family=family, data=data))
        if metrics:
            (folder / "evaluation.json").write_text(json.dumps({"metrics": metrics}))
    return Runtime(find_checkpoints(discover(installed=False)), device="cpu")


def cells(text, title):
    """The rows of a table, with that of the headings, as lists of cells."""
    lines = text.split(f"## {title}\n")[1].split("\n## ")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]


def table(text, data):
    """Checkpoint -> {column: cell}, in the order of the rows."""
    columns, *rows = cells(text, data)
    return {row[0]: dict(zip(columns, row, strict=True)) for row in rows}


def test_the_figures_are_those_of_the_files(runtime, tmp_path):
    path = tmp_path / "new/families.md"
    assert write_table(runtime, path) == 3, "what has no figures has no row"
    clothes = table(path.read_text(), "a/clothes")
    assert list(clothes) == ["`two`", "`one`"], "the best comes first"
    one, two = clothes["`one`"], clothes["`two`"]
    assert one["Fréchet distance"] == "200" and one["precision"] == "0.25" and one["recall"] == "–"
    assert one["reconstruction"] == "23.5 dB" and one["16 images"] == "2 s" and one["bits/dim"] == "–"
    assert one["AUROC, other data"] == two["AUROC, other data"] == "0.988", "of the default score"
    assert one["AUROC, one class"] == "0.750"
    assert one["training time"] == "3 minutes alone" and one["images seen"] == "2 k"
    unet = runtime.pipeline("two").unet
    assert two["parameters"] == f"{sum(p.numel() for p in unet.parameters()) / 1e6:.2f} M"
    assert two["network evaluations"] == "24" and one["network evaluations"] == "–", "counted where no file says it"
    assert table(path.read_text(), "a/digits")["`three`"]["network evaluations"] == "3"
    assert "get a Fréchet distance of 41" in path.read_text()


def test_a_likelihood_is_marked_by_its_kind(runtime, house, tmp_path):
    kinds = {"one": {"kind": "exact"}, "two": {}, "three": {}}  # the last two are older than the mark
    for name, more in kinds.items():
        found = [metric("likelihood", "bits_per_dim", 3.104, **more)]
        (house / "checkpoints" / name / "evaluation.json").write_text(json.dumps({"metrics": found}))
    path = tmp_path / "families.md"
    write_table(Runtime(find_checkpoints(discover(installed=False)), device="cpu"), path)
    clothes, digits = table(path.read_text(), "a/clothes"), table(path.read_text(), "a/digits")
    assert clothes["`one`"]["bits/dim"] == "3.10 (exact)", "what was written down with the figure"
    assert digits["`three`"]["bits/dim"] == "3.10 (bound)", "otherwise what the family declares: an ELBO"
    assert clothes["`two`"]["bits/dim"] == "3.10", "no mark where the family declares none"


def test_each_protocol_stands_once_and_settings_once_for_each_checkpoint(runtime, tmp_path):
    path = tmp_path / "families.md"
    write_table(runtime, path)
    text = path.read_text()
    (_, *protocols), settings = cells(text, "How each figure is measured"), table(text, "Settings, pictures")
    figures = [title for row in protocols for title in row[2].split("; ")]
    assert len(figures) == len(set(figures)) == 8
    (psnr,) = [row for row in protocols if "Reconstruction PSNR" in row[2]]
    assert psnr[:2] == ["pictures", "reconstruction"]
    assert psnr[3] == "mean over *n* images of *test*, 8-bit, no labels given, *settings*"
    assert "Reconstruction SSIM" not in text, "what no checkpoint has is left out"
    assert list(settings) == ["`one`", "`three`", "`two`"]
    assert settings["`one`"]["reconstruction"] == "n = 8, method ode, strength 0.5"
    assert "likelihood" not in settings["`one`"], "no checkpoint was measured by that part"


def test_swaps_and_voices_have_tables_of_their_own(house, tmp_path):
    swaps = [
        metric("swap_style", "style_accuracy_of_real", 0.97),
        metric("swap_style", "style_accuracy", 0.91, how="an example"),
        metric("swap_style", "style_accuracy", 0.94, how="name"),
        metric("swap_style", "style_accuracy_of_source", 0.05, how="source"),
        metric("swap_style", "content_top1", 0.5, how="name"),
    ]
    voices = [
        metric("similarity", "target_beats_source", 0.955, speakers="known"),
        metric("similarity", "target_beats_source", 0.9, speakers="unseen"),
        metric("distortion", "mel_cepstral_distortion", 6.04),
        metric("speed", "real_time_factor", 0.051),
    ]
    recipe = """
name: voices
family: voice-vae
repo_id: a/voices
data: {kind: audio, names: [a/speech], sampling_rate: 16000, crop_seconds: 1, conditions: {speaker: speaker}}
architecture: {}
training: {stages: [{name: vocoder, images: 3000}, {name: autoencoder, images: 1000}]}
card: {time: 3 minutes}
"""
    for name, family, metrics, text in (
        ("drawings", "style-ae", swaps, RECIPE.format(name="drawings", family="style-ae", data="emoji")),
        ("voices", "voice-vae", voices, recipe),
    ):
        folder = house / "checkpoints" / name
        build_tiny(discover(installed=False)[family]).save_pretrained(folder)
        (folder / "evaluation.json").write_text(json.dumps({"metrics": metrics}))
        (house / f"hub_configs/{name}.yaml").write_text(text)
    path = tmp_path / "families.md"
    assert write_table(Runtime(find_checkpoints(discover(installed=False)), device="cpu"), path) == 2
    columns, by_name, by_example = cells(path.read_text(), "Swapped styles")
    assert len(by_name) == len(columns)
    assert by_name[1:7] == ["name", "94%", "5%", "97%", "50%", "–"] and by_example[1:3] == ["an example", "91%"]
    columns, row = cells(path.read_text(), "Voices")
    known = columns.index("target nearer than source")
    assert row[known : known + 2] == ["96%", "90%"] and columns[known + 1] == "unseen speakers"
    row = dict(zip(columns, row, strict=True))
    assert (row["clips seen"], row["real-time factor"], row["mel-cepstral distortion"]) == ("4 k", "0.051", "6.0 dB")
    assert table(path.read_text(), "a/emoji")["`drawings`"]["Fréchet distance"] == "–"


def test_what_is_lacking_is_the_parts_without_figures(runtime):
    catalogue = runtime.catalogue
    assert lacking(catalogue["one"]) == ["second_judge", "nearness", "likelihood", "explore"]
    assert lacking(catalogue["two"]) == ["second_judge", "nearness", "explore"]
    assert sorted(lacking(catalogue["four"])) == [
        *("anomaly", "distance", "explore", "likelihood", "nearness", "reconstruction", "second_judge", "speed"),
    ]
    recipe = genarium.recipe.find_recipe("dit-fashion-mnist")
    assert images_seen(recipe) == sum(stage.images for stage in recipe.training.stages)


def test_all_measures_what_is_lacking_and_writes_the_table(runtime, house, monkeypatch):
    monkeypatch.setattr("genarium.tasks.generate.second_judge.EfficientNetLite2", FourMeans)
    for name in ("two", "three", "four"):
        (house / f"checkpoints/{name}/model_index.json").unlink()
    pixels = np.random.default_rng(0).integers(0, 256, (12, 28, 28, 1), np.uint8)
    (house / "data").mkdir()
    np.savez(house / "data/clothes.npz", test_images=pixels, train_images=pixels)
    monkeypatch.setenv("GENARIUM_DOCS", str(house / "docs"))
    run = CliRunner().invoke
    recipe = house / "hub_configs/one.yaml"
    recipe.write_text(recipe.read_text().replace("a/clothes", "a/clothes.npz"))
    monkeypatch.setenv("GENARIUM_DATA", str(house / "data"))
    result = run(app, ["evaluate", "--all", "--table", "--device", "cpu"])
    assert result.exit_code == 0, (result.output, result.exception)
    assert "0 of 1 checkpoints have all" in result.output and "bits_per_dim" in result.output
    row = table((house / "docs/families.md").read_text(), "a/clothes.npz")["`one`"]
    assert row["bits/dim"] != "–" and row["Fréchet distance"] == "200", "what was there is not measured anew"
    again = run(app, ["evaluate", "--all", "--device", "cpu"])
    assert "1 of 1 checkpoints have all" in again.output
    for wrong in (["evaluate"], ["evaluate", "one", "--all"], ["evaluate", "--all", "--only", "speed"]):
        assert run(app, wrong).exit_code == 2
