"""Every family is a pipeline of diffusers to the letter: pickled, shared, offloaded, loaded bare, in any default dtype."""

import copy
import inspect
import io
import logging
import pickle
import re
import sys

import pytest
import torch
from conftest import build_tiny, pictures, voice
from diffusers import DiffusionPipeline
from diffusers.utils import logging as diffusers_logging

from genarium.families import discover
from genarium.tasks import modality_of

FAMILIES = {family.name: family for family in discover(installed=False)}
KNOWN = {"torch", "diffusers", "numpy", "PIL", "safetensors", "huggingface_hub", "accelerate"} | sys.stdlib_module_names


@pytest.fixture(params=sorted(FAMILIES), scope="module")
def pipeline(request):
    return build_tiny(FAMILIES[request.param])


@pytest.fixture
def bare(pipeline, tmp_path):
    """The pipeline as `DiffusionPipeline.from_pretrained` loads it from its own folder."""
    pipeline.save_pretrained(tmp_path / "saved")
    return DiffusionPipeline.from_pretrained(tmp_path / "saved", trust_remote_code=True)


@pytest.fixture
def said(caplog):
    """What diffusers says while a test runs."""
    diffusers_logging.enable_propagation()
    with caplog.at_level(logging.WARNING, "diffusers"):
        yield lambda: [record.getMessage() for record in caplog.records if record.name.startswith("diffusers")]
    diffusers_logging.disable_propagation()


def networks(pipeline):
    return {name: c for name, c in pipeline.components.items() if isinstance(c, torch.nn.Module)}


SOUNDS = [voice(1, 120, 0).numpy(), voice(1, 200, 1).numpy()]
PICTURES = pictures(2)


def outputs(pipeline) -> dict[str, torch.Tensor]:
    """What each task gives for the same inputs and seeds, floats."""

    def seeds():
        return [torch.Generator().manual_seed(seed) for seed in (3, 5)]

    found = {}
    if modality_of(type(pipeline)) == "audio":
        sounds = SOUNDS
        found["reconstruct"] = pipeline.reconstruct(sounds, generator=seeds()).audios[0]
        found["swap_style"] = pipeline.swap_style(*sounds, generator=seeds()[0]).audios[0]
        found["interpolate"] = pipeline.interpolate(*sounds, num_frames=2, generator=seeds()[0]).audios[1]
        found["anomaly_score"] = pipeline.anomaly_score(sounds, generator=seeds()).scores
        return {name: torch.as_tensor(value) for name, value in found.items()}
    images = PICTURES
    for name, method in (
        ("generate", lambda **o: pipeline(2, output_type="pt", generator=seeds(), **o).images),
        ("reconstruct", lambda **o: pipeline.reconstruct(images, output_type="pt", generator=seeds(), **o).images),
        ("swap_style", lambda **o: pipeline.swap_style(images[:1], images[1:], output_type="pt", **o).images),
        (
            "interpolate",
            lambda **o: (
                pipeline.interpolate(images[:1], images[1:], 3, output_type="pt", generator=seeds()[0], **o).images
            ),
        ),
        ("anomaly_score", lambda **o: pipeline.anomaly_score(images, generator=seeds(), **o).scores),
    ):
        attribute = "__call__" if name == "generate" else name
        task = getattr(type(pipeline), attribute, None)
        if task is None or (name == "generate" and "batch_size" not in inspect.signature(task).parameters):
            continue
        few = {"num_inference_steps": 3} if "num_inference_steps" in inspect.signature(task).parameters else {}
        found[name] = method(**few)
    return found


def same(a, b, **tolerance):
    assert a.keys() == b.keys() and a
    for name in a:
        assert torch.allclose(a[name].float(), b[name].float(), **tolerance), name


def test_it_can_be_pickled_copied_and_its_networks_saved(pipeline):
    expected = outputs(pipeline)
    same(outputs(pickle.loads(pickle.dumps(pipeline))), expected, rtol=0, atol=0)
    same(outputs(copy.deepcopy(pipeline)), expected, rtol=0, atol=0)
    for network in networks(pipeline).values():
        torch.save(network, io.BytesIO())


@pytest.mark.parametrize("how", ["built", "bare"])
def test_from_pipe_shares_the_components(how, pipeline, request, said):
    source = pipeline if how == "built" else request.getfixturevalue("bare")
    again = type(source).from_pipe(source)
    assert all(again.components[name] is network for name, network in networks(source).items())
    public = [{k: v for k, v in p.config.items() if not k.startswith("_")} for p in (source, again)]
    assert public[0] == public[1]
    assert not [text for text in said() if "type annotation" in text or "not switched over" in text]


def test_the_order_of_offloading_names_every_network(pipeline):
    order = type(pipeline).model_cpu_offload_seq.split("->")
    assert set(order) == set(networks(pipeline)) and len(order) == len(set(order))


def test_the_default_dtype_of_torch_changes_nothing(pipeline):
    expected = outputs(pipeline)
    torch.set_default_dtype(torch.float64)
    try:
        found = outputs(pipeline)
    finally:
        torch.set_default_dtype(torch.float32)
    same(found, expected, rtol=1e-3, atol=1e-4)


def test_a_bare_load_says_nothing_and_asks_for_no_other_package(pipeline, tmp_path, said):
    pipeline.save_pretrained(tmp_path / "saved")
    for path in (tmp_path / "saved").rglob("*.py"):
        # diffusers reads these lines, also those inside of functions, and advises to install what it cannot import
        named = re.findall(r"^\s*(?:import|from)\s+([\w.]+)", path.read_text(), re.MULTILINE)
        assert {name.split(".")[0] for name in named} <= KNOWN, path.name
    DiffusionPipeline.from_pretrained(tmp_path / "saved", trust_remote_code=True)
    assert said() == []
