"""Whatever goes wrong on the way to the Hub, the user reads what to do."""

import errno
from pathlib import Path

import httpx2
import pytest
from huggingface_hub import HfApi, constants, hf_hub_download, snapshot_download

from genarium.errors import GenariumError, HubError
from genarium.hub.errors import explain, hub_errors


@pytest.mark.parametrize(
    ("token", "repo", "words"),
    [
        (None, "user/private", "not logged in"),
        (None, "nobody/nothing", "not logged in"),
        ("hf_wrong", "user/model", "does not accept your token"),
        ("hf_other", "user/private", "no user/private on the Hub"),
        ("hf_user", "nobody/nothing", "no nobody/nothing on the Hub"),
        ("hf_user", "other/gated", "is gated. Ask for access"),
        ("hf_user", "a b/c d", "no valid Hub id"),
        ("hf_user", "user/model@v9", "no such revision"),
    ],
)
def test_reading(hub, monkeypatch, token, repo, words):
    hub.add_repo("user/model", {"a.json": b"{}"})
    hub.add_repo("user/private", {"a.json": b"{}"}, private=True)
    hub.add_repo("other/gated", {"a.json": b"{}"}, gated="auto")
    monkeypatch.setenv("HF_TOKEN", token) if token else monkeypatch.delenv("HF_TOKEN")
    name, _, revision = repo.partition("@")
    with pytest.raises(HubError, match=words), hub_errors(name):
        snapshot_download(name, revision=revision or None)


def test_a_file_that_is_not_there(hub):
    hub.add_repo("user/model", {"a.json": b"{}"})
    with (
        pytest.raises(HubError, match=r"user/model lacks a file that was asked for: b\.json"),
        hub_errors("user/model"),
    ):
        hf_hub_download("user/model", "b.json")


@pytest.mark.parametrize(
    ("token", "repo", "words"),
    [
        (None, "user/new", "not logged in"),
        ("hf_wrong", "user/new", "does not accept your token"),
        ("hf_read", "user/new", "no right to write to user/new"),
        ("hf_other", "user/new", "no right to write to user/new"),
    ],
)
def test_writing(hub, monkeypatch, token, repo, words):
    monkeypatch.setenv("HF_TOKEN", token) if token else monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(HubError, match=words), hub_errors(repo, "write"):
        HfApi().create_repo(repo)
    assert not hub.repos


@pytest.mark.parametrize(
    ("status", "headers", "words"),
    [
        (403, {}, "no right to read"),
        (404, {}, "no user/model on the Hub"),
        (409, {}, "at the same time"),
        (412, {}, "at the same time"),
        (418, {"message": "I am a teapot"}, r"refused \(418\). The Hub says: I am a teapot"),
        (429, {"ratelimit": '"api";r=0;t=55'}, "in 55 seconds"),
        (429, {"retry_after": "7"}, "in 7 seconds"),
        (429, {}, "in a few minutes"),
        (500, {}, r"trouble of its own \(500\)"),
        (503, {}, r"trouble of its own \(503\)"),
    ],
)
def test_answers_other_than_yes(hub, status, headers, words):
    hub.add_repo("user/model")
    hub.fail("GET", "/api/models/user/model", status, **headers)
    with pytest.raises(HubError, match=words), hub_errors("user/model"):
        HfApi().model_info("user/model")
    with hub_errors("user/model"):
        assert HfApi().model_info("user/model").id == "user/model"


def test_the_disk_is_full_and_nothing_half_written_stays(hub, monkeypatch):
    hub.add_repo("user/model", {"a.safetensors": bytes(5000)})
    write = Path.open

    def full(self, mode="r", *args, **kwargs):
        file = write(self, mode, *args, **kwargs)
        if self.name.endswith(".incomplete"):

            class Full(type(file)):
                def write(self, data):
                    raise OSError(errno.ENOSPC, "No space left on device", str(self.name))

            file.close()
            return Full(open(self, "wb", buffering=0))
        return file

    with monkeypatch.context() as context:
        context.setattr(Path, "open", full)
        with pytest.raises(HubError, match="the disk is full"), hub_errors("user/model"):
            snapshot_download("user/model")
    left = [p.name for p in Path(constants.HF_HUB_CACHE).rglob("*") if "incomplete" in p.name]
    assert left == []
    assert (Path(snapshot_download("user/model")) / "a.safetensors").read_bytes() == bytes(5000)


def test_no_network_cut_and_offline(hub, monkeypatch):
    hub.add_repo("user/model", {"a.safetensors": bytes(5000)})
    hub.cut("GET", "/resolve/", after=10, times=2)
    snapshot_download("user/model")  # goes on where it was cut
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match="HF_HUB_OFFLINE is set"), hub_errors("user/other"):
        snapshot_download("user/other")
    request = httpx2.Request("GET", "http://127.0.0.1")
    assert "cannot be reached" in explain(httpx2.ConnectError("refused", request=request), "user/model")
    assert "too long" in explain(httpx2.ReadTimeout("slow", request=request), "user/model")
    assert "what was uploaded is kept" in explain(httpx2.WriteError("cut", request=request), "user/model", "write")


def test_what_is_not_the_hubs_passes_as_it_is():
    with pytest.raises(ZeroDivisionError), hub_errors("user/model"):
        print(1 / 0)
    with pytest.raises(HubError, match="said so already"), hub_errors("user/model"):
        raise HubError("said so already")
    assert issubclass(HubError, GenariumError)
