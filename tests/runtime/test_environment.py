"""What the operator sets: a wrong port or variable is one sentence, by its name, and no traceback."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from genarium import environment, paths, serve
from genarium.errors import InputError
from genarium.hub.offer import max_download
from genarium.runtime import Runtime


@pytest.mark.parametrize("value", ["much", "-1", "0", "nan", "inf", "1e400"])
@pytest.mark.parametrize(
    ("variable", "read"), [("GENARIUM_MEMORY_GB", Runtime), ("GENARIUM_MAX_DOWNLOAD_GB", max_download)]
)
def test_gigabytes(variable, read, value, monkeypatch, tiny_checkpoints):
    monkeypatch.setenv(variable, value)
    with pytest.raises(InputError, match=f"{variable}: takes a number of gigabytes"):
        read()
    monkeypatch.setenv(variable, "1.5")
    read()


@pytest.mark.parametrize("value", ["x", "-1", "65536", "7860.5"])
def test_ports(value, monkeypatch):
    with pytest.raises(InputError, match="--port: takes a port from 0 to 65535"):
        environment.check_port("--port", value)
    monkeypatch.setenv("GRADIO_SERVER_PORT", value)
    with pytest.raises(InputError, match="GRADIO_SERVER_PORT: takes a port"):
        environment.check_environment()
    monkeypatch.setenv("GRADIO_SERVER_PORT", "7860")
    environment.check_environment()
    monkeypatch.setenv("GRADIO_NUM_PORTS", value.replace("65536", "0"))
    with pytest.raises(InputError, match="GRADIO_NUM_PORTS"):
        environment.check_environment()


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError("Cannot find empty port in range: 7861-7861."), "Choose another --port"),
        (ValueError("When localhost is not accessible, a shareable link must be created."), "Set NO_PROXY"),
    ],
)
def test_a_launch_that_fails_is_one_sentence(monkeypatch, capsys, error, says):
    def launch(**options):
        raise error

    monkeypatch.setattr(serve, "_build", lambda: (SimpleNamespace(launch=launch), {}, None))
    monkeypatch.setattr(sys, "argv", ["app.py", "--port", "7861"])
    with pytest.raises(SystemExit) as end:
        serve.main()
    assert end.value.code == 2 and says in capsys.readouterr().err


def test_a_wrong_variable_is_said_before_gradio_reads_it():
    environment_ = {"PATH": "/usr/bin:/bin", "GRADIO_SERVER_PORT": "x"}
    run = subprocess.run(
        [sys.executable, "app.py"], cwd=paths.ROOT, env=environment_, capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 2 and "GRADIO_SERVER_PORT: takes a port" in run.stderr and "Traceback" not in run.stderr


@pytest.mark.parametrize(("module", "package"), [("datasets", "datasets"), ("tensorboard", "tensorboard")])
def test_training_names_the_file_of_what_it_lacks_before_it_begins(module, package, monkeypatch):
    from genarium.cli import app as commands

    monkeypatch.setitem(sys.modules, module, None)
    run = CliRunner().invoke(commands, ["train", "no-recipe"])
    assert run.exit_code == 2 and f"Training needs {package}: pip install -r requirements-dev.txt" in run.output


def test_a_command_that_lacks_a_package_names_the_file(monkeypatch):
    from genarium.cli import app as commands
    from genarium.cli import options

    def lack(*arguments):
        raise ModuleNotFoundError("No module named 'torchmetrics'", name="torchmetrics.image")

    monkeypatch.setattr(options, "make_runtime", lack)
    run = CliRunner().invoke(commands, ["evaluate", "x"])
    assert run.exit_code == 2 and "evaluate needs the package torchmetrics" in run.output


def test_ctrl_c_while_the_app_starts_is_no_traceback(monkeypatch):
    def press():
        raise KeyboardInterrupt

    monkeypatch.setattr(serve, "_build", press)
    monkeypatch.setattr(sys, "argv", ["app.py"])
    with pytest.raises(SystemExit) as end:
        serve.main()
    assert end.value.code == 130
