"""Files that cannot be used are refused when they are dropped, with words in both languages."""

import gradio as gr
import PIL.Image
import pytest

from genarium.tasks import find_tasks
from genarium.ui.inputs import PictureInputs, SoundInputs, example_pictures, example_sounds
from genarium.ui.texts import Texts


def dropped(kind, path):
    """What a place of a kind answers when a file is dropped on it: its new value, and the words below it."""
    task = find_tasks()["swap_style"]
    with gr.Blocks() as blocks:
        places = kind(task, Texts().of(task), True, None).components
    place = next(iter(places.values()))
    (check,) = (one for one in blocks.fns.values() if one.fn and (place._id, "upload") in one.targets)
    return check.fn(str(path))


@pytest.mark.parametrize(
    ("kind", "content", "chinese"),
    [(PictureInputs, b"\x89PNG\r\n\x1a\nnothing", "无法读取此文件为图片"), (SoundInputs, b"RIFF nothing", "无法读取")],
)
def test_a_damaged_file_is_taken_out_again_and_words_say_why(kind, content, chinese, tmp_path):
    (tmp_path / "damaged.png").write_bytes(content)
    value, words = dropped(kind, tmp_path / "damaged.png")
    assert value is None and 'class="in-en"' in words and chinese in words


def test_a_picture_that_is_cut_off_is_refused(tmp_path):
    PIL.Image.effect_noise((64, 64), 50).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:900])
    value, words = dropped(PictureInputs, tmp_path / "cut.png")
    assert value is None and "图片不完整" in words


@pytest.mark.parametrize(
    ("kind", "files"), [(PictureInputs, example_pictures("grey")), (SoundInputs, example_sounds())]
)
def test_what_can_be_used_stays_without_a_word(kind, files):
    value, words = dropped(kind, files[0])
    assert value == gr.skip() and words == ""
