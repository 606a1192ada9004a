"""What the camera of the page Check answers: to frames, to what is no frame, and when too many are on."""

import asyncio
import base64
import io
import threading

import PIL.Image
import pytest
from conftest import pictures

from genarium.catalogue import find_checkpoints
from genarium.errors import GenariumError
from genarium.runtime import Runtime
from genarium.tasks.check.camera import CAMERAS, HEAD, MAX_FRAME, Looking

NAME = "tiny-feature-memory"


@pytest.fixture(scope="module")
def looking(tiny_checkpoints, families):
    return Looking(Runtime(find_checkpoints(families), device="cpu"))


def frame(picture=None) -> str:
    data = io.BytesIO()
    pixels = ((pictures(1, seed=1)[0].movedim(0, -1) + 1) * 127.5).byte().numpy()
    picture = picture or PIL.Image.fromarray(pixels.squeeze()).resize((320, 240))
    picture.convert("RGB").save(data, format="JPEG")
    return HEAD + base64.b64encode(data.getvalue()).decode()


def asked(looking, **message):
    return asyncio.run(looking.answer({"checkpoint": NAME, "picture": frame(), **message}))


def test_a_frame_gets_its_score_and_a_heat_map_of_its_own_size(looking):
    answer = asked(looking)
    shown = PIL.Image.open(io.BytesIO(base64.b64decode(answer["overlay"].removeprefix(HEAD))))
    assert shown.size == (320, 240) and answer["high"] > 0 and answer["seconds"] > 0
    assert answer["verdict"] in ("strange", "ordinary") and asked(looking)["score"] == answer["score"]


def test_a_visitors_threshold_decides(looking):
    score = asked(looking)["score"]
    assert asked(looking, threshold=score + 1)["verdict"] == "ordinary"
    assert asked(looking, threshold=score - 1)["verdict"] == "strange"


def test_the_scale_of_the_heat_map_only_grows(looking):
    usual = asked(looking)["high"]
    assert asked(looking, high=2 * usual)["high"] == 2 * usual
    assert asked(looking, high=usual / 2)["high"] == usual


@pytest.mark.parametrize(
    "message",
    [
        {"picture": None},
        {"picture": 5},
        {"picture": "file:///etc/passwd"},
        {"picture": HEAD + "!"},
        {"picture": HEAD + "AAAA"},
        {"picture": HEAD + "A" * MAX_FRAME},
        {"checkpoint": None},
        {"checkpoint": ["tiny-vae"]},
        {"checkpoint": "/etc"},
        {"checkpoint": "no-such"},
    ],
)
def test_what_is_no_frame_is_refused_in_words(looking, message):
    english, chinese = asked(looking, **message)["problem"]
    assert 10 < len(english) < 300 and chinese


@pytest.mark.parametrize("message", [None, [], "look", 3])
def test_a_message_of_another_form_is_refused_in_words(looking, message):
    assert asyncio.run(looking.answer(message))["problem"]


@pytest.mark.parametrize("number", [float("nan"), 10**400, True, "0.5", [1]])
def test_what_is_no_number_counts_as_none(looking, number):
    usual = asked(looking)
    answer = asked(looking, threshold=number, high=number)
    assert (answer["verdict"], answer["high"]) == (usual["verdict"], usual["high"])


def test_a_few_cameras_are_answered_at_once_and_the_others_wait(looking, monkeypatch):
    go, begun = threading.Event(), []

    def slow(message):
        begun.append(message)
        go.wait(60)
        raise GenariumError("done")

    monkeypatch.setattr(looking, "_look", slow)

    async def all_at_once():
        waiting = [asyncio.ensure_future(looking.answer({})) for _ in range(CAMERAS)]
        while len(begun) < CAMERAS:
            await asyncio.sleep(0.01)
        busy = await looking.answer({})
        go.set()
        return busy, await asyncio.gather(*waiting)

    busy, answers = asyncio.run(all_at_once())
    assert busy == {"busy": True} and all(answer["problem"] == ["done"] * 2 for answer in answers)
    assert looking.under_way == 0, "an error gives the place back"
