"""Training deletes nothing that is not its own: whatever stands in --output and --run-folder, links too, is there afterwards."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from conftest import ID2LABEL, TINY, pictures
from typer.testing import CliRunner

from genarium.cli import app
from genarium.data.images import ImageData
from genarium.errors import FileError
from genarium.families import discover
from genarium.recipe import find_recipe
from genarium.training.loop import train

FAMILIES = discover(installed=False)


def recipe(name="tiny-ddpm", **training):
    found = find_recipe("ddpm-fashion-mnist")
    settings = {"images": 32, "batch_size": 16, "warmup_steps": 1, "save_every": 1, "sample_every": 1000}
    settings |= {"compile": False, "precision": "fp32", **training}
    return dataclasses.replace(
        found, name=name, architecture=TINY["ddpm"], training=dataclasses.replace(found.training, **settings)
    )


@pytest.fixture(scope="module")
def data():
    images = ((pictures(32) + 1) * 127.5).to(torch.uint8)
    return ImageData(images, torch.arange(32) % 10, ID2LABEL)


def run(data, what=None, **folders):
    return train(what or recipe(), FAMILIES["ddpm"], data=data, **folders)


def fill(folder: Path) -> dict[str, str]:
    """Somebody's thesis, with names like ours among it -> what is in it."""
    for name in ("thesis.tex", "samples/holiday.png", "state/notes.txt", "logs/ship.log", "vae/config.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"mine: {name}")
    return contents(folder)


def contents(folder: Path) -> dict[str, str]:
    return {
        p.relative_to(folder).as_posix(): p.read_text(errors="replace")
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("which", ["output", "run_folder"])
def test_a_folder_that_is_not_ours_is_refused_before_any_work(which, fresh, tmp_path, data):
    mine = tmp_path / "thesis"
    before = fill(mine)
    folders = {"output": tmp_path / "out", "run_folder": tmp_path / "run"} | {which: mine}
    steps = []
    with pytest.raises(FileError, match="is not empty and holds no"):
        run(data, fresh=fresh, on_step=lambda step, loss: steps.append(step), **folders)
    assert contents(mine) == before and not steps


def test_the_command_says_so_with_code_2(house, tmp_path):
    fill(tmp_path / "thesis")
    for option in ("--output", "--run-folder"):
        arguments = ["train", "vae-fashion-mnist", option, str(tmp_path / "thesis"), "--fresh"]
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 2 and option in result.output, result.output
    assert not (house / "runs").exists(), "refused before anything was made"


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path, data):
    run(data, output=tmp_path / "weights", run_folder=tmp_path / "first")
    before = (tmp_path / "weights/unet/diffusion_pytorch_model.safetensors").read_bytes()
    with pytest.raises(FileError, match="holds a checkpoint of the recipe tiny-ddpm, not one of other"):
        run(data, recipe("other"), output=tmp_path / "weights", run_folder=tmp_path / "second")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign/model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    with pytest.raises(FileError, match="StableDiffusionPipeline"):
        run(data, output=tmp_path / "foreign", run_folder=tmp_path / "second")
    assert (tmp_path / "weights/unet/diffusion_pytorch_model.safetensors").read_bytes() == before


def test_fresh_removes_only_what_a_run_wrote(tmp_path, data):
    folder = tmp_path / "run"
    run(data, output=tmp_path / "out", run_folder=folder)
    mine = fill(folder)
    mine = {name: text for name, text in mine.items() if text.startswith("mine")}
    run(data, output=tmp_path / "out", run_folder=folder, fresh=True, max_steps=1)
    for name, text in mine.items():
        assert (folder / name).read_text() == text, name
    assert not (folder / "time.json").exists() and json.loads((folder / "state/state.json").read_text())["step"] == 1
    run(
        data, output=tmp_path / "out", run_folder=folder
    )  # saving a state over the old one keeps the notes in it as well
    for name, text in mine.items():
        assert (folder / name).read_text() == text, name


def test_a_retrained_checkpoint_keeps_what_others_put_into_its_folder(tmp_path, data):
    out, folder = tmp_path / "out", tmp_path / "run"
    run(data, output=out, run_folder=folder)
    (out / "LICENSE").write_text("mine")
    (out / "unet/notes.txt").write_text("mine")
    (out / "README.md").write_text("my own words")
    (out / "evaluation.json").write_text('{"metrics": []}')
    run(data, recipe(seed=3), output=out, run_folder=folder, fresh=True)
    assert (out / "LICENSE").read_text() == (out / "unet/notes.txt").read_text() == "mine"
    assert (out / "README.md").read_text() == "my own words"
    assert not (out / "evaluation.json").exists(), "figures of the weights before"


def test_links_are_not_followed(tmp_path, data):
    album = tmp_path / "album"
    before = fill(album)
    folder, out = tmp_path / "run", tmp_path / "out"
    run(data, output=out, run_folder=folder)
    for link in (folder / "album", folder / "samples/0000099", out / "album"):
        link.symlink_to(album, target_is_directory=True)
    run(data, recipe(seed=3), output=out, run_folder=folder, fresh=True)
    assert contents(album) == before and (out / "album").is_symlink()


def test_an_interrupted_exchange_leaves_the_old_weights(tmp_path, data, monkeypatch):
    out, folder = tmp_path / "out", tmp_path / "run"
    run(data, output=out, run_folder=folder)
    before = (out / "unet/diffusion_pytorch_model.safetensors").read_bytes()
    rename = Path.rename

    def broken(self, target):
        if Path(target) == out and self.name == "out":
            raise KeyboardInterrupt
        return rename(self, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "rename", broken)
        run(data, recipe(seed=3), output=out, run_folder=folder, fresh=True)
    assert (out / "unet/diffusion_pytorch_model.safetensors").read_bytes() == before
    run(data, recipe(seed=3), output=out, run_folder=folder)
    assert (out / "unet/diffusion_pytorch_model.safetensors").read_bytes() != before
    assert not list(tmp_path.glob(".*")), "nothing is left beside it"


def test_an_old_version_that_a_kill_moved_away_is_put_back(tmp_path, data):
    out = tmp_path / "out"
    run(data, output=out, run_folder=tmp_path / "run")
    (tmp_path / ".out.part-1234").mkdir()
    out.rename(tmp_path / ".out.part-1234/old")
    run(data, output=out, run_folder=tmp_path / "run")
    assert (out / "model_index.json").exists() and not list(tmp_path.glob(".*"))
