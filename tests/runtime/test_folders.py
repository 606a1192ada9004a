"""`genarium.load` of a folder: what is there loads, what is wrong is said; and what it gives can be pickled."""

import io
import pickle
import shutil

import pytest
import torch
from ordinary_user import as_ordinary_user

import genarium
from genarium.catalogue import find_checkpoints
from genarium.checkpoints import load_pipeline
from genarium.checkpoints.folder import check_output
from genarium.errors import CheckpointError


@pytest.fixture
def mine(tiny_checkpoints, tmp_path):
    shutil.copytree(tiny_checkpoints / "tiny-vae", tmp_path / "mine")
    return tmp_path / "mine"


def draw(pipeline):
    return pipeline(2, generator=torch.Generator().manual_seed(0), output_type="pt").images


def test_a_folder_that_is_not_there_is_not_looked_for_on_the_hub(tmp_path):
    for name in (str(tmp_path / "none"), "./none/here", "~/none-here"):
        with pytest.raises(CheckpointError, match="There is no folder"):
            genarium.load(name)


def test_a_folder_without_index_is_called_so(tmp_path):
    with pytest.raises(CheckpointError, match=r"holds no model_index\.json"):
        genarium.load(str(tmp_path))


def test_weights_of_the_variant_alone_load(mine):
    expected = draw(genarium.load(str(mine)))
    (weights,) = mine.glob("vae/*.safetensors")
    weights.rename(weights.with_name("diffusion_pytorch_model.fp16.safetensors"))
    assert torch.equal(draw(genarium.load(str(mine))), expected)


def test_a_pipeline_can_be_pickled_and_its_network_saved(mine):
    pipeline = genarium.load(str(mine))
    again = pickle.loads(pickle.dumps(pipeline))
    assert torch.equal(draw(again), draw(pipeline))
    torch.save(pipeline.vae, io.BytesIO())


def test_what_an_ordinary_user_cannot_enter_is_broken_and_what_is_read_only_works(
    tiny_checkpoints, families, open_folder, monkeypatch
):
    monkeypatch.setenv("GENARIUM_CHECKPOINTS", str(open_folder))
    monkeypatch.setenv("GENARIUM_RECIPES", str(open_folder))  # this repository may lie where others cannot read
    for name, mode in (("closed", 0o000), ("readable", 0o555), ("secret", 0o555)):
        shutil.copytree(tiny_checkpoints / "tiny-vae", open_folder / name)
        for weights in (open_folder / name).rglob("*.safetensors"):
            weights.chmod(0o600 if name == "secret" else 0o644)
        (open_folder / name).chmod(mode)

    def look():
        catalogue = find_checkpoints(families)
        pipeline = load_pipeline(catalogue["readable"])
        return [list(catalogue.checkpoints), [[b.origin, b.reason] for b in catalogue.broken], len(draw(pipeline))]

    names, broken, number = as_ordinary_user(look)
    assert names == ["readable", "secret"] and number == 2
    assert broken == [
        [f"{open_folder.name}/closed", "the folder cannot be entered: Permission denied. Mend its permissions."]
    ]
    with pytest.raises(RuntimeError, match=r"FileError: .*cannot be written: Permission denied"):
        as_ordinary_user(lambda: check_output(open_folder / "readable", "VAEPipeline", "readable"))
    with pytest.raises(
        RuntimeError, match=r"vae/diffusion_pytorch_model.safetensors cannot be read: permission denied"
    ):
        as_ordinary_user(lambda: load_pipeline(find_checkpoints(families)["secret"]))
    open_folder.chmod(0o000)
    names, broken = as_ordinary_user(lambda: look_only(families))
    assert names == [] and "cannot be read: Permission denied" in broken[0]
    open_folder.chmod(0o755)


def look_only(families):
    catalogue = find_checkpoints(families)
    return list(catalogue.checkpoints), [b.reason for b in catalogue.broken]
