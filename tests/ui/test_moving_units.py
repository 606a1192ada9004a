"""The film of a chain and the switches of hidden units, as what the page gets."""

import base64
import io
import re

import gradio as gr
import numpy as np
import PIL.Image
import pytest
import torch

from genarium.catalogue import find_checkpoints
from genarium.families import discover
from genarium.runtime import Request, Runtime
from genarium.tasks import find_tasks
from genarium.tasks.explore.explorer import Explorer
from genarium.tasks.explore.panel_units import UnitSwitches
from genarium.ui.film import MAX_HEIGHT, SHOWN, film_html
from genarium.ui.texts import Texts


def picture_in(html):
    data = re.search(r"data:image/png;base64,([A-Za-z0-9+/=]+)", html).group(1)
    return np.asarray(PIL.Image.open(io.BytesIO(base64.b64decode(data))))


def test_the_sheets_of_all_frames_lie_below_each_other():
    frames = np.random.default_rng(0).integers(0, 256, (6, 3, 1, 4, 4), np.uint8)
    html = film_html(frames, [1, 50, 100])
    strip = picture_in(html)
    wide = int(re.search(r"--wide:(\d+)", html).group(1))
    rows = -(-6 // wide)
    assert strip.shape == (3 * rows * 4, wide * 4)
    for frame in range(3):
        for i in range(6):
            y, x = (frame * rows + i // wide) * 4, i % wide * 4
            assert np.array_equal(strip[y : y + 4, x : x + 4], frames[i, frame, 0])
    assert 'data-steps="[1, 50, 100]"' in html and "--last:2" in html and "1 / 100" in html


def test_colour_many_chains_and_long_films():
    frames = np.zeros((SHOWN + 5, 48, 3, 400, 8), np.uint8)
    frames[..., 0, :, :] = 200
    html = film_html(frames, list(range(1, 49)))
    strip = picture_in(html)
    assert strip.shape[2] == 3 and strip[0, 0].tolist() == [200, 0, 0]
    assert strip.shape[0] <= MAX_HEIGHT and f"first {SHOWN} pictures" in html
    assert "1 / 48" in html, "the first and the last step are kept"


def test_without_frames_there_is_no_film():
    assert film_html(None, None) == ""


@pytest.mark.parametrize("name", ["tiny-rbm", "tiny-dbn"])
def test_a_run_in_batches_keeps_the_film_of_every_picture(tiny_checkpoints, name):
    runtime = Runtime(find_checkpoints(discover(installed=False)), device="cpu")
    asked = Request(name, "generate", seed=3, batch_size=5, parameters={"num_inference_steps": 6})
    result = runtime.run(asked)
    assert result.frames.shape[:2] == (5, 6) and result.frame_steps == [1, 2, 3, 4, 5, 6]
    for picture, film in zip(result.pictures, result.frames, strict=True):
        assert np.array_equal(np.asarray(picture), film[-1, 0])


def test_units_are_switches_with_their_fields(tiny_checkpoints):
    runtime = Runtime(find_checkpoints(discover(installed=False)), device="cpu")
    pipeline = runtime.pipeline("tiny-rbm")
    with gr.Blocks():
        units = UnitSwitches(Texts().of(find_tasks()["explore"]), Explorer.of(runtime))
    code = torch.zeros(16)
    code[[2, 5]] = 1
    html = units._html(code, pipeline)
    states = re.findall(r'role="switch" aria-checked="(\w+)"', html)
    assert len(states) == 16 and [i for i, s in enumerate(states) if s == "true"] == [2, 5]
    assert "<output>2</output> / 16" in html
    sheet = picture_in(html)
    fields = pipeline.receptive_fields().images
    for i, style in enumerate(re.findall(r"--x:(\d+);--y:(\d+)", html)):
        x, y = (int(v) * 28 for v in style)
        assert np.array_equal(sheet[y : y + 28, x : x + 28], np.asarray(fields[i]))
    assert not UnitSwitches.suit(runtime.pipeline("tiny-discrete-ae"))
