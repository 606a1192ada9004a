"""Hostile inputs drawn from a seed: every answer is a clear error or a result, and nothing of ours is in the log.

A thousand by default; another number with

    GENARIUM_FUZZ=20000 python -m pytest tests/hostile/test_fuzz.py
"""

import io
import json
import os
import struct
import zlib
from pathlib import Path

import gradio as gr
import numpy as np
import PIL.Image
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stranger import API, post, read
from tabs import build_tab

from genarium.errors import GenariumError
from genarium.media import metadata
from genarium.media.decoding import MAX_SIDE, decode_sound, open_picture
from genarium.media.pictures import save_picture
from genarium.runtime.request import Request, choose_labels

NUMBER = int(os.environ.get("GENARIUM_FUZZ", "1000"))
MEMORY = 400 * 2**20  # bytes that the process may grow by
FILES = 2**20 * 64  # bytes of temporary files


def inputs(share: float):
    """Settings of a test that gets this share of all inputs: the same ones each time."""
    return settings(
        max_examples=max(1, round(NUMBER * share)),
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


def resident() -> int:
    """Bytes of memory that the process has; 0 where the system does not say so."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


@pytest.fixture(autouse=True)
def bounded(served, capfd):
    """Memory and temporary files stay bounded, and no traceback through our code is in the log."""
    before = resident()
    yield
    log = capfd.readouterr().err
    ours = [line for line in log.splitlines() if line.lstrip().startswith("File") and "/genarium/" in line]
    assert "Traceback" not in log or not ours, log[-4000:]
    assert resident() - before < MEMORY
    assert sum(file.stat().st_size for file in served.folder.rglob("*") if file.is_file()) < FILES


def clear(error: object) -> None:
    """An error is a sentence that can be read, of a length that can be, and without this machine's folders."""
    text = str(error)
    assert text and text != "None" and len(text) <= 4000, text
    assert "Traceback" not in text and str(Path(__file__).parents[2]) not in text, text
    text.encode()


# ---- values ----

HUGE = {"@huge": "9" * 5000, "@large": "1" + "0" * 400, "@float": "1e999", "@deep": "[" * 900 + "]" * 900}
texts = st.one_of(
    st.text(st.characters(exclude_categories=()), max_size=12),
    st.sampled_from(
        ["", "any", "cycle", "class 3", "1,2", "<img src=x onerror=alert(1)>", "../../etc/passwd", "\ud800"]
    ),
    st.builds(
        lambda text, times: text * times, st.sampled_from(["a", "1,", "\ud800", "é"]), st.sampled_from([101, 5000])
    ),
    st.sampled_from(list(HUGE)),
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-3, 70),
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from([2**31, 2**63, -(2**63) - 1, 10**300, 1e308, -0.0, 2.0]),
    texts,
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=3), max_leaves=6
)
parameter_names = (
    st.sampled_from(["num_inference_steps", "sampler", "eta", "guidance_scale", "temperature", "x"]) | texts
)
parameters = st.one_of(values, st.dictionaries(parameter_names, scalars, max_size=3))
file_data = st.fixed_dictionaries(
    {},
    optional={
        "path": texts | st.sampled_from(["/etc/passwd", "http://127.0.0.1:1/a.png", "", "."]),
        "url": texts,
        "size": scalars,
        "orig_name": texts,
        "mime_type": texts,
        "is_stream": scalars,
        "meta": st.just({"_type": "gradio.FileData"}) | values,
    },
)
files = values | file_data
checkpoints = st.sampled_from(["tiny-vae", "tiny-vae", "tiny-vqgan", "none"]) | values
CALLS = {
    "generate": (checkpoints, st.integers(1, 3) | values, values, values, parameters),
    "reconstruct": (checkpoints, files, values, values, parameters),
    "interpolate": (checkpoints, files, files, values, values, parameters),
    "swap_style": (checkpoints, files, files, values, parameters),
    "anomaly_score": (checkpoints, files, values, values, parameters),
}
calls = st.sampled_from(list(CALLS)).flatmap(lambda name: st.tuples(st.just(name), st.tuples(*CALLS[name])))


def encoded(body: object) -> bytes:
    """JSON, in which the marks of `HUGE` become what Python itself would not write."""
    text = json.dumps(body)
    for mark, literal in HUGE.items():
        text = text.replace(json.dumps(mark), literal)
    return text.encode()


def answered(http, name: str, answer) -> None:
    if answer.status_code != 200:
        assert 400 <= answer.status_code < 500, answer.text[:500]
        return
    kind, data = read(http, name, answer.json()["event_id"])
    assert kind in ("complete", "error")
    if kind == "error":
        clear((data or {}).get("error"))


@inputs(0.3)
@given(calls)
def test_arguments(served, drawn):
    name, arguments = drawn
    answered(served.http, name, post(served.http, name, encoded({"data": list(arguments)})))


@inputs(0.05)
@given(
    st.binary(max_size=60)
    | values.map(encoded)
    | st.dictionaries(st.sampled_from(["data", "session_hash"]), values).map(encoded)
)
def test_bodies(served, body):
    answered(served.http, "generate", post(served.http, "generate", body))


