"""Shared by all tests: no network, no analytics, and tiny random checkpoints of every family."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

# before anything imports gradio, huggingface_hub or torch
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ["HF_HUB_OFFLINE"] = "1"
# one for all tests of a user, and not the user's own: starts of the app beside the tests are quick by it
os.environ["GENARIUM_CACHE"] = str(Path(tempfile.gettempdir()) / f"genarium-tests-{getattr(os, 'getuid', int)()}")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # tests start servers beside themselves, on few cores
if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 0)):  # side by side, each on its share of the cores
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))

import numpy as np
import pytest
import torch
from furnishing import furnish
from hub_server import HubServer
from ports import free_port

from genarium import paths
from genarium.catalogue import find_checkpoints
from genarium.families import Families, discover
from genarium.tasks import modality_of

ID2LABEL = {str(i): f"class {i}" for i in range(10)}

# The smallest networks that still have every part; a family that is not here is built with its own defaults.
UNET = {
    "patch_size": 2,
    "block_out_channels": [16, 32],
    "layers_per_block": 1,
    "attention_head_dim": 16,
    "norm_num_groups": 8,
}
TINY = {
    "autoregressive": {"kind": "made", "hidden_sizes": [32]},
    "dbn": {"hidden_sizes": [16, 12, 20], "initial_std": 1.0},
    "ddpm": UNET,
    "discrete-ae": {
        "code_size": 12,
        "encoder": {"block_out_channels": [4, 8]},
        "decoder": {"block_out_channels": [8, 8]},
        "prior": {"width": 32},
    },
    "dit": {"latent_channels": 2, "block_out_channels": [8, 16], "width": 32, "depth": 2, "num_heads": 2},
    "feature-memory": {"input_size": 64, "patch_memory": 60, "picture_memory": 8},
    "flow-matching": UNET,
    "normalizing-flow": {
        "network": "tarflow",
        "patch_size": 7,
        "width": 8,
        "num_blocks": 2,
        "layers_per_block": 1,
        "num_heads": 2,
    },
    "rbm": {"num_hidden": 16, "initial_std": 1.0},
    "gan": {
        "latent_dim": 8,
        "style_dim": 12,
        "block_out_channels": [8, 16],
        "feature_dim": 16,
        "encoder_channels": [8, 16],
    },
    "score-sde": UNET,
    "sparse-coding": {"num_atoms": 60, "num_nonzeros": 8, "prior_dim": 4, "mixture_components": 2},
    "style-ae": {
        "block_out_channels": [8, 16],
        "content_channels": [2, 4],
        "decoder_layers": 1,
        "style_dim": 8,
        "discriminator_widths": [8, 16],
    },
    "vae": {"latent_dim": 8, "block_out_channels": [8, 16], "layers_per_block": 1, "mixture_components": 1},
    "word-ae": {
        "texts": ["red cat", "blue dog", "cat face", "dog", "green apple", "apple with leaf", "fish", "blue fish"],
        "reader_widths": [8, 16],
        "writer_widths": [8, 16],
        "word_dim": 8,
        "hidden": 16,
    },
    "vqgan": {
        "block_out_channels": [8, 16],
        "decoder_layers": 1,
        "codebook_size": 32,
        "code_dim": 4,
        "width": 32,
        "num_layers": 2,
        "num_heads": 2,
        "discriminator_widths": [8, 16],
    },
}
SPEAKERS = {"speaker": {"0": "set/ann", "1": "set/bob", "2": "set/cy"}}
VOICE = {
    "bands": 20,
    "latent_dim": 4,
    "content_width": 16,
    "content_layers": 1,
    "speaker_width": 16,
    "speaker_dim": 8,
    "decoder_width": 16,
    "decoder_layers": 1,
    "vocoder": {"n_fft": 800, "hop_length": 200, "width": 16, "hidden": 32, "num_layers": 2},
    "vocoder_frames": 12,
    "discriminator_width": 2,
}
TINY |= {"voice-vae": VOICE, "voice-vqvae": VOICE | {"codebook_size": 16}}


def picture_families(families: Families) -> list:
    """Return the families that work on pictures."""
    return [family for family in families if modality_of(family.pipeline_class()) == "image"]


def build_tiny(family, **options):
    """A family's pipeline with a tiny random network, in evaluation mode; the same each time.

    For pictures 28x28 grey in ten classes, for sound 16 kHz and three speakers.
    """
    torch.manual_seed(0)
    data = {"sample_size": 28, "channels": 1, "id2label": ID2LABEL}
    if modality_of(family.pipeline_class()) == "audio":
        data = {"sampling_rate": 16000, "conditions": SPEAKERS}
    options = {**data, **TINY.get(family.name, {}), **options}
    pipeline = family.pipeline_class().build(**options)
    for component in pipeline.components.values():
        if isinstance(component, torch.nn.Module):
            for p in component.parameters():
                if p.ndim > 1 and not p.any():  # zero-initialised layers would hide what comes before them
                    torch.nn.init.normal_(p, std=0.02)
            component.eval().requires_grad_(False)
    if not hasattr(pipeline, "loss"):  # it is fitted only
        pipeline.fit([{"images": pictures(12, seed=1)}])
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def pictures(number: int, seed: int = 0) -> torch.Tensor:
    """Smooth random images, float [N, 1, 28, 28] in [-1, 1]."""
    noise = torch.randn(number, 1, 7, 7, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(noise, size=28, mode="bilinear").tanh()


def voice(seconds: float = 1.0, pitch: float = 120.0, seed: int = 0) -> torch.Tensor:
    """Something like speech: harmonics that come and go, with a little noise, float [T] in [-1, 1] at 16 kHz."""
    t = torch.arange(round(16000 * seconds)) / 16000
    generator = torch.Generator().manual_seed(seed)
    loudness = torch.rand(12, generator=generator)
    sound = sum(a * torch.sin(2 * torch.pi * pitch * (k + 1) * t) for k, a in enumerate(loudness))
    beat = 0.6 + 0.4 * torch.sin(2 * torch.pi * 3 * t + seed)
    return (0.03 * sound * beat + 0.001 * torch.randn(len(t), generator=generator)).clamp(-1, 1)


def run_bare(program: str, folder: Path, **environment: str) -> str:
    """Run a program in a process that cannot import this repository, in `folder` -> what it prints; it must succeed.

    `environment`: more variables, e.g. those of `HubServer.environment`.
    """
    run = subprocess.run(
        [sys.executable, "-P", "-c", program],
        cwd=folder,
        env={
            "PATH": "/usr/bin:/bin",
            "HOME": str(folder),
            "HF_HUB_OFFLINE": "1",
            "HF_MODULES_CACHE": str(folder / "modules"),
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    return run.stdout


@pytest.fixture(scope="session")
def families() -> Families:
    return discover(installed=False)


@pytest.fixture(scope="session")
def tiny_checkpoints(families, tmp_path_factory):
    """A folder with `tiny-<family>` for every built-in family of pictures; GENARIUM_CHECKPOINTS points to it meanwhile."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for family in picture_families(families):
        pipeline = build_tiny(family)
        scores = {}
        if hasattr(pipeline, "anomaly_score"):
            from genarium.tasks import controls_of, find_tasks
            from genarium.tasks.anomaly.quantiles import quantiles_key

            score = controls_of(type(pipeline), find_tasks()["anomaly"]).get("score")
            for key in score.choices if score else ["default"]:
                options = {"score": key} if score else {}
                values = pipeline.anomaly_score(pictures(16), **options).scores.numpy()
                scores[key] = np.quantile(values, np.linspace(0, 1, 201)).tolist()
                scores[quantiles_key(key, class_given=True)] = (0.01 * np.linspace(0, 1, 201)).tolist()
        pipeline.register_to_config(anomaly_quantiles=scores)
        pipeline.save_pretrained(folder / f"tiny-{family.name}")
    before = os.environ.get("GENARIUM_CHECKPOINTS")
    os.environ["GENARIUM_CHECKPOINTS"] = str(folder)
    yield folder
    os.environ.pop("GENARIUM_CHECKPOINTS")
    if before is not None:
        os.environ["GENARIUM_CHECKPOINTS"] = before


