"""The Dockerfile, checked without an engine: what goes into the image, and its steps done by an ordinary user."""

import fnmatch
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest
from ports import free_port

from genarium import paths


@pytest.fixture(scope="module")
def dockerfile() -> list[tuple[str, str]]:
    """Instruction and arguments, in order; comments dropped, continued lines joined."""
    text = re.sub(r"(?m)^\s*#.*\n", "", (paths.ROOT / "Dockerfile").read_text()).replace("\\\n", " ")
    return [tuple(line.split(None, 1)) for line in text.splitlines() if line.strip()]


def ignored(path: str) -> bool:
    """Whether .dockerignore keeps a path out: patterns hold for folders and all below them."""
    out = False
    for line in (paths.ROOT / ".dockerignore").read_text().split():
        pattern = line.removeprefix("!").removeprefix("**/").rstrip("/")
        parts = path.split("/")
        heads = ["/".join(parts[: i + 1]) for i in range(len(parts))] + (parts if line.startswith("**/") else [])
        if any(fnmatch.fnmatch(head, pattern) for head in heads):
            out = not line.startswith("!")
    return out


def test_the_container_has_what_the_app_needs(dockerfile):
    names = [name for name, _ in dockerfile]
    assert names[0] in ("ARG", "FROM") and "FROM" in names
    (image,) = [arguments for name, arguments in dockerfile if name == "FROM"]
    python = re.search(r'python_version: "(\d+\.\d+)"', (paths.ROOT / "README.md").read_text()).group(1)
    assert image.startswith(f"python:{python}"), "the same Python as in a Space"
    for name, arguments in dockerfile:
        if name in ("COPY", "ADD"):
            *sources, _ = [word for word in arguments.split() if not word.startswith("--")]
            for source in sources:
                assert (paths.ROOT / source).exists() and not ignored(source), source
    for needed in ("app.py", "genarium/runtime/scheduler.py", "hub_configs/card_template.md", "requirements.txt", "README.md",
                   "checkpoints/vae-fashion-mnist/vae/config.json", "pipelines/pipeline_vae.py", "plugins/vae/plugin.py"):  # fmt: skip
        assert (paths.ROOT / needed).exists() and not ignored(needed), f"{needed} must go into the image"
    for private in (".git/config", ".venv/bin/python", "runs/a/state", "genarium/__pycache__/a.pyc"):
        assert ignored(private), f"{private} must not go into the image"


def test_the_container_runs_the_app_as_an_ordinary_user(dockerfile):
    instructions = dict(dockerfile)  # the last of each kind counts
    user = instructions["USER"]
    created = [arguments for name, arguments in dockerfile if name == "RUN" and "useradd" in arguments]
    assert user not in ("root", "0") and any(user in line.split() and "--uid 1000" in line for line in created)
    names = [name for name, _ in dockerfile]
    copies = [i for i, name in enumerate(names) if name == "COPY"]
    assert names.index("USER") < min(copies), "files are made by that user, who must be able to read them"
    assert all("--chown=user" in dockerfile[i][1] for i in copies)
    installs = [i for i, (name, words) in enumerate(dockerfile) if name == "RUN" and "pip install" in words]
    assert installs and "-r requirements.txt" in dockerfile[installs[0]][1]
    assert copies[0] < installs[0] < copies[-1], "dependencies are installed before the code is copied"

    command = json.loads(instructions["CMD"])
    assert command[:2] == ["python", "app.py"] and instructions["WORKDIR"].startswith("/home/user")
    assert command[command.index("--port") + 1] == instructions["EXPOSE"].split("/")[0]
    assert command[command.index("--host") + 1] == "0.0.0.0", "or nobody outside could reach it"
    known = re.findall(r'add_argument\("(--[a-z]+)"', (paths.ROOT / "genarium/serve.py").read_text())
    assert {word for word in command if word.startswith("--")} <= set(known), "options that app.py takes"


# ---- its steps, done ----


def anybodys_python() -> str | None:
    """A Python of the image's version that other users may run too."""
    version = re.search(r"FROM python:(\d+\.\d+)", (paths.ROOT / "Dockerfile").read_text()).group(1)
    found = shutil.which(f"python{version}", path="/usr/local/bin:/usr/bin")
    return found and os.path.realpath(found)


@pytest.fixture(scope="module")
def as_user(tmp_path_factory):
    """Runs a command as user 1000, in a home of its own, with nothing installed -> subprocess.Popen."""
    python = anybodys_python()
    if python is None:
        pytest.skip("no Python of the image's version for all users here")
    home = Path(f"/tmp/genarium-container-{os.getpid()}")  # pytest's own folders are closed to other users
    home.mkdir(mode=0o755)
    root = os.geteuid() == 0
    drop = ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"] if root else []
    if root:
        os.chown(home, 1000, 1000)
    settings = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    config = Path("~/.config/pip/pip.conf").expanduser()  # where this machine's packages come from
    if config.exists():
        shutil.copy(config, home / "pip.conf")
        (home / "pip.conf").chmod(0o644)
        settings["PIP_CONFIG_FILE"] = str(home / "pip.conf")
    path = f"{home}/venv/bin:/usr/bin:/bin"
    environment = {"HOME": str(home), "TMPDIR": str(home), "PATH": path, "PYTHONUNBUFFERED": "1", **settings}

    def start(command: list[str], **options) -> subprocess.Popen:
        text = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen([*drop, *command], env=environment, **{"cwd": home, **text, **options})

    start.home, start.python = home, python
    yield start
    shutil.rmtree(home, ignore_errors=True)


def finish(process: subprocess.Popen) -> str:
    output, _ = process.communicate(timeout=1200)
    assert process.returncode == 0, output
    return output


@pytest.mark.slow
def test_its_steps_give_an_app_that_draws(dockerfile, as_user):
    app = as_user.home / "app"
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=paths.ROOT, capture_output=True, check=True).stdout
    for name in tracked.decode().split("\0"):
        if name and not ignored(name) and (paths.ROOT / name).is_file():  # COPY . .
            (app / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(paths.ROOT / name, app / name)
    if os.geteuid() == 0:
        subprocess.run(["chown", "-R", "1000:1000", str(app)], check=True)

    finish(as_user([as_user.python, "-m", "venv", "venv"]))
    index = as_user(["pip", "download", "-q", "--no-deps", "-d", "probe", "pyyaml"])
    if index.wait(timeout=300) != 0:
        pytest.skip(f"no package index here: {index.stdout.read()[-300:]}")
    for name, arguments in dockerfile:
        if name == "RUN" and "pip install" in arguments:
            finish(as_user([word for word in shlex.split(arguments) if word != "--user"], cwd=app))

    port = str(free_port())
    command = json.loads(dict(dockerfile)["CMD"])
    command[command.index("--port") + 1] = port
    log = (as_user.home / "log").open("w+")
    server = as_user(command, cwd=app, stdout=log)
    try:
        visit = f"""
from gradio_client import Client
client = Client("http://127.0.0.1:{port}", verbose=False)
files, report = client.predict(checkpoint="vae-fashion-mnist", num_images=2, seed=1, api_name="/generate")
assert len(files) == 2, files
"""
        deadline = time.monotonic() + 300
        while True:  # until it listens
            assert server.poll() is None and time.monotonic() < deadline, Path(log.name).read_text()
            with socket.socket() as knock:
                if knock.connect_ex(("127.0.0.1", int(port))) == 0:
                    break
            time.sleep(0.5)
        finish(as_user(["python", "-c", visit]))
    finally:
        server.terminate()
        server.wait(timeout=60)
        log.close()
