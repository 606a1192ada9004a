"""`encode` and `decode` of every family that has both, and the check of codes that a caller gives."""

import inspect

import numpy as np
import pytest
import torch
from conftest import build_tiny, picture_families, pictures

from genarium.families import discover
from pipelines.codes import CODE_AXES, CONTINUOUS, to_codes

FAMILIES = {
    family.name: family
    for family in picture_families(discover(installed=False))
    if hasattr(family.pipeline_class(), "encode") and hasattr(family.pipeline_class(), "decode")
}
# How `reconstruct` of a deterministic family goes through the code; others may lack an entry.
THROUGH_THE_CODE = {
    "autoencoder": {},
    "discrete-ae": {},
    "gan": {},
    "normalizing-flow": {},
    "vae": {},
    "vqgan": {},
    "style-ae": {},
    "dit": {"method": "autoencoder"},
    "ddpm": {"strength": 1.0},
    "flow-matching": {"strength": 1.0},
    "score-sde": {"strength": 1.0},
}
SHORT = {"num_inference_steps": 4}


@pytest.fixture(scope="module")
def tiny():
    return {name: build_tiny(family) for name, family in FAMILIES.items()}


def short(method):
    return {k: v for k, v in SHORT.items() if k in inspect.signature(method).parameters}


def test_families_of_pictures_have_codes():
    assert set(THROUGH_THE_CODE) <= set(FAMILIES)


@pytest.mark.parametrize("name", FAMILIES)
def test_codes_have_the_declared_kind_and_do_not_depend_on_the_batch(tiny, name):
    pipeline, x = tiny[name], pictures(3)
    sources = [torch.Generator().manual_seed(seed) for seed in (1, 2, 3)]
    codes = pipeline.encode(x, generator=sources, class_labels=[1, 2, 3], **short(pipeline.encode))
    kind = pipeline.code_kind
    if kind == "words":
        assert all(isinstance(one, str) for one in codes)
    else:
        assert codes.dtype == (torch.float32 if kind in CONTINUOUS else torch.int64)
        assert codes.shape[0] == 3 and codes.ndim == 1 + len(CODE_AXES[kind])
        assert pipeline.code_shape is None or codes.shape[1:] == tuple(pipeline.code_shape)
    images = pipeline.decode(codes, class_labels=[1, 2, 3], output_type="pt", **short(pipeline.decode)).images
    assert images.shape == x.shape and images.min() >= 0 and images.max() <= 1
    alone = pipeline.decode(codes[1], class_labels=2, output_type="pt", **short(pipeline.decode)).images
    assert torch.allclose(alone, images[1:2], atol=1e-4)
    for method in (pipeline.encode, pipeline.decode):
        assert "class_labels" in inspect.signature(method).parameters and "Raises:" in method.__doc__


@pytest.mark.parametrize("name", THROUGH_THE_CODE)
def test_decoding_the_code_reconstructs(tiny, name):
    pipeline, x = tiny[name], pictures(2)
    expected = pipeline.reconstruct(x, output_type="pt", **THROUGH_THE_CODE[name], **short(pipeline.reconstruct)).images
    codes = pipeline.encode(x, **short(pipeline.encode))
    found = pipeline.decode(codes, output_type="pt", **short(pipeline.decode)).images
    assert torch.allclose(found, expected, atol=1e-4)
    assert not torch.allclose(found[0], found[1], atol=1e-3), "a constant picture tests nothing"


def test_noise_of_a_latent_transformer_leads_back_to_the_latents(tiny):
    pipeline, x = tiny["dit"], pictures(2)
    options = {"strength": 1.0, "num_inference_steps": 6}
    noise = pipeline.encode(x, class_labels=[3, 4], **options)
    back = pipeline.decode(noise, class_labels=[3, 4], output_type="pt", **options).images
    assert torch.allclose(back, pipeline.decode(pipeline.encode(x), output_type="pt").images, atol=2e-3)
    assert not torch.allclose(noise, pipeline.encode(x), atol=1e-2)


@pytest.mark.parametrize("name", [name for name in FAMILIES if name in THROUGH_THE_CODE])
def test_codes_of_another_form_are_refused_with_words(tiny, name):
    pipeline = tiny[name]
    shape = pipeline.code_shape
    with pytest.raises(TypeError, match="codes"):
        pipeline.decode("a shoe")
    with pytest.raises(ValueError, match=rf"codes: .*N, {shape[0]}"):
        pipeline.decode(torch.zeros(2, shape[0] + 1, *shape[1:], dtype=torch.int64))
    with pytest.raises(ValueError, match="class_labels"):
        pipeline.decode(torch.zeros(2, *shape, dtype=torch.int64), class_labels=[0, 10])


def test_each_kind_is_checked():
    assert to_codes([[0.5, 1]], "vector", (2,), None).dtype == torch.float32
    assert to_codes(np.zeros(3), "vector", (3,), None).shape == (1, 3), "a single code gets the axis N"
    assert to_codes([True, False], "binary", (2,), None).tolist() == [[1.0, 0.0]]
    assert to_codes(3, "one_hot", (), 4).tolist() == [3]
    assert to_codes([0, 1, 2], "path", (3,), 3).shape == (1, 3)
    assert to_codes("red car", "words", None, None) == ["red car"]
    assert to_codes(torch.zeros(2, 3, 4, dtype=torch.int32), "grid", None, 5).dtype == torch.int64
    for wrong, kind, shape, values, error, says in (
        ([[0.0, float("nan")]], "vector", (2,), None, ValueError, "NaN"),
        ([[0.0, 2.0]], "binary", (2,), None, ValueError, "0 or 1"),
        (4, "one_hot", (), 4, ValueError, r"0 \.\.\. 3"),
        ([0.5], "one_hot", (), 4, TypeError, "one_hot"),
        ([[0, -1]], "path", (2,), 3, ValueError, r"-1"),
        (torch.zeros(0, 4, 4, dtype=torch.int64), "grid", (4, 4), 5, ValueError, "N > 0"),
        (torch.zeros(4, dtype=torch.int64), "grid", (4, 4), 5, ValueError, r"\[N, 4, 4\]"),
        ([1, 2], "words", None, None, TypeError, "string"),
        ([], "words", None, None, ValueError, "string"),
        ([[1, 2], [3]], "path", None, None, TypeError, "path"),
        (None, "vector", (2,), None, TypeError, "vector"),
    ):
        with pytest.raises(error, match=says):
            to_codes(wrong, kind, shape, values)
