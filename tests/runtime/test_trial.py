"""What a small checkpoint from strangers can make of the memory: limits on configurations, and a process that is killed."""

import json
import shutil
import threading
import time
from types import SimpleNamespace

import PIL.Image
import pytest
import torch

from genarium.checkpoints import limits, load_pipeline, open_checkpoint
from genarium.checkpoints.limits import MAX_INTEGER, MAX_SIDE, check_limits, integers
from genarium.errors import CheckpointError, InputError, Stopped
from genarium.families import Families
from genarium.runtime.request import Request
from genarium.runtime.trial import _run_once, try_loading

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
    assert 0 <= try_loading(open_checkpoint(copy("vae"), families)) < 2**29
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


# ---- what one sample takes ----


def test_what_one_sample_takes_is_measured_in_two_steps(copy, families):
    """A network that makes 300 MB of each sample, from weights of some kilobytes."""
    checkpoint = open_checkpoint(copy("ddpm"), families)
    pipeline = load_pipeline(checkpoint)
    _run_once(checkpoint, pipeline)  # what the first run of all costs is not the sample's
    assert _run_once(checkpoint, pipeline) < 10**8
    forward, calls = pipeline.unet.forward, []

    def wide(*arguments, **options):
        calls.append(torch.ones(75_000_000))
        time.sleep(0.05)
        calls[-1] = None
        return forward(*arguments, **options)

    pipeline.unet.forward = wide
    assert 2.5 * 10**8 < _run_once(checkpoint, pipeline) < 6 * 10**8
    assert len(calls) <= 3


@pytest.mark.parametrize("family", ["vae", "style-ae", "vqgan"])
def test_each_kind_of_checkpoint_runs_once(copy, families, family):
    checkpoint = open_checkpoint(copy(family), families)
    assert _run_once(checkpoint, load_pipeline(checkpoint)) >= 0


@pytest.fixture
def guest(tiny_checkpoints, families, monkeypatch):
    """A runtime with a guest whose trial took a quarter of what guests may have."""
    from genarium.catalogue import Catalogue
    from genarium.runtime import Runtime, pipelines, scheduler

    monkeypatch.setattr(pipelines, "try_loading", lambda checkpoint, stop: scheduler.GUEST_MEMORY // 4)
    runtime = Runtime(Catalogue({}, (), families), device="cpu", dtype=torch.float32)
    runtime.welcome(open_checkpoint(tiny_checkpoints / "tiny-vae", families, name="x/vae@1"))
    return runtime


def test_so_many_samples_of_a_guest_are_computed_at_once_as_fit(guest, monkeypatch):
    from genarium.runtime import scheduler

    assert guest.batch_of("x/vae@1") == 4 and guest.batch_of("another") == 64
    vae, sizes = guest.pipeline("x/vae@1").vae, []
    vae.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    decode = vae.decode
    vae.decode = lambda z, *a, **k: sizes.append(len(z)) or decode(z, *a, **k)
    assert len(guest.run(Request("x/vae@1", "generate", batch_size=10)).pictures) == 10
    assert sizes and max(sizes) == 4 and sum(sizes) == 10
    ends = {"a": PIL.Image.new("L", (28, 28)), "b": PIL.Image.new("L", (28, 28), 255)}
    with pytest.raises(InputError, match="at most 4 are taken"):
        guest.run(Request("x/vae@1", "interpolate", parameters={"num_frames": 5}), ends)
    monkeypatch.setattr(scheduler, "GUEST_PIXELS", 28 * 28 * 3)
    with pytest.raises(InputError, match="At most 3 pictures of 28 x 28 pixels"):
        guest.run(Request("x/vae@1", "generate", batch_size=4))
    assert len(guest.run(Request("x/vae@1", "generate", batch_size=3)).pictures) == 3


def test_previews_are_small(guest, monkeypatch):
    from genarium.runtime import modalities

    monkeypatch.setattr(modalities, "PREVIEWED_SIDE", 10)
    done = guest.run(Request("x/vae@1", "generate", batch_size=2)).pictures
    preview = modalities.Images().preview(None, [SimpleNamespace(images=done)], torch.zeros(1, 1, 28, 28))
    assert [picture.size for picture in preview] == [(10, 10)] * 3
