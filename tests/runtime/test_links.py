"""Links to a result: what they carry, and what a stranger may write into one."""

import pytest

from genarium.checkpoints import open_checkpoint
from genarium.errors import GenariumError
from genarium.runtime.links import MAX_LINK, request_from_parts, request_to_parts
from genarium.runtime.request import Request


@pytest.fixture
def ddpm(tiny_checkpoints, families):
    return open_checkpoint(tiny_checkpoints / "tiny-ddpm", families)


def test_a_link_carries_what_is_not_the_default(ddpm):
    labels = (3, 4, 3, 4)
    request = Request("tiny-ddpm", "generate", 7, 4, labels, {"num_inference_steps": 5}).checked(ddpm)
    parts = request_to_parts(request, ddpm)
    assert parts == {
        "checkpoint": "tiny-ddpm",
        "task": "generate",
        "seed": "7",
        "batch_size": "4",
        "class_labels": "[3, 4]",
        "parameters": '{"num_inference_steps": 5}',
    }
    assert request_from_parts(parts).checked(ddpm) == request


def test_a_link_without_settings_is_short(ddpm):
    parts = request_to_parts(Request("tiny-ddpm", "reconstruct").checked(ddpm), ddpm)
    assert parts == {"checkpoint": "tiny-ddpm", "task": "reconstruct"}
    assert request_from_parts(parts) == Request("tiny-ddpm", "reconstruct")


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ({"seed": "x"}, "seed='x', which cannot be read"),
        ({"seed": "[" * 3000}, "cannot be read"),
        ({"seed": "-1"}, "between 0 and"),
        ({"seed": "1e400"}, "seed"),
        ({"batch_size": "1000000000"}, "between 1 and"),
        ({"batch_size": "4", "class_labels": "[99]"}, "classes 0 ... 9"),
        ({"class_labels": '["a"]'}, "class_labels"),
        ({"parameters": '{"nonsense": 1}'}, "not a parameter"),
        ({"parameters": '{"num_inference_steps": 100000000}'}, "num_inference_steps"),
        ({"unknown": "1"}, "unknown"),
        ({"checkpoint": "x" * (MAX_LINK + 1)}, "longer than"),
    ],
)
def test_a_damaged_link_is_a_clear_error(ddpm, parts, says):
    with pytest.raises(GenariumError, match=says):
        request_from_parts({"checkpoint": "tiny-ddpm", "task": "generate", **parts}).checked(ddpm)
