"""Code that comes with a checkpoint: never run by default, run where the operator says so."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, UNet2DModel
from huggingface_hub import constants

from genarium import paths, trust
from genarium.catalogue import Catalogue, find_checkpoints
from genarium.checkpoints import open_checkpoint
from genarium.errors import CheckpointError, InputError
from genarium.runtime import Runtime
from genarium.runtime.request import Request, choose_labels

CODE = '''
import numpy as np, PIL.Image, torch
from diffusers import DiffusionPipeline
from diffusers.pipelines.pipeline_utils import ImagePipelineOutput
open({marker!r}, "w")

class OddPipeline(DiffusionPipeline):
    def __init__(self, unet, scheduler):
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler)

    @torch.no_grad()
    def __call__(self, {parameters}):
        """Grey pictures whose brightness is random, plus `shift`."""
        one = generator if isinstance(generator, list) else [generator]
        values = [int(torch.randint(100, (1,), generator=g)) + shift for g in one]
        return ImagePipelineOutput(images=[PIL.Image.new("L", (8, 8), v) for v in values])
'''
PARAMETERS = "batch_size: int = 1, generator=None, shift: int = 0, odd=None, **kwargs"


@pytest.fixture
def odd(tmp_path):
    """Write a checkpoint with a pipeline of its own, which leaves a mark when it is imported -> (folder, marker)."""

    def make(parameters=PARAMETERS, name="odd"):
        folder, marker = tmp_path / name, tmp_path / "ran"
        unet = UNet2DModel(8, 1, 1, block_out_channels=(8,), down_block_types=("DownBlock2D",),
                           up_block_types=("UpBlock2D",), norm_num_groups=2, layers_per_block=1)  # fmt: skip
        unet.save_pretrained(folder / "unet")
        DDPMScheduler().save_pretrained(folder / "scheduler")
        index = {
            "_class_name": ["pipeline_odd", "OddPipeline"],
            "unet": ["diffusers", "UNet2DModel"],
            "scheduler": ["diffusers", "DDPMScheduler"],
        }
        (folder / "model_index.json").write_text(json.dumps(index))
        (folder / "pipeline_odd.py").write_text(CODE.format(marker=str(marker), parameters=parameters))
        return folder, marker

    return make


@pytest.fixture
def trusting(monkeypatch, tmp_path):
    monkeypatch.setenv(trust.VARIABLE, "1")
    monkeypatch.setattr("diffusers.utils.dynamic_modules_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))


def brightness(runtime, name, **request):
    pictures = runtime.run(Request(name, "generate", **request)).pictures
    return [int(np.asarray(p)[0, 0]) for p in pictures]


def test_by_default_it_is_refused_and_does_not_run(odd, families):
    folder, marker = odd()
    with pytest.raises(CheckpointError, match="no installed plugin knows"):
        open_checkpoint(folder, families)
    assert not marker.exists()


def test_the_operator_can_trust_it(odd, families, trusting):
    folder, marker = odd()
    checkpoint = open_checkpoint(folder, families)
    assert marker.exists() and checkpoint.is_foreign and list(checkpoint.tasks) == ["generate"]
    assert list(checkpoint.controls("generate")) == ["shift"]
    runtime = Runtime(Catalogue({"odd": checkpoint}, (), families), device="cpu", dtype=torch.float32)
    two = brightness(runtime, "odd", seed=3, batch_size=2)
    assert two == [*brightness(runtime, "odd", seed=3), *brightness(runtime, "odd", seed=4)] and two[0] != two[1]
    assert brightness(runtime, "odd", seed=3, parameters={"shift": 100}) == [two[0] + 100]
    with pytest.raises(CheckpointError, match="cannot reconstruct"):
        runtime.run(Request("odd", "reconstruct"))


def test_a_method_without_batches_draws_one_by_one(odd, families, trusting):
    checkpoint = open_checkpoint(odd("generator=None, shift: int = 0")[0], families)
    runtime = Runtime(Catalogue({"odd": checkpoint}, (), families), device="cpu", dtype=torch.float32)
    assert len(set(brightness(runtime, "odd", seed=0, batch_size=5))) > 2


def test_classes_that_its_method_does_not_take_are_left_out(odd, families, trusting):
    folder, _ = odd()
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "id2label": {"0": "cat", "1": "dog"}}))
    checkpoint = open_checkpoint(folder, families)
    assert checkpoint.class_names == ("cat", "dog") and choose_labels(checkpoint, "cycle", 4) is None
    runtime = Runtime(Catalogue({"odd": checkpoint}, (), families), device="cpu", dtype=torch.float32)
    with pytest.raises(InputError, match="takes no classes"):
        brightness(runtime, "odd", class_labels=(1,))


def test_what_it_needs_and_nobody_gives_is_named(odd, families, trusting):
    with pytest.raises(CheckpointError, match="needs prompt to generate"):
        open_checkpoint(odd("prompt, generator=None")[0], families)


def test_what_is_wrong_with_it_is_said(odd, families, trusting, tmp_path):
    folder, _ = odd()
    (folder / "pipeline_odd.py").write_text("import no_such_module")
    with pytest.raises(CheckpointError, match=r"cannot be imported.*no_such_module"):
        open_checkpoint(folder, families)
    (folder / "model_index.json").write_text('{"_class_name": "NoSuchPipeline"}')
    with pytest.raises(CheckpointError, match="NoSuchPipeline"):
        open_checkpoint(folder, families)


def test_a_stock_class_without_a_plugin_works_too(families, trusting, odd):
    folder, _ = odd()
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(
        json.dumps({**index, "_class_name": "PNDMPipeline", "scheduler": ["diffusers", "PNDMScheduler"]})
    )
    from diffusers import PNDMScheduler

    PNDMScheduler(skip_prk_steps=True).save_pretrained(folder / "scheduler")
    checkpoint = open_checkpoint(folder, families)
    runtime = Runtime(Catalogue({"p": checkpoint}, (), families), device="cpu", dtype=torch.float32)
    request = Request("p", "generate", batch_size=2, parameters={"num_inference_steps": 2})
    assert [p.size for p in runtime.run(request).pictures] == [(8, 8)] * 2


def test_plugins_come_first_even_where_code_is_trusted(tiny_checkpoints, families, trusting):
    catalogue = find_checkpoints(families)
    assert not any(c.is_foreign for c in catalogue.checkpoints.values()) and not catalogue.broken


def test_from_the_hub_its_code_is_fetched_only_then(hub, odd, families, monkeypatch, tmp_path):
    folder, marker = odd()
    hub.add_folder("someone/odd", folder)
    with pytest.raises(CheckpointError, match="code from the Hub is not run"):
        Catalogue({}, (), families)["someone/odd"]
    assert not marker.exists() and not hub.asked("GET", r"\.py$")
    monkeypatch.setenv(trust.VARIABLE, "yes")
    monkeypatch.setattr("diffusers.utils.dynamic_modules_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    runtime = Runtime(Catalogue({}, (), families), device="cpu", dtype=torch.float32)
    assert brightness(runtime, "someone/odd", batch_size=2) and marker.exists()
    assert constants.HF_HUB_CACHE in str(runtime.checkpoint("someone/odd").folder)


@pytest.mark.parametrize(("value", "means"), [("", False), ("0", False), ("no", False), ("1", True), ("True", True)])
def test_the_switch(monkeypatch, value, means):
    monkeypatch.setenv(trust.VARIABLE, value)
    assert trust.trusted() is means


def test_a_switch_that_says_neither_is_refused(monkeypatch):
    monkeypatch.setenv(trust.VARIABLE, "perhaps")
    with pytest.raises(InputError, match="say 1 or 0"):
        trust.trusted()


def test_help_says_what_it_does():
    run = subprocess.run(
        [sys.executable, str(paths.ROOT / "app.py"), "--help"], capture_output=True, text=True, timeout=120, check=True
    )
    assert "--trust-remote-code" in run.stdout and "runs" in run.stdout
