"""card, publish, pull and deploy as people call them: programs of their own, whose Hub is given by environment variables."""

import json
import os
import subprocess
import sys

import pytest
from hub_server import HubServer

from genarium import paths


@pytest.fixture
def call(house, tmp_path):
    """Runs a command against a Hub of its own -> (what it printed, the Hub); fails unless it exits with `code`."""
    with HubServer() as server:

        def invoke(*arguments, code=0, token="hf_user"):
            kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
            run = subprocess.run(
                [sys.executable, "-m", "genarium", *arguments],
                cwd=paths.ROOT,
                env={**kept, **server.environment(tmp_path / "hf-home", token)},
                capture_output=True,
                text=True,
                timeout=600,
            )
            assert run.returncode == code, run.stdout + run.stderr
            assert "Traceback" not in run.stderr
            return run.stdout + run.stderr

        invoke.hub = server
        yield invoke


def test_card(call, vae):
    assert "is sound, and the Hub takes it" in call("card", "tiny-vae", "--check")
    assert call.hub.asked("POST", "/api/validate-yaml") == 1 and not call.hub.repos


def test_publish(call, vae, house):
    output = call("publish", "tiny-vae", "--repo", "user/tiny-vae", "--private", "--pin")
    repo = call.hub.repo("user/tiny-vae")
    assert repo.private and {"model_index.json", "README.md", "pipeline_vae.py"} < set(repo.files)
    assert f"revision: {repo.sha}" in output and "bit for bit: generate" in output
    assert repo.sha in (house / "hub_configs/tiny-vae.yaml").read_text()


def test_pull(call, tiny_checkpoints, house):
    call.hub.add_folder("someone/vae", tiny_checkpoints / "tiny-vae")
    assert "Use it as mine" in call("pull", "someone/vae", "--name", "mine")
    index = json.loads((house / "checkpoints/mine/model_index.json").read_text())
    assert index["_class_name"][1] == "VAEPipeline" and not list((house / "checkpoints").rglob("*.py"))


def test_deploy(call, tmp_path):
    assert "does not accept your token" in call("deploy", "user/space", code=2, token="hf_wrong")
    assert "you are not logged in" in call("deploy", "user/space", code=2, token=None).lower()
    assert not call.hub.repos
    output = call("deploy", "user/space")
    space = call.hub.repo("user/space", "space")
    assert f"/spaces/user/space\n  revision: {space.sha}" in output and "app.py" in space.files
