"""What a small checkpoint from strangers can make of the memory: limits on configurations, and a process that is killed."""

import json
import shutil
import threading

import pytest
import torch

from genarium.checkpoints import limits, load_pipeline, open_checkpoint
from genarium.checkpoints.limits import MAX_INTEGER, MAX_SIDE, check_limits, integers
from genarium.errors import CheckpointError, Stopped
from genarium.families import Families
from genarium.runtime.trial import try_loading

FAMILIES = ("ddpm", "dit", "flow-matching", "score-sde", "style-ae", "vae", "vqgan")
HOARDER = """
import functools
from pipelines.pipeline_vae import VAEPipeline

init = VAEPipeline.__init__

@functools.wraps(init)
def hoard(self, *arguments, **options):
    kept = []
    while True:
        kept.append(bytearray(b"x" * 10**7))

VAEPipeline.__init__ = hoard
"""


@pytest.fixture
def copy(tiny_checkpoints, tmp_path):
    """Make a copy of a tiny checkpoint whose configurations a test may change."""
    return lambda family: shutil.copytree(tiny_checkpoints / f"tiny-{family}", tmp_path / family)


def change(path, key, value):
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_integer_of_a_network_has_a_limit(copy, families: Families, family):
    """Set in turn each integer of each network's configuration to a billion: all are refused, and nothing is built."""
    folder = copy(family)
    check_limits("tiny", folder)
    tried = 0
    for path in folder.glob("*/config.json"):
        whole = path.read_text()
        for key in json.loads(whole):
            value = json.loads(whole)[key]
            if not list(integers({key: value})):
                continue
            for huge in (10**9, [10**9], [[1, 10**9]], {"inside": 10**9}, -(10**9), 10**400):
                change(path, key, huge)
                with pytest.raises(CheckpointError, match=r"at most\.$"):
                    load_pipeline(open_checkpoint(folder, families))
                tried += 1
        path.write_text(whole)
    assert tried >= 6
    load_pipeline(open_checkpoint(folder, families))


def test_layers_are_limited_by_the_tensors_that_there_are(copy):
    folder = copy("vae")
    path = folder / "vae/config.json"
    number, elements = limits._tensors("tiny", path.parent)
    assert 10 < number < 1000 < elements
    change(path, "layers_per_block", number)
    check_limits("tiny", folder)
    change(path, "layers_per_block", number + 1)
    with pytest.raises(
        CheckpointError, match=f"layers_per_block is {number + 1}; with these weights it can be {number} at"
    ):
        check_limits("tiny", folder)


@pytest.mark.parametrize(
    ("file", "key", "value"),
    [
        ("model_index.json", "sample_size", MAX_SIDE + 1),
        ("vae/config.json", "sample_size", [28, MAX_SIDE + 1]),
        ("model_index.json", "num_styles", MAX_INTEGER + 1),
        ("scheduler/scheduler_config.json", "num_train_timesteps", MAX_INTEGER + 1),
    ],
)
def test_what_no_weights_limit_has_a_limit_too(copy, file, key, value):
    folder = copy("ddpm" if file.startswith("scheduler") else "vae")
    change(folder / file, key, value)
    with pytest.raises(CheckpointError, match=key):
        check_limits("tiny", folder)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "{", "\xff", "9" * 5000])
def test_configurations_that_cannot_be_read_are_one_sentence(copy, families, text):
    folder = copy("vae")
    (folder / "vae/config.json").write_text(text, encoding="latin-1")
    with pytest.raises(CheckpointError, match=r"vae/config.json cannot be read"):
        load_pipeline(open_checkpoint(folder, families))


def test_a_trial_ends_well(copy, families, monkeypatch):
    monkeypatch.setenv("GENARIUM_HUB_TOKEN", "secret")
    try_loading(open_checkpoint(copy("vae"), families))
    folder = copy("ddpm")
    next(folder.rglob("*.safetensors")).write_bytes(b"junk")
    with pytest.raises(CheckpointError, match="cannot be loaded from safetensors"):
        try_loading(open_checkpoint(folder, families))


def test_what_hoards_memory_is_ended(copy, families, house):
    """A plugin of the trial's process makes building a VAE hoard memory, as a hostile configuration would."""
    (house / "plugins/hoarder").mkdir()
    (house / "plugins/hoarder/plugin.py").write_text(HOARDER)
    with pytest.raises(CheckpointError, match="more memory than its weights explain"):
        try_loading(open_checkpoint(copy("vae"), families), room=300 * 10**6)


def test_time_and_stop_end_a_trial(copy, families):
    checkpoint, stop = open_checkpoint(copy("vae"), families), threading.Event()
    with pytest.raises(CheckpointError, match=r"took more than 0.3 s"):
        try_loading(checkpoint, seconds=0.3)
    stop.set()
    with pytest.raises(Stopped):
        try_loading(checkpoint, stop)


def test_a_guest_is_tried_first(copy, families, monkeypatch):
    from genarium.catalogue import Catalogue
    from genarium.runtime import Runtime, pipelines

    runtime = Runtime(Catalogue({}, (), families), device="cpu", dtype=torch.float32)

    def refuse(checkpoint, stop):
        raise CheckpointError("too much")

    monkeypatch.setattr(pipelines, "try_loading", refuse)
    with pytest.raises(CheckpointError, match="too much"):
        runtime.welcome(open_checkpoint(copy("vae"), families, name="x/vae@1"))
    assert not runtime.guests() and not runtime.loaded()
