"""The app with tiny checkpoints, on a port of its own, for programs that mean it no good."""

import socket
from types import SimpleNamespace

import httpx
import pytest

from genarium.catalogue import find_checkpoints
from genarium.families import discover
from genarium.runtime import Runtime
from genarium.ui import build_app


@pytest.fixture(scope="package")
def served(tiny_checkpoints, tmp_path_factory):
    """The running app: its `url`, its `http` client, its `runtime` and its `blocks`; uploads lie in `folder`."""
    patch = pytest.MonkeyPatch()
    folder = tmp_path_factory.mktemp("uploads")
    patch.setenv("GRADIO_TEMP_DIR", str(folder))
    runtime = Runtime(find_checkpoints(discover(installed=False)), device="cpu")
    blocks, look = build_app(runtime)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    _, url, _ = blocks.launch(
        server_name="127.0.0.1", server_port=port, prevent_thread_lock=True, quiet=True, inbrowser=False, **look
    )
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as http:
        yield SimpleNamespace(url=url, http=http, runtime=runtime, blocks=blocks, folder=folder)
    blocks.close()
    patch.undo()
