"""`genarium.load` of a folder: what is there loads, what is wrong is said; and what it gives can be pickled."""

import io
import pickle
import shutil

import pytest
import torch

import genarium
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
