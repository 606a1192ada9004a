"""Conditions beside the class, from a recipe's columns to the page, by a family that draws each style as a brightness."""

import asyncio
import dataclasses
import json
from typing import Annotated

import gradio as gr
import numpy as np
import PIL.Image
import pytest
import torch
from conftest import ID2LABEL, TINY
from diffusers import DiffusionPipeline
from tabs import build_tab
from typer.testing import CliRunner

from genarium.catalogue import find_checkpoints
from genarium.checkpoints import open_checkpoint
from genarium.cli import app
from genarium.data.images import ImageData, load_images
from genarium.errors import CheckpointError, DataError, InputError, RecipeError
from genarium.families import Family, discover
from genarium.media.pictures import read_request
from genarium.recipe import DataSpec, load_recipe
from genarium.runtime import Runtime
from genarium.runtime.program import to_python
from genarium.runtime.request import Request
from genarium.tasks import find_tasks
from genarium.tasks.endpoints import Call
from genarium.training.loop import train
from genarium.training.pipeline import build_pipeline
from genarium.ui.endpoints import _answer
from genarium.ui.files import keep_results
from pipelines.images import ImageFamilyMixin, task
from pipelines.modeling_vae import VAEModel

STYLES = {"0": "dark", "1": "grey", "2": "bright"}
Style = Annotated[str, {"choices_from": "style"}]
SPEC = DataSpec(name="a/b", sample_size=28, channels=1, conditions={"style": "drawn_by"})


class StyledPipeline(ImageFamilyMixin, DiffusionPipeline):
    """Style k of K is drawn as a grey of brightness k / (K - 1)."""

    def __init__(
        self,
        vae: VAEModel,
        sample_size: int | None = None,
        channels: int | None = None,
        id2label: dict | None = None,
        conditions: dict | None = None,
        defaults: dict | None = None,
    ):
        super().__init__()
        self.register_modules(vae=vae)
        size, channels = vae.config.sample_size, vae.config.channels
        self.register_to_config(
            sample_size=size, channels=channels, id2label=id2label, conditions=conditions, defaults=defaults
        )

    @classmethod
    def build(cls, sample_size, channels, id2label=None, conditions=None, defaults=None):
        vae = VAEModel(sample_size, channels, num_classes=len(id2label or ()), **TINY["vae"])
        return cls(vae, id2label=id2label, conditions=conditions, defaults=defaults)

    def loss(self, batch, generator=None, progress=1.0):
        reconstruction, kl = self.vae(batch["images"], batch["class_labels"], generator)
        return (reconstruction + kl).mean() / 784, {"style": batch["conditions"]["style"].float().mean()}

    @task
    def __call__(self, batch_size, generator, labels, report, style: Style = "any", brightness: float = 1.0):
        """Draw greys.

        Args:
            style: Whose drawing it is.
            brightness: A factor.
        """
        number = self._to_condition("style", style, batch_size, generator)
        number = torch.zeros(batch_size) if number is None else number
        grey = brightness * number.float() / (len(STYLES) - 1) * 2 - 1  # [N]
        x = grey[:, None, None, None].expand(batch_size, 1, 28, 28)
        report(0, 0, 1, x)
        return x


FAMILY = Family("styled", "Styled", StyledPipeline, {"en": "A test."})
PLUGIN = """
from test_conditions import FAMILY


def register(add):
    add(FAMILY)
"""


def brightness(images) -> list[float]:
    return [round(float(np.asarray(image).mean()) / 255, 1) for image in images]


def arrays(number=24):
    images = np.random.default_rng(0).integers(0, 256, (number, 28, 28, 1), np.uint8)
    values = {"train_images": images, "train_labels": np.arange(number) % 10, "train_style": np.arange(number) % 3}
    return values | {"label_names": list(ID2LABEL.values()), "style_names": list(STYLES.values())}


@pytest.fixture
def styled(house):
    """A house with the family, three checkpoints of it, and its runtime: with styles, with others, and without."""
    (house / "plugins/styled").mkdir()
    (house / "plugins/styled/plugin.py").write_text(PLUGIN)
    torch.manual_seed(0)
    for name, options in {
        "a-styled": {"conditions": {"style": STYLES}},
        "b-plain": {"defaults": {"generate": {"brightness": 0.5}}},
        "c-other": {"conditions": {"style": {"0": "thin", "1": "thick"}}, "defaults": {"generate": {"style": "thick"}}},
    }.items():
        StyledPipeline.build(28, 1, ID2LABEL, **options).save_pretrained(house / "checkpoints" / name)
    return Runtime(find_checkpoints(discover(installed=False)), device="cpu")


# ---- data ----


