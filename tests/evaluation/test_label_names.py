"""`evaluate` numbers the classes of a test split by the checkpoint's names, however the split itself would number them."""

import shutil

import numpy as np
import pytest

from genarium.errors import DataError
from genarium.evaluation.evaluate import evaluate
from genarium.recipe import DataSpec, EvaluationSpec, Recipe, TrainingSpec
from genarium.runtime import Runtime


@pytest.fixture
def mine(tiny_checkpoints, tmp_path):
    """A copy of tiny-vae, whose classes are "class 0" to "class 9", and its recipe."""
    shutil.copytree(tiny_checkpoints / "tiny-vae", tmp_path / "mine")
    recipe = Recipe(
        name="mine",
        family="vae",
        repo_id="someone/mine",
        data=DataSpec(name="someone/pictures", sample_size=28, channels=1),
        architecture={},
        training=TrainingSpec(images=10),
        evaluation=EvaluationSpec(num_samples=4, num_test_images=8),
    )
    return tmp_path / "mine", recipe


def split(folder, names):
    """A test split of these classes only, as an .npz file."""
    images = np.random.default_rng(0).integers(0, 256, (8, 28, 28, 1), np.uint8)
    labels = np.arange(8) % len(names)
    np.savez(folder / "data.npz", test_images=images, test_labels=labels, label_names=names)
    return folder / "data.npz"


def test_the_classes_asked_about_are_those_of_the_names(mine, tmp_path, monkeypatch):
    folder, recipe = mine
    runtime = Runtime()
    kind = type(runtime.pipeline(str(folder)))
    seen = set()
    score = kind.anomaly_score

    def watched(self, *arguments, class_labels=None, **options):
        seen.update(class_labels or ())
        return score(self, *arguments, class_labels=class_labels, **options)

    monkeypatch.setattr(kind, "anomaly_score", watched)
    data = split(tmp_path, ["class 7", "class 3"])
    evaluate(str(folder), runtime, recipe, data_override=data, parts=["anomaly"], card=False)
    assert seen == {3, 7}


def test_a_class_that_the_checkpoint_does_not_know_is_an_error(mine, tmp_path):
    folder, recipe = mine
    before = (folder / "model_index.json").read_bytes()
    with pytest.raises(DataError, match="'gnu' is not among the names that the checkpoint knows: 'class 0'"):
        evaluate(
            str(folder),
            Runtime(),
            recipe,
            data_override=split(tmp_path, ["class 3", "gnu"]),
            parts=["anomaly"],
            card=False,
        )
    assert (folder / "model_index.json").read_bytes() == before
