"""The app as people start it, `python app.py` in a process of its own, and what it takes of the machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
from ports import free_port

ROOT = Path(__file__).resolve().parents[2]
READY_SECONDS = 300  # the cores may be busy


class RealApp:
    """A process of the app; a context manager that starts and ends it.

    Args:
        folder: for the log, and for temporary files.
        environment: of the process, beside this process's own; a variable that is None is left out.
        options: further arguments of app.py.
    """

    def __init__(
        self, folder: Path, environment: Mapping[str, str | None] | None = None, options: tuple[str, ...] = ()
    ):
        self.log, self.temporary = folder / "log.txt", folder / "tmp"
        self.temporary.mkdir(exist_ok=True)
        given = {**os.environ, "TMPDIR": str(self.temporary), "GRADIO_TEMP_DIR": None, **(environment or {})}
        self.environment = {name: value for name, value in given.items() if value is not None}
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.options = options
        self.process: Any = None

    def __enter__(self) -> RealApp:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end(signal.SIGTERM)

    def start(self, tries: int = 3) -> None:
        """Start the process, and wait until it answers. The log goes on.

        On a machine that is very busy, Gradio gives up when the app does not answer itself in some seconds; it is tried again.
        """
        command = [sys.executable, str(ROOT / "app.py"), "--host", "127.0.0.1", "--port", str(self.port), *self.options]
        with self.log.open("a") as output:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=self.environment, stdout=output, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + READY_SECONDS
        while True:
            try:
                urllib.request.urlopen(self.url, timeout=5).close()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.end(signal.SIGKILL)
                    if tries > 1 and "does not reach itself" in self.log.read_text()[-1000:]:
                        return self.start(tries - 1)
                    raise AssertionError(self.log.read_text()[-4000:]) from None
                time.sleep(0.1)

    def end(self, how: signal.Signals) -> None:
        """Send a signal, and wait for the end."""
        self.process.send_signal(how)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def memory(self) -> int:
        """Return the bytes of memory that the process has, those of its children included."""
        process = psutil.Process(self.process.pid)
        return sum(one.memory_info().rss for one in (process, *process.children(recursive=True)))

    def files(self) -> int:
        """Return the bytes of temporary files."""
        total = 0
        for root, _, names in os.walk(self.temporary):
            for name in names:
                try:
                    total += os.lstat(os.path.join(root, name)).st_size
                except FileNotFoundError:  # deleted meanwhile
                    continue
        return total

    def tracebacks(self) -> list[str]:
        """Return the tracebacks in the log, each from its first line to its error."""
        found, lines = [], self.log.read_text(errors="replace").splitlines()
        for i, line in enumerate(lines):
            if "Traceback (most recent call last)" not in line:
                continue
            end = i + 1
            while end < len(lines) and (lines[end].startswith(" ") or lines[end].strip() in ("", "|")):
                end += 1
            found.append("\n".join(lines[i : end + 1]))
        return found
