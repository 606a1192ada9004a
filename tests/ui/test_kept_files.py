"""Files that the app keeps for visitors: whole at every moment, and one for equal contents."""

import threading
from pathlib import Path

import gradio as gr
import numpy as np
import PIL.Image
import pytest
from gradio import processing_utils
from tabs import build_tab

from genarium.catalogue import find_checkpoints
from genarium.families import discover
from genarium.runtime import Runtime
from genarium.runtime.request import Request
from genarium.ui import files
from genarium.ui.inputs import EXAMPLES


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "get_upload_folder", lambda: str(tmp_path))
    return tmp_path


def test_name_is_kept_and_contents_have_folders_of_their_own(folder):
    first, second = (Path(files.keep(data, "a.png")) for data in (b"one", b"two"))
    assert first.name == second.name == "a.png" and first.parent != second.parent
    assert (first.read_bytes(), second.read_bytes()) == (b"one", b"two")
    assert folder.resolve() in first.parents and files.keep(b"one", "a.png") == str(first)


def test_a_name_leads_nowhere_else(folder):
    assert Path(files.keep(b"data", "../../a.png")).parent.parent == folder.resolve()


def test_a_download_meets_no_half_file():
    """Two visitors make the same picture: while one downloads it, the other's is written."""
    data = bytes(2**20)
    path = files.keep(data, "a.png")
    stop, lengths = threading.Event(), set()

    def download():
        while not stop.is_set():
            lengths.add(len(Path(path).read_bytes()))

    def write():
        for _ in range(100):
            files.keep(data, "a.png")

    reader = threading.Thread(target=download)
    writers = [threading.Thread(target=write) for _ in range(3)]
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    reader.join()
    assert lengths == {len(data)}
    assert [entry.name for entry in Path(path).parent.iterdir()] == ["a.png"]


PICTURE_TASKS = {"reconstruct": ["images"], "interpolate": ["a", "b"], "anomaly": ["images"]}


@pytest.mark.parametrize("task", ["generate", *PICTURE_TASKS])
def test_panels_hand_on_files_and_leave_gradio_nothing_to_write(tiny_checkpoints, monkeypatch, task):
    """Gradio writes pictures of equal content into one file in place, also while another visitor downloads it."""
    runtime = Runtime(find_checkpoints(discover(installed=False)), device="cpu")
    with gr.Blocks():
        tab = build_tab(task, runtime)
    given = dict.fromkeys(PICTURE_TASKS.get(task, ()), EXAMPLES / "grey" / "sneaker-1.png")
    result = runtime.run(Request("tiny-vae", task, batch_size=1), given)
    panel = tab.outcome.panels["image"]
    for name in ("save_pil_to_cache", "save_img_array_to_cache", "save_bytes_to_cache"):
        monkeypatch.setattr(processing_utils, name, None)  # to call it fails
    settings = {component: component.value for component in panel.settings}
    shown = 0
    for component, update in panel.fill(result, runtime.checkpoint("tiny-vae"), settings).items():
        value = update.get("value") if isinstance(update, dict) else update
        if isinstance(component, (gr.Image, gr.Gallery)) and value is not None:
            component.postprocess(value)
            shown += 1
    assert shown


def test_a_shown_picture_is_whole_at_every_moment(folder):
    noise = PIL.Image.fromarray(np.random.default_rng(0).integers(0, 255, (336, 336, 3), np.uint8))
    path = Path(files.keep_shown(noise))
    stop, lengths = threading.Event(), set()

    def download():
        while not stop.is_set():
            lengths.add(len(path.read_bytes()))

    reader = threading.Thread(target=download)
    reader.start()
    for _ in range(10):
        assert files.keep_shown(noise) == str(path)
    stop.set()
    reader.join()
    assert lengths == {path.stat().st_size}
    assert np.array_equal(np.asarray(PIL.Image.open(path)), np.asarray(noise))
