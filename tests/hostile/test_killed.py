"""A process that is killed with SIGKILL: in the final export of a training, in a publish, and the app in the middle of runs.

A child of this process kills itself at a chosen point. Nothing half-written may be taken for whole, and the same command goes
on from there.
"""

import contextlib
import dataclasses
import os
import re
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import torch
from conftest import ID2LABEL, TINY, pictures
from huggingface_hub import get_session
from real_app import RealApp

from genarium import files
from genarium.catalogue import find_checkpoints
from genarium.checkpoints import load_pipeline, open_checkpoint
from genarium.data.images import ImageData
from genarium.families import discover
from genarium.hub.publish import Export, upload
from genarium.recipe import find_recipe
from genarium.training import loop, pipeline
from genarium.training.loop import train
from genarium.training.run_folder import RunFolder

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the child is a fork of this process")


def kill(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def killed(work: Callable[[], object]) -> bool:
    """Run something in a child -> whether it was killed on the way; what it prints is lost."""
    child = os.fork()
    if child == 0:
        try:
            torch.set_num_threads(1)  # threads do not survive a fork
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(1, 2)
            work()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


# ---- the final export of a training ----

FAMILIES = discover(installed=False)


class Renamed:
    """`Path.rename`, until a folder of this name is about to take its place."""

    def __init__(self, name: str, after: bool):
        self.name, self.after, self.rename = name, after, Path.rename

    def __call__(self, path: Path, target: Path) -> Path:
        comes = path.name == self.name and Path(target).name == self.name
        if comes and not self.after:
            kill()
        result = self.rename(path, target)
        if comes:
            kill()
        return result


POINTS: dict[str, Callable[[pytest.MonkeyPatch], object]] = {
    "before a weight is written": lambda patch: patch.setattr(pipeline, "new_checkpoint", kill),
    "weights without an index": lambda patch: patch.setattr(
        FAMILIES["vae"].pipeline_class(), "save_config", kill, raising=False
    ),
    "all but training.json": lambda patch: patch.setattr(pipeline, "write_text", kill),
    "the old version moved away": lambda patch: patch.setattr(Path, "rename", _method(Renamed("out", after=False))),
    "the new version in its place": lambda patch: patch.setattr(Path, "rename", _method(Renamed("out", after=True))),
    "before the run says that it is finished": lambda patch: patch.setattr(RunFolder, "keep_finished", kill),
}


def _method(function: Callable) -> Callable:
    return lambda self, target: function(self, target)


def recipe(seed: int):
    found = find_recipe("vae-fashion-mnist")
    settings = {"images": 32, "batch_size": 16, "warmup_steps": 1, "save_every": 1, "sample_every": 1000}
    settings |= {"compile": False, "precision": "fp32", "seed": seed}
    changed = dataclasses.replace(found.training, **settings)
    return dataclasses.replace(found, name="tiny-vae", architecture=TINY["vae"], training=changed)


def weights(folder: Path) -> bytes:
    return (folder / "vae/diffusion_pytorch_model.safetensors").read_bytes()


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A finished checkpoint in `out`, and beside it a run of another seed whose steps are all done: what is left is the export."""
    images = ((pictures(32) + 1) * 127.5).to(torch.uint8)
    data = ImageData(images, torch.arange(32) % 10, ID2LABEL)

    def go(seed: int, **options):
        return train(
            recipe(seed),
            FAMILIES["vae"],
            data=data,
            output=tmp_path / "out",
            run_folder=tmp_path / f"run{seed}",
            **options,
        )

    go(0)
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(loop, "finish", lambda *_: 1 / 0)
        go(1)
    return go


def test_a_training_killed_in_its_export_leaves_the_old_version_or_the_new(run, tmp_path, monkeypatch):
    out = tmp_path / "out"
    old = weights(out)
    seen = set()
    for name, arm in POINTS.items():
        with monkeypatch.context() as patch:
            arm(patch)
            assert killed(lambda: run(1)), name
        found = find_checkpoints_in(tmp_path)
        assert not found.broken and set(found.checkpoints) <= {"out"}, name
        if out.exists():
            load_pipeline(open_checkpoint(out, FAMILIES))
            seen.add(weights(out) == old)
        else:
            files.recover(out)
            assert weights(out) == old, name
    assert seen == {True, False}
    run(1)
    assert weights(out) != old and RunFolder(tmp_path / "run1").finished["images"] == 32
    assert not [path.name for path in tmp_path.glob(".*")], "what the killed ones left is cleared up"
    steps = []
    run(1, on_step=lambda step, loss: steps.append(step))
    assert not steps, "it is finished"


def find_checkpoints_in(folder: Path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENARIUM_CHECKPOINTS", str(folder))
        return find_checkpoints(FAMILIES)


# ---- a publish ----


@pytest.mark.parametrize(
    "point", ["/preupload/", "PUT .*/lfs/", "POST .*/verify", "POST .*/commit/", "after POST .*/commit/"]
)
def test_a_publish_that_is_killed_leaves_nothing_or_all(hub, tmp_path, point):
    exported = export_of(tmp_path)

    def send() -> None:
        hook = "response" if point.startswith("after ") else "request"
        pattern = re.compile(point.removeprefix("after "))

        def look(message) -> None:
            request = getattr(message, "request", message) if hook == "response" else message
            if pattern.search(f"{request.method} {request.url}"):
                kill()

        get_session().event_hooks[hook].append(look)
        upload(exported)

    assert killed(send)
    there = dict(hub.repo("user/model").files)
    whole = {name: (exported.folder / name).read_bytes() for name in exported.files}
    there.pop(".gitattributes")
    assert there == (whole if point.startswith("after ") else {})
    commit = upload(exported)
    repo = hub.repo("user/model")
    assert repo.sha == commit and len(repo.commits) == 2, "one commit, not two"
    assert {name: repo.files[name] for name in whole} == whole


def export_of(folder: Path) -> Export:
    place = folder / "export"
    place.mkdir()
    card = "---\nlicense: apache-2.0\nlibrary_name: diffusers\ntags: [genarium]\n---\n# A model"
    for name, content in (("README.md", card.encode()), ("model_index.json", b"{}"), ("a.safetensors", bytes(5000))):
        (place / name).write_bytes(content)
    return Export("user/model", place, {path.name: path.stat().st_size for path in place.iterdir()}, [])


# ---- the app ----


def test_the_app_killed_in_the_middle_of_runs_starts_again(tiny_checkpoints, tmp_path):
    """Its temporary files go with the next start, a visitor of before is answered in words, and it computes."""
    environment = {"GENARIUM_CHECKPOINTS": str(tiny_checkpoints)}
    asked = {"data": ["tiny-ddpm", 64, "any", 0, {"num_inference_steps": 200}]}
    with RealApp(tmp_path, environment) as app:
        with visitor(app) as http:
            file = Path(http.post("/gradio_api/upload", files={"files": ("a.png", b"a" * 50_000)}).json()[0])
            event = http.post("/gradio_api/call/generate", json=asked).json()["event_id"]
            threading.Thread(target=read_until_cut, args=(app, event), daemon=True).start()
            time.sleep(0.5)
            app.end(signal.SIGKILL)
        assert file.exists(), "nobody could delete it"
        app.start()
        assert not file.exists() and len(list(app.temporary.glob("genarium-files-*"))) == 1
        with visitor(app) as http:
            assert "no such call" in http.get(f"/gradio_api/call/generate/{event}").json()["detail"]
            quick = {"data": ["tiny-vae", 1, "any", 0, {}]}
            event = http.post("/gradio_api/call/generate", json=quick).json()["event_id"]
            assert "event: complete" in http.get(f"/gradio_api/call/generate/{event}").text
        app.end(signal.SIGTERM)
        assert not list(app.temporary.iterdir()), "a plain end leaves nothing"
        assert not [text for text in app.tracebacks() if f"{Path(files.__file__).parent}/" in text]


def visitor(app: RealApp) -> httpx.Client:
    return httpx.Client(base_url=app.url, timeout=60, trust_env=False)


def read_until_cut(app: RealApp, event: str) -> None:
    with contextlib.suppress(httpx.HTTPError), visitor(app) as http:
        http.get(f"/gradio_api/call/generate/{event}")
