"""Recipes: all parse, and what is wrong in one is said with the way to mend it."""

import dataclasses

import pytest

from genarium import paths
from genarium.errors import RecipeError
from genarium.families import discover
from genarium.recipe import AudioSpec, find_recipe, load_recipe, recipe_paths
from genarium.training.pipeline import build_pipeline

GOOD = """
name: a
family: ddpm
repo_id: me/a
data: {name: me/data, sample_size: 28, channels: 1}
architecture: {}
training: {images: 100}
"""
AUDIO = GOOD.replace(
    "{name: me/data, sample_size: 28, channels: 1}",
    "{kind: audio, names: [me/data], sampling_rate: 16000, crop_seconds: 1}",
)


@pytest.mark.parametrize("name", sorted(p.stem for p in (paths.ROOT / "hub_configs").glob("*.yaml")))
def test_every_recipe_parses_and_builds(name):
    recipe = find_recipe(name)
    family, names = discover(installed=False)[recipe.family], {str(i): str(i) for i in range(10)}
    if isinstance(recipe.data, AudioSpec):
        pipeline = build_pipeline(recipe, family, None, {"speaker": names})
        assert pipeline.config.sampling_rate == recipe.data.sampling_rate
    else:
        pipeline = build_pipeline(recipe, family, names)
        assert pipeline.config.sample_size == recipe.data.sample_size
    first = (paths.ROOT / "hub_configs" / f"{name}.yaml").read_text().splitlines()[0]
    assert first.startswith(f"# python -m genarium train {name}"), "a recipe opens with its command"


def test_a_recipe_is_frozen(tmp_path):
    (tmp_path / "a.yaml").write_text(GOOD)
    recipe = load_recipe(tmp_path / "a.yaml")
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.name = "b"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            AUDIO.replace("sampling_rate", "sampling_rates"),
            "data.sampling_rates: unknown key; did you mean `sampling_rate`",
        ),
        (AUDIO.replace("audio", "video"), "data.kind"),
        (AUDIO.replace("[me/data]", "[]"), "data.names"),
        (GOOD.replace("images: 100", "images: 100, components_from: {checkpoint: b}"), "components_from.components"),
        (GOOD.replace("images: 100", "imagse: 100"), "training.imagse: unknown key; did you mean `images`?"),
        (GOOD.replace("sample_size", "sample_sizes"), "did you mean `sample_size`"),
        (GOOD + "famly: vae\n", "famly: unknown key; did you mean `family`?"),
        (GOOD.replace("images: 100", "images: many"), "training.images"),
        (GOOD.replace("images: 100", "images: 0"), "greater than 0"),
        (GOOD.replace("channels: 1", "channels: 2"), "data.channels"),
        (GOOD.replace("images: 100", "batch_size: 3"), "give `images`, or `stages`"),
        (GOOD.replace("images: 100", "images: 3, stages: [{name: a, images: 3}]"), "not both"),
        (GOOD.replace("images: 100", "stages: [{name: a, images: 3}, {name: a, images: 3}]"), "a name of its own"),
        (GOOD.replace("images: 100", "stages: [{name: a, imagse: 3}]"), "imagse: unknown key; did you mean `images`?"),
        (GOOD.replace("repo_id: me/a\n", ""), "repo_id"),
        (GOOD.replace("name: a", "name: b"), "must equal the file's name"),
        ("- a\n- b\n", "mapping"),
        ("a: [", "cannot be read"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, text, says):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(RecipeError) as error:
        load_recipe(tmp_path / "a.yaml")
    assert says in str(error.value)


def test_a_stage_overrides_the_training_section(tmp_path):
    stages = "stages: [{name: one, images: 3, betas: [0.5, 0.9]}, {name: two, images: 5, samples: reconstruct}]"
    (tmp_path / "a.yaml").write_text(GOOD.replace("images: 100", f"{stages}, learning_rate: 0.5"))
    training = load_recipe(tmp_path / "a.yaml").training
    one, two = (training.of_stage(stage) for stage in training.stages)
    assert (one.images, one.betas, one.learning_rate) == (3, (0.5, 0.9), 0.5)
    assert (two.images, two.betas, two.learning_rate) == (5, training.betas, 0.5)


def test_a_wrong_name_gets_the_nearest():
    with pytest.raises(RecipeError, match="ddpm-fashion-mnist"):
        find_recipe("ddpm-fasion-mnist")
    assert "ddpm-fashion-mnist" in recipe_paths()


def test_an_unknown_architecture_key_is_refused(tmp_path):
    (tmp_path / "a.yaml").write_text(GOOD.replace("architecture: {}", "architecture: {widht: 3}"))
    with pytest.raises(RecipeError, match="widht"):
        build_pipeline(load_recipe(tmp_path / "a.yaml"), discover(installed=False)["ddpm"], None)
