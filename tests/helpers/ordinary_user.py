"""What somebody meets who is not root: root may read and write everything, so that tests of permissions would prove nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import torch

NOBODY = 65534


def as_ordinary_user(work: Callable[[], Any]) -> Any:
    """Run something in a child of this process, which is no longer root -> what it returns, by way of JSON.

    Raises:
        RuntimeError: what it raised, in words.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            torch.set_num_threads(1)  # threads do not survive a fork
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            os.write(writing, json.dumps(work()).encode())
        except BaseException as error:
            os.write(writing, json.dumps({"raised": f"{type(error).__name__}: {error}"}).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    answer = json.loads(text)
    if isinstance(answer, dict) and "raised" in answer:
        raise RuntimeError(answer["raised"])
    return answer