@pytest.fixture
def open_folder():
    """A folder that everybody can enter, for `ordinary_user`; pytest's own are its user's alone."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    for place in (folder, *folder.iterdir()):
        place.chmod(0o755)
    shutil.rmtree(folder)


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A house of its own for a test that adds plugins, recipes or checkpoints: copies of plugins/ and hub_configs/."""
    shutil.copytree(paths.plugins(), tmp_path / "plugins", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(paths.recipes(), tmp_path / "hub_configs")
    (tmp_path / "checkpoints").mkdir()
    for name in ("plugins", "checkpoints", "runs"):
        monkeypatch.setenv(f"GENARIUM_{name.upper()}", str(tmp_path / name))
    monkeypatch.setenv("GENARIUM_RECIPES", str(tmp_path / "hub_configs"))
    return tmp_path


@pytest.fixture
def vae(house, tiny_checkpoints) -> Path:
    """The folder of a tiny VAE in a house of its own, with all that publishing needs beside it."""
    return furnish(house, tiny_checkpoints / "tiny-vae", "vae")


@pytest.fixture
def no_trial(monkeypatch):
    """Load visitors' checkpoints without the trial in another process, which takes seconds; see runtime/test_trial.py."""
    from genarium.runtime import pipelines

    monkeypatch.setattr(pipelines, "try_loading", lambda checkpoint, stop: None)


@pytest.fixture(scope="module")
def browser():
    """The installed Chromium or Chrome, for test modules that import `browsing`."""
    from browsing import launched

    with launched() as browser:
        yield browser


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A Hub of this test's own (see helpers/hub_server.py), with huggingface_hub in this process turned to it, as hf_user.

    Child processes get there with `hub.environment(home)`. Waiting before a retry is left out.
    """
    from types import SimpleNamespace

    from huggingface_hub import constants, file_download, hf_api
    from huggingface_hub.utils import _http

    with HubServer() as server:
        home = tmp_path / "hf-home"
        home.mkdir()
        changed = {
            "ENDPOINT": server.endpoint,
            "HUGGINGFACE_CO_URL_TEMPLATE": server.endpoint + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_HUB_OFFLINE": False,
            "HF_HUB_DISABLE_XET": True,
            "HF_HOME": str(home),
            "HF_HUB_CACHE": str(home / "hub"),
            "HF_TOKEN_PATH": str(home / "token"),
            "HF_STORED_TOKENS_PATH": str(home / "stored_tokens"),
        }
        for name, value in changed.items():
            monkeypatch.setattr(constants, name, value)
        monkeypatch.setattr(hf_api.api, "endpoint", server.endpoint)  # made when the module was imported
        monkeypatch.setattr(_http, "time", SimpleNamespace(sleep=lambda seconds: None))
        monkeypatch.setattr(file_download, "time", SimpleNamespace(sleep=lambda seconds: None))
        monkeypatch.setenv("HF_TOKEN", "hf_user")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        _http.close_session()
        yield server
        _http.close_session()


@pytest.fixture(scope="package")
def served(tiny_checkpoints, tmp_path_factory):
    """The running app: its `url`, its `http` client, its `runtime` and its `blocks`; uploads lie in `folder`."""
    import httpx

    from genarium.runtime import Runtime
    from genarium.ui import build_app

    patch = pytest.MonkeyPatch()
    folder = tmp_path_factory.mktemp("uploads")
    patch.setenv("GRADIO_TEMP_DIR", str(folder))
    runtime = Runtime(find_checkpoints(discover(installed=False)), device="cpu")
    blocks, look = build_app(runtime)
    port = free_port()
    _, url, _ = blocks.launch(
        server_name="127.0.0.1", server_port=port, prevent_thread_lock=True, quiet=True, inbrowser=False, **look
    )
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as http:
        yield SimpleNamespace(url=url, http=http, runtime=runtime, blocks=blocks, folder=folder)
    blocks.close()
    patch.undo()
