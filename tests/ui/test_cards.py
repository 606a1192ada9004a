"""A checkpoint's card on the page is shown as far as it goes, whoever wrote it."""

import shutil

import PIL.Image
import pytest

from genarium.checkpoints import open_checkpoint
from genarium.ui.picker import card_text


@pytest.fixture
def mine(tiny_checkpoints, tmp_path):
    shutil.copytree(tiny_checkpoints / "tiny-vae", tmp_path / "mine")
    return tmp_path / "mine"


def test_a_card_in_latin_1_with_a_damaged_picture(mine, families):
    PIL.Image.new("L", (4, 4)).save(mine / "good.png")
    (mine / "bad.png").write_bytes((mine / "good.png").read_bytes()[:40])
    text = "---\r\nlicense: mit\r\n---\r\n# Schöne Bilder\r\n![a](good.png) ![b](bad.png) ![c](none.png) end"
    (mine / "README.md").write_bytes(text.encode("latin-1"))
    shown = card_text(open_checkpoint(mine, families))
    assert "Schöne Bilder" in shown and "license" not in shown and shown.endswith("end")
    assert shown.count("data:image/png") == 1
