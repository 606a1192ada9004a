"""What the first request needs, got ready in the background: torch, diffusers, and the first checkpoint."""

from __future__ import annotations

import contextlib
import ctypes
import sys
import threading

from genarium.errors import GenariumError
from genarium.runtime.scheduler import Runtime, spaces

SWITCH_SECONDS = 0.0005  # after which an import lets other threads go on: the page is being fetched meanwhile


class Warming:
    """Imports torch and diffusers, and loads the checkpoint that the page shows first, in a thread of its own.

    A request that comes earlier waits for it, or does the rest itself. On a ZeroGPU Space everything is imported at once: a
    run is a fork of the app there, and a fork in the middle of an import would wait for it forever.

    Args:
        runtime: of the app.
    """

    def __init__(self, runtime: Runtime):
        self.runtime = runtime
        self._lock = threading.Lock()
        self._launched = self._seen = self._begun = False
        self._thread = threading.Thread(target=self._work, name="warming")
        if spaces is not None:
            self._begun = True
            self._work()

    def seen(self) -> None:
        """Begin because the first page has been sent; not before the app is launched. Returns at once."""
        with self._lock:
            self._seen = True
            self._begin()

    def launched(self, unseen: float) -> None:
        """Say that the app is launched. Gradio has asked it for a page then, and would not have waited while torch is imported.

        Args:
            unseen: seconds after which it begins though nobody has looked at the first page.
        """
        with self._lock:
            self._launched = True
            self._begin()
        timer = threading.Timer(unseen, self.seen)
        timer.daemon = True
        timer.start()

    def _begin(self) -> None:
        if self._launched and self._seen and not self._begun:
            self._begun = True
            self._thread.start()

    def wait(self) -> None:
        """Return when all is ready."""
        if self._thread.is_alive():
            self._thread.join()

    def _work(self) -> None:
        usual = sys.getswitchinterval()
        sys.setswitchinterval(min(usual, SWITCH_SECONDS))
        try:
            _ = self.runtime.device  # imports torch and accelerate
            first = next(iter(self.runtime.catalogue.checkpoints), None)
            if first is not None and spaces is None:
                self.runtime.pipeline(first)
        except (GenariumError, ImportError, OSError):
            pass  # the next request for the checkpoint reports why it cannot be loaded
        finally:
            sys.setswitchinterval(usual)
            _give_back()


def _give_back() -> None:
    """Give memory that the imports no longer use back to the system, 11 MB of 379, where the C library can."""
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
