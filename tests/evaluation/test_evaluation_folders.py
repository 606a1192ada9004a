"""`evaluate` knows before the work whether it can write its folder, and replaces no README.md that somebody wrote."""

import shutil

import pytest

from genarium import files
from genarium.errors import FileError
from genarium.evaluation import evaluate as module
from genarium.recipe import DataSpec, EvaluationSpec, Recipe, TrainingSpec
from genarium.runtime import Runtime

CARD = "---\ntags:\n- genarium\n---\n# Ours\n"


@pytest.fixture
def mine(tiny_checkpoints, tmp_path, monkeypatch):
    """Measures a copy of tiny-vae whose folder holds this README.md -> the parts that were measured."""
    shutil.copytree(tiny_checkpoints / "tiny-vae", tmp_path / "mine")
    recipe = Recipe(
        name="mine",
        family="vae",
        repo_id="someone/mine",
        data=DataSpec(name="someone/pictures", sample_size=28, channels=1),
        architecture={},
        training=TrainingSpec(images=10),
        evaluation=EvaluationSpec(num_samples=4),
    )
    measured = []
    speed = module.parts_of("image")["speed"]
    monkeypatch.setattr(
        type(speed), "measure", lambda self, evaluation: measured.append(self.name) or [], raising=False
    )

    def measure(readme=None, card=True):
        if readme is not None:
            (tmp_path / "mine/README.md").write_text(readme)
        module.evaluate(str(tmp_path / "mine"), Runtime(), recipe, parts=["speed"], card=card)
        return measured

    measure.folder, measure.measured = tmp_path / "mine", measured
    return measure


def test_a_readme_of_somebody_is_not_replaced(mine):
    with pytest.raises(FileError, match="not a card of Genarium"):
        mine("# My own notes")
    assert not mine.measured and (mine.folder / "README.md").read_text() == "# My own notes"


def test_a_folder_that_cannot_be_written_is_known_before_the_work(mine, monkeypatch):
    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied", str(options.get("dir")))

    monkeypatch.setattr(files.tempfile, "TemporaryFile", refuse)
    with pytest.raises(FileError, match="cannot be written: Permission denied"):
        mine(CARD)
    assert not mine.measured
