"""Hostile inputs drawn from a seed: every answer is a clear error or a result, and nothing of ours is in the log.

A thousand by default; another number with

    GENARIUM_FUZZ=20000 python -m pytest tests/hostile/test_fuzz.py

Most of these go to the code itself. `benchmarks/fuzz.py` sends inputs to the running app alone.
"""

import os
from pathlib import Path

import gradio as gr
import numpy as np
import PIL.Image
import pytest
from hostile_inputs import (
    PICTURES,
    SOUNDS,
    calls,
    changes,
    damaged,
    encoded,
    parameters,
    requests,
    shares,
    values,
    with_entry,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stranger import API, post, read
from tabs import build_tab

from benchmarks.fuzz import CANARY, Visitor, send
from genarium.errors import GenariumError
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


def test_over_http(served, tmp_path):
    """Calls, events of the page, uploads and requests of any route, as `benchmarks/fuzz.py` sends them."""
    secret = tmp_path / "secret.txt"
    secret.write_text(CANARY)
    visitor = Visitor(served, secret)
    try:
        send(visitor, round(NUMBER * 0.2))
        assert not visitor.faults and not visitor.listener.asked
        assert visitor.answers["a result"] and visitor.answers["an error in words"]
    finally:
        visitor.close()


@inputs(0.15)
@given(calls)
def test_arguments(served, drawn):
    name, arguments = drawn
    answer = post(served.http, name, encoded({"data": list(arguments)}))
    if answer.status_code != 200:
        assert 400 <= answer.status_code < 500, answer.text[:500]
        return
    kind, data = read(served.http, name, answer.json()["event_id"])
    assert kind in ("complete", "error")
    if kind == "error":
        clear((data or {}).get("error"))


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


@inputs(0.2)
@given(requests | values, st.sampled_from([b"tEXt", b"zTXt", b"iTXt"]), changes, shares)
def test_restore(served, restore_tab, tmp_path_factory, values, kind, drawn, keep):
    file = tmp_path_factory.getbasetemp() / "restored.png"
    file.write_bytes(damaged(with_entry(encoded(values), kind), drawn if keep < 1 else [], keep))
    updates = restore_tab._restore(str(file))
    assert restore_tab.question.restored in updates
    clear(updates[restore_tab.question.restored])


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
    assert restore_tab._restore(str(file))[restore_tab.question.picker.dropdown] == "tiny-ddpm"