def test_columns_of_a_data_set(tmp_path):
    import datasets

    names = list(STYLES.values())
    half = PIL.Image.new("RGBA", (28, 28), (0, 0, 0, 0))  # all transparent, black below
    half.paste((255, 0, 0, 255), (0, 0, 14, 28))
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "label": datasets.Value("string"),
            "drawn_by": datasets.ClassLabel(names=names),
            "half": datasets.Value("float32"),
        }
    )
    rows = {"image": [half] * 3, "label": ["shoe", "bag", "shoe"], "drawn_by": [2, 0, 1], "half": [0.5] * 3}
    folder = tmp_path / "b/data"
    folder.mkdir(parents=True)
    datasets.Dataset.from_dict(rows, features=features).to_parquet(folder / "train-00000-of-00001.parquet")
    data = load_images(dataclasses.replace(SPEC, channels=3), "train", tmp_path / "b")
    assert data.conditions["style"].tolist() == [2, 0, 1] and data.condition_names == {"style": STYLES}
    assert data.labels.tolist() == [1, 0, 1] and data.id2label == {"0": "bag", "1": "shoe"}
    assert (data.images[0, :, 0, 20] == 255).all() and data.images[0, :, 0, 3].tolist() == [255, 0, 0], "white below"
    batch = data.batch(torch.tensor([2, 0]))
    assert batch["conditions"]["style"].tolist() == [1, 2]
    for column, says in (("absent", "no column absent"), ("half", "which is no label")):
        with pytest.raises(DataError, match=says):
            load_images(dataclasses.replace(SPEC, conditions={"style": column}), "train", tmp_path / "b")


def test_arrays_of_an_npz_file(tmp_path):
    path = tmp_path / "d.npz"
    np.savez(path, **arrays())
    data = load_images(SPEC, "train", path)
    assert data.conditions["style"][:4].tolist() == [0, 1, 2, 0] and data.condition_names == {"style": STYLES}
    plain = load_images(dataclasses.replace(SPEC, conditions={}), "train", path)
    assert "conditions" not in plain.batch(torch.arange(2))
    for missing in ("train_style", "style_names"):
        np.savez(path, **{k: v for k, v in arrays().items() if k != missing})
        with pytest.raises(DataError, match=missing):
            load_images(SPEC, "train", path)
    np.savez(path, **{**arrays(), "style_names": ["any", "b", "c"]})
    with pytest.raises(DataError, match="any"):
        load_images(SPEC, "train", path)


# ---- training ----

RECIPE = """
name: small
family: styled
repo_id: a/small
data: {name: a/b, sample_size: 28, channels: 1, conditions: {style: drawn_by}}
architecture: {}
training: {images: 16, batch_size: 8, precision: fp32}
"""


def test_a_recipe_with_conditions_trains_to_a_checkpoint_that_knows_them(tmp_path):
    np.savez(tmp_path / "d.npz", **arrays())
    (tmp_path / "small.yaml").write_text(RECIPE)
    recipe = load_recipe(tmp_path / "small.yaml")
    output = train(recipe, FAMILY, tmp_path / "d.npz", tmp_path / "checkpoint", tmp_path / "run")
    assert json.loads((output / "model_index.json").read_text())["conditions"] == {"style": STYLES}
    log = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert 0 < log[-1]["style"] < 2
    with pytest.raises(RecipeError, match="knows the class only"):
        build_pipeline(recipe, discover(installed=False)["vae"], ID2LABEL, {"style": STYLES})
    (tmp_path / "small.yaml").write_text(RECIPE.replace("{style:", "{a style:"))
    with pytest.raises(RecipeError, match="conditions"):
        load_recipe(tmp_path / "small.yaml")


# ---- the pipeline ----


def test_any_is_drawn_by_each_sample_s_generator():
    pipeline = StyledPipeline.build(28, 1, ID2LABEL, {"style": STYLES})
    seeds = [torch.Generator().manual_seed(s) for s in range(12)]
    together = pipeline(12, seeds, output_type="pt").images.mean((1, 2, 3))
    assert len(together.unique()) == 3
    alone = pipeline(1, [torch.Generator().manual_seed(7)], output_type="pt").images.mean((1, 2, 3))
    assert alone == together[7]
    one = pipeline(12, torch.Generator().manual_seed(0), output_type="pt").images
    assert torch.equal(one, pipeline(12, torch.Generator().manual_seed(0), output_type="pt").images)
    assert (pipeline(2, style="bright", output_type="pt").images == 1).all()


@pytest.mark.parametrize("style", ["brihgt", 1, None, ["dark"]])
def test_other_values_are_refused_with_words(style):
    with pytest.raises(ValueError, match="style: choose 'any', 'dark', 'grey', 'bright'"):
        StyledPipeline.build(28, 1, ID2LABEL, {"style": STYLES})(style=style)
    with pytest.raises(ValueError, match="style: choose 'any', not"):
        StyledPipeline.build(28, 1, ID2LABEL)(style=style)


# ---- the host ----


