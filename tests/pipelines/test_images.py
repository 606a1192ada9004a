"""PIL images given to a pipeline itself: transparency is white, and what would be clipped is refused."""

import numpy as np
import PIL.Image
import pytest
import torch
from conftest import build_tiny

from genarium.families import discover


@pytest.fixture(scope="module")
def pipeline():
    return build_tiny(discover(installed=False)["vae"])


def test_what_is_transparent_is_white(pipeline):
    clear = PIL.Image.new("RGBA", (28, 28), (10, 20, 30, 0))
    white = PIL.Image.new("L", (28, 28), 255)
    assert torch.equal(pipeline.encode(clear), pipeline.encode(white))


@pytest.mark.parametrize("kind", [np.uint16, np.int32, np.float32])
def test_more_than_eight_bits_are_refused(pipeline, kind):
    deep = PIL.Image.fromarray(np.full((28, 28), 300, kind))
    with pytest.raises(ValueError, match="16 or 32 bits"):
        pipeline.encode(deep)
