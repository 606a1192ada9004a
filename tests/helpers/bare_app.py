"""A small Gradio app in a process of its own, which benchmarks measure beside the real one."""

import contextlib
import subprocess
import sys
import time
import urllib.request

from ports import free_port


@contextlib.contextmanager
def bare_app(code, *arguments):
    """Run a program that serves a Gradio app -> its address, and its process.

    Args:
        code: of the program. Its arguments are these, and at last the port.
    """
    port = free_port()
    process = subprocess.Popen([sys.executable, "-c", code, *map(str, arguments), str(port)])
    try:
        for _ in range(600):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=5).close()
                break
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}", process
    finally:
        process.terminate()
        process.wait(20)