@inputs(0.15)
@given(st.sampled_from(["generate", "reconstruct", "none"]), values, values, values, values, parameters)
def test_requests(served, task, seed, number, classes, labels, given_):
    """What the tabs and Restore check: a request of any values, and classes that a person chose."""
    catalogue = served.runtime.catalogue
    wanted = {"checkpoint": "tiny-ddpm", "task": task, "seed": seed, "batch_size": number, "class_labels": labels}
    try:
        request = Request.from_dict({**wanted, "parameters": given_})
        request.checked(catalogue["tiny-ddpm"])
    except GenariumError as error:
        clear(error)
    try:
        choose_labels(catalogue["tiny-ddpm"], classes, 4)
    except GenariumError as error:
        clear(error)


# ---- files ----


def picture(form: str) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (9, 8, 3), np.uint8)
    data = io.BytesIO()
    PIL.Image.fromarray(pixels).save(data, form)
    return data.getvalue()


def sound(form: str, subtype: str) -> bytes:
    data = io.BytesIO()
    soundfile.write(data, np.sin(np.arange(900) / 9), 16_000, format=form, subtype=subtype)
    return data.getvalue()


PICTURES = [
    picture(form) for form in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF") if form in PIL.Image.SAVE
]
SOUNDS = [
    sound("WAV", "PCM_16"),
    sound("FLAC", "PCM_16"),
    sound("OGG", "VORBIS"),
    sound("WAV", "FLOAT"),
    sound("AIFF", "PCM_16"),
]
changes = st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=4)), max_size=6)


def damaged(whole: bytes, drawn: list[tuple[float, bytes]], keep: float) -> bytes:
    """Bytes overwritten at some places, more often near the beginning, and the end cut off."""
    data = bytearray(whole)
    for place, new in drawn:
        at = round(place**2 * (len(data) - 1))
        data[at : at + len(new)] = new
    return bytes(data[: round(keep * len(data))])


shares = st.just(1.0) | st.floats(0, 1)


@inputs(0.2)
@given(st.sampled_from(PICTURES), changes, shares)
def test_pictures(whole, drawn, keep):
    try:
        opened = open_picture(damaged(whole, drawn, keep))
    except GenariumError as error:
        clear(error)
    else:
        assert opened.mode in ("L", "RGB") and max(opened.size) <= MAX_SIDE


@inputs(0.1)
@given(st.sampled_from(SOUNDS), changes, shares)
def test_sounds(whole, drawn, keep):
    try:
        assert np.isfinite(
            decode_sound(damaged(whole, drawn, keep), 16_000, max_seconds=60, say=lambda text: None)
        ).all()
    except GenariumError as error:
        clear(error)


def with_entry(text: bytes, kind: bytes) -> bytes:
    """A PNG of one pixel with an entry of ours."""
    packed = {b"tEXt": text, b"zTXt": b"\0" + zlib.compress(text), b"iTXt": b"\0\0\0\0" + text}[kind]
    data = metadata.KEY.encode() + b"\0" + packed
    start = picture("PNG")[:33]  # signature and header
    return start + struct.pack(">I", len(data)) + kind + data + b"\0" * 4 + picture("PNG")[33:]


requests = st.fixed_dictionaries(
    {"checkpoint": st.sampled_from(["tiny-ddpm", "none"]) | values, "task": st.just("generate") | values},
    optional={
        "seed": values,
        "batch_size": values,
        "class_labels": values | st.lists(st.integers(0, 9), max_size=70),
        "parameters": parameters,
        "invert": values,
        "others": values,
        "more": values,
    },
)


@inputs(0.2)
@given(requests | values, st.sampled_from([b"tEXt", b"zTXt", b"iTXt"]), changes, shares)
def test_restore(served, restore_tab, tmp_path_factory, values, kind, drawn, keep):
    file = tmp_path_factory.getbasetemp() / "restored.png"
    file.write_bytes(damaged(with_entry(encoded(values), kind), drawn if keep < 1 else [], keep))
    updates = restore_tab._restore(str(file))
    assert restore_tab.restored in updates
    clear(updates[restore_tab.restored])


@pytest.fixture(scope="module")
def restore_tab(served):
    with gr.Blocks():
        return build_tab("generate", served.runtime)


def test_the_app_is_still_well(served, restore_tab, tmp_path):
    """What is right still gets a result, after all that."""
    asked = {"data": ["tiny-vae", 1, "any", 0, {}]}
    kind, data = read(served.http, "generate", post(served.http, "generate", asked).json()["event_id"])
    assert kind == "complete" and served.http.get(f"{API}/file={data[0][0]['path']}").status_code == 200
    request = Request("tiny-ddpm", "generate", batch_size=2, class_labels=(1, 2))
    file = save_picture(PIL.Image.new("L", (4, 4)), tmp_path / "a.png", request.to_dict())
    assert restore_tab._restore(str(file))[restore_tab.picker.dropdown] == "tiny-ddpm"