def test_a_checkpoint_s_control_has_its_values(styled):
    a, b, c = (styled.catalogue[name].controls("generate") for name in ("a-styled", "b-plain", "c-other"))
    assert a["style"].choices == ("any", "dark", "grey", "bright") and a["style"].default == "any"
    assert c["style"].choices == ("any", "thin", "thick") and c["style"].default == "thick"
    assert "style" not in b and b["brightness"].default == 0.5
    request = Request("a-styled", "generate", parameters={"style": "thick"})
    with pytest.raises(InputError, match="choose one of any, dark"):
        request.checked(styled.catalogue["a-styled"])
    with pytest.raises(InputError, match="not a parameter here"):
        request.checked(styled.catalogue["b-plain"])


@pytest.mark.parametrize("wrong", [["style"], {"style": ["dark"]}, {"style": {"dark": 0}}])
def test_damaged_conditions_are_reported(styled, house, wrong):
    path = house / "checkpoints/a-styled/model_index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "conditions": wrong}))
    with pytest.raises(CheckpointError, match=r"condition|style"):
        open_checkpoint(path.parent, discover(installed=False))


def test_a_result_remembers_its_style_and_python_repeats_it(styled):
    request = Request("a-styled", "generate", seed=3, batch_size=6, parameters={"style": "grey"})
    result = styled.run(request)
    assert brightness(result.pictures) == [0.5] * 6
    path = keep_results(result)[0]
    assert Request.from_dict(read_request(path)) == result.request and result.request.parameters["style"] == "grey"
    assert "style='grey'" in to_python(result.request, styled.catalogue["a-styled"])
    free = styled.run(dataclasses.replace(request, parameters={}))
    assert len(set(brightness(free.pictures))) > 1 and free.request.parameters["style"] == "any"
    evaluated = styled.run(Request("b-plain", "generate"))
    assert dict(evaluated.request.parameters) == {"brightness": 0.5}


def test_programs_choose_a_style(styled):
    task, call = find_tasks()["generate"], Call(num_images=2)
    files, report = asyncio.run(_answer(styled, task, "a-styled", 0, {"style": "bright"}, call))
    assert brightness(PIL.Image.open(file) for file in files) == [1, 1]
    assert report["request"]["parameters"]["style"] == "bright"
    with pytest.raises(gr.Error, match="style: choose one of"):
        asyncio.run(_answer(styled, task, "a-styled", 0, {"style": "thin"}, call))


def test_the_command_line_chooses_a_style(styled, tmp_path):
    run = CliRunner().invoke
    out = tmp_path / "out.npy"
    result = run(app, ["generate", "c-other", "--n", "2", "--set", "style=thick", "--out", str(out)])
    assert result.exit_code == 0 and brightness(np.load(out)) == [0.5, 0.5]
    wrong = run(app, ["generate", "c-other", "--set", "style=dark", "--out", str(out)])
    assert wrong.exit_code == 2 and "choose one of any, thin, thick" in wrong.output
    assert "style=any (any, dark, grey, bright)" in run(app, ["list"]).output


def test_the_page_follows_the_chosen_checkpoint(styled):
    with gr.Blocks():
        tab = build_tab("generate", styled)
    question = tab.question
    components = question.controls.components["styled"]
    style, factor = components["style"], components["brightness"]
    assert style.visible and [value for _, value in style.choices] == ["any", "dark", "grey", "bright"]
    assert {style, factor} <= set(question.controls.outputs)

    plain = tab._choose("b-plain", "image")
    assert plain[style]["visible"] is False and plain[factor]["value"] == 0.5
    other = tab._choose("c-other", "image")
    assert other[style]["visible"] and other[style]["choices"] == ["any", "thin", "thick"]
    assert other[style]["value"] == "thick" and other[factor]["value"] == 1.0
    assert set(plain) == set(other)

    shown = (question.picker.dropdown, question.seed, question.number, *question.classes.all, *question.controls.all)
    data = {c: c.value for c in shown}
    assert question.request(data).parameters == {"style": "any", "brightness": 1.0}
    data |= {question.picker.dropdown: "b-plain", factor: 0.7}
    assert question.request(data).parameters == {"brightness": 0.7}, "what is hidden is not sent"

    result = styled.run(Request("c-other", "generate", parameters={"style": "thin", "brightness": 0.3}))
    restored = tab._restore(keep_results(result)[0])
    assert restored[style]["value"] == "thin" and "thin" in restored[style]["choices"]
    assert restored[factor]["value"] == 0.3 and restored[style]["visible"]


def test_controls_that_do_not_differ_keep_the_visitor_s_settings(tiny_checkpoints):
    with gr.Blocks():
        tab = build_tab("generate", Runtime(find_checkpoints(discover(installed=False)), device="cpu"))
    assert not set(tab._choose("tiny-ddpm", "image")) & set(tab.question.controls.all)


def test_data_without_conditions_are_as_before():
    data = ImageData(torch.zeros(2, 1, 28, 28, dtype=torch.uint8), None, None)
    assert data.batch(torch.arange(2)).keys() == {"images", "class_labels"}
