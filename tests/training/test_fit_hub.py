"""The command `fit` on a data set of the Hub, with the machine's own right to read it."""

import pytest
from tables import drawing, parquet
from typer.testing import CliRunner

from genarium.cli import app


@pytest.fixture
def bars(hub):
    files = {"data/train-0.parquet": parquet([drawing(i) for i in range(12)], [0, 1] * 6, ("lying", "standing"))}
    return hub.add_repo("user/bars", {**files, "README.md": b"---\nlicense: mit\n---\n"}, type="dataset", private=True)


def test_a_data_set_is_shown_and_drafted_before_anything_is_trained(hub, bars, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ["fit", "user/bars", "--out", "bars", "--look", "--run-folder", str(tmp_path / "run")]
    looked = CliRunner().invoke(app, command)
    assert looked.exit_code == 0, looked.output
    assert f"user/bars@{bars.sha}, license mit: 1 files" in looked.output and "12 pictures" in looked.output
    assert "classes: lying 6, standing 6" in looked.output and "of the Hub" in " ".join(looked.output.split())
    asked = hub.asked("GET", "/resolve/")
    assert CliRunner().invoke(app, command).exit_code == 0
    assert hub.asked("GET", "/resolve/") == asked, "what is here is not fetched again"


def test_a_folder_of_this_name_goes_before_the_hub(hub, bars, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "user/bars").mkdir(parents=True)
    for i in range(5):
        (tmp_path / f"user/bars/{i}.png").write_bytes(drawing(i))
    looked = CliRunner().invoke(app, ["fit", "user/bars", "--out", "bars", "--look"])
    assert looked.exit_code == 0 and "5 pictures" in looked.output and not hub.requests


def test_false_alarms_are_learnt_with_the_pictures_of_before(hub, bars, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "alarms").mkdir()
    for i in range(50, 55):
        (tmp_path / f"alarms/{i}.png").write_bytes(drawing(i))
    looked = CliRunner().invoke(
        app, ["fit", "user/bars", "alarms", "--out", "bars", "--look", "--run-folder", str(tmp_path / "run")]
    )
    assert looked.exit_code == 0, looked.output
    assert "17 pictures" in looked.output and "classes: lying 6, standing 6" in looked.output


@pytest.mark.parametrize(
    ("source", "said"), [("no-folder", "no file or folder"), ("user/none", "no user/none on the Hub")]
)
def test_what_is_neither_is_said(hub, source, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    looked = CliRunner().invoke(app, ["fit", source, "--out", "bars", "--look", "--run-folder", str(tmp_path / "run")])
    assert looked.exit_code and said in (looked.output + str(looked.exception)), looked.output
