"""Students: the teacher draws its images once, each with its seed, and a killed run goes on with the next part."""

import dataclasses
import json

import pytest
import torch
from conftest import ID2LABEL, TINY, build_tiny, pictures

import genarium.training.teacher
from genarium.checkpoints import load_pipeline, open_checkpoint
from genarium.data.images import ImageData
from genarium.errors import CheckpointError, GenariumError, InputError, RecipeError
from genarium.families import discover
from genarium.recipe import TeacherSpec, find_recipe
from genarium.training.loop import train
from genarium.training.teacher import load_teacher, teacher_images

FAMILIES = discover(installed=False)
SPEC = TeacherSpec(
    "tiny-teacher",
    images=24,
    seed=100,
    batch_size=4,
    unlabelled=0.5,
    parameters={"num_inference_steps": 2, "guidance_scale": 1.0},
)


@pytest.fixture
def teacher(house):
    build_tiny(FAMILIES["flow-matching"]).save_pretrained(house / "checkpoints/tiny-teacher")
    return load_teacher(SPEC, torch.device("cpu"))


def test_images_are_those_of_their_seeds(teacher, tmp_path):
    data = teacher_images(SPEC, teacher, tmp_path / "teacher")
    assert data.images.shape == (24, 1, 28, 28) and data.seeds.tolist() == list(range(100, 124))
    assert data.labels[:8].tolist() == [0, 1, 2, 3, -1, -1, -1, -1] and (data.labels < 0).sum() == 12
    generators = [torch.Generator().manual_seed(s) for s in (100, 101)]
    images = teacher.pipeline("tiny-teacher")(2, generators, [0, 1], output_type="pt", **SPEC.parameters).images
    assert ((images * 255).round() - data.images[:2]).abs().max() <= 1
    batch = data.batch(torch.tensor([3, 5]))
    assert batch["seeds"].tolist() == [103, 105] and batch["class_labels"].tolist() == [3, -1]


def test_a_killed_run_goes_on_with_the_next_part(teacher, tmp_path, monkeypatch):
    monkeypatch.setattr(genarium.training.teacher, "BATCHES_A_FILE", 2)
    whole = teacher_images(SPEC, teacher, tmp_path / "teacher")
    parts = sorted((tmp_path / "teacher").glob("*.npy"))
    assert len(parts) == 3
    kept, lost = parts[0].stat().st_mtime_ns, parts[1]
    lost.unlink()
    again = teacher_images(SPEC, teacher, tmp_path / "teacher")
    assert torch.equal(whole.images, again.images) and parts[0].stat().st_mtime_ns == kept


def test_images_drawn_otherwise_are_not_taken_for_these(teacher, tmp_path):
    teacher_images(SPEC, teacher, tmp_path / "teacher")
    with pytest.raises(GenariumError, match="--fresh"):
        teacher_images(dataclasses.replace(SPEC, seed=101), teacher, tmp_path / "teacher")
    with pytest.raises(InputError, match="steps"):
        teacher_images(dataclasses.replace(SPEC, parameters={"steps": 1}), teacher, tmp_path / "other")
    with pytest.raises(CheckpointError, match="tiny-teacher"):
        load_teacher(dataclasses.replace(SPEC, checkpoint="tiny-taecher"), torch.device("cpu"))


def student_recipe(family="flow-matching", **architecture):
    recipe = find_recipe(f"{family.replace('_', '-')}-fashion-mnist")
    settings = {"images": 32, "batch_size": 8, "compile": False, "precision": "fp32", "save_every": 2, "teacher": SPEC}
    return dataclasses.replace(
        recipe,
        name="tiny-student",
        architecture={**TINY[family], **architecture},
        training=dataclasses.replace(recipe.training, **settings),
    )


def test_a_student_is_trained_from_its_recipe_alone(teacher, house, tmp_path):
    defaults = {"generate": {"num_inference_steps": 2, "sampler": "euler", "guidance_scale": 1.0}}
    recipe = student_recipe(distilled_steps=2, defaults=defaults)
    images = ((pictures(20) + 1) * 127.5).to(torch.uint8)
    data = ImageData(images, torch.arange(20) % 10, ID2LABEL)
    whole, parts = {}, {}
    train(recipe, FAMILIES["flow-matching"], data=data, run_folder=tmp_path / "a", on_step=whole.__setitem__)
    for steps in (3, None):
        run = {"run_folder": tmp_path / "b", "output": tmp_path / "checkpoint", "max_steps": steps}
        train(recipe, FAMILIES["flow-matching"], data=data, on_step=parts.__setitem__, **run)
    assert whole == pytest.approx(parts, rel=1e-5), "a student that was stopped goes on as if nothing had happened"
    checkpoint = open_checkpoint(tmp_path / "checkpoint", FAMILIES)
    controls = checkpoint.controls("generate")
    assert {k: controls[k].default for k in defaults["generate"]} == defaults["generate"]
    assert checkpoint.controls("reconstruct")["num_inference_steps"].default == 20
    assert load_pipeline(checkpoint).config.typicality["mean"], "calibrated on the data"


def test_a_teacher_of_other_classes_is_refused_before_it_draws(teacher, tmp_path):
    names = {str(i): f"class {9 - i}" for i in range(10)}
    data = ImageData(torch.zeros(4, 1, 28, 28, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64), names)
    with pytest.raises(RecipeError, match="has the classes class 0, class 1"):
        train(student_recipe(), FAMILIES["flow-matching"], data=data, run_folder=tmp_path / "run")
    assert not (tmp_path / "run/teacher").exists()


def test_a_family_without_students_says_so(teacher, tmp_path):
    data = ImageData(torch.zeros(4, 1, 28, 28, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64), ID2LABEL)
    with pytest.raises(RecipeError, match="learn_from"):
        train(student_recipe("ddpm"), FAMILIES["ddpm"], data=data, run_folder=tmp_path / "run")
    with pytest.raises(RecipeError, match="architecture"):
        recipe = student_recipe(block_out_channels=[8, 16])
        train(recipe, FAMILIES["flow-matching"], data=data, run_folder=tmp_path / "run")


def test_defaults_that_a_task_does_not_take_are_refused(tmp_path):
    pipeline = build_tiny(FAMILIES["flow-matching"], defaults={"generate": {"steps": 2}})
    pipeline.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="steps"):
        open_checkpoint(tmp_path, FAMILIES)
    index = json.loads((tmp_path / "model_index.json").read_text())
    (tmp_path / "model_index.json").write_text(
        json.dumps({**index, "defaults": {"generate": {"num_inference_steps": 0}}})
    )
    with pytest.raises(CheckpointError, match="must lie"):
        open_checkpoint(tmp_path, FAMILIES)
