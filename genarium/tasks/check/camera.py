"""The camera of the page Check: a frame a second from the visitor's own camera, with its score, its verdict and its heat map.

The browser takes the frames and sends the next one after the answer to the last. Nothing of them is kept here.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import io
import json
import math
import time
from collections.abc import Mapping
from typing import Any

import gradio as gr
import PIL.Image

from genarium.errors import GenariumError, InputError
from genarium.media.decoding import open_picture
from genarium.runtime import Runtime
from genarium.runtime.request import Request
from genarium.tasks import Task
from genarium.tasks.anomaly.checking import checked, overlay
from genarium.tasks.check.looking import MAX_SIDE, judge_for
from genarium.ui.answers import without_folders
from genarium.ui.problems import in_chinese
from genarium.ui.script import pairs, scripted

START = "new Camera(element, props, message => server.look(message));"
HEAD = "data:image/jpeg;base64,"  # of a frame, as the browser encodes it
MAX_FRAME = 400_000  # characters; a frame of MAX_SIDE pixels on a side needs a tenth
CAMERAS = 3  # frames that are under way at once, of all visitors


def build(task: Task, runtime: Runtime, checkpoint: str) -> gr.HTML:
    """Build the component. Its property `asked` is what `asked_of` returns."""
    looking = Looking(runtime)

    async def look(message: Any) -> dict[str, Any]:
        """Answer the page's script; see `Looking.answer`."""
        return await looking.answer(message)

    spec = {"texts": pairs(task), "side": MAX_SIDE}
    options = {"html_template": "<div></div>", "elem_id": "check-camera", "asked": asked_of(checkpoint, None)}
    return scripted(__package__, ("camera.js",), START, look, spec, **options)


def asked_of(checkpoint: str, threshold: float | None) -> str:
    """Return what the script sends with each frame: the checkpoint, and the visitor's threshold where they chose one."""
    return json.dumps({"checkpoint": checkpoint, "threshold": threshold})


class Looking:
    """Answers the cameras of all visitors, a few at once.

    Args:
        runtime: computes the scores.
    """

    def __init__(self, runtime: Runtime):
        self.runtime, self.under_way = runtime, 0

    async def answer(self, message: Any) -> dict[str, Any]:
        """Answer a frame.

        Args:
            message: {"picture": a JPEG as data URL, "checkpoint": its name, "threshold": a number or null, "high": the largest
                value of the heat maps so far, or null}.

        Returns:
            {"score", "percentile", "verdict", "overlay", "high", "seconds"}; {"busy": true} where too many cameras are on; or
            {"problem": [English, Chinese]}.
        """
        if self.under_way >= CAMERAS:
            return {"busy": True}
        self.under_way += 1
        try:
            return await asyncio.to_thread(self._look, message if isinstance(message, Mapping) else {})
        except GenariumError as error:
            english = without_folders(str(error))
            return {"problem": [english, in_chinese(english)]}
        finally:
            self.under_way -= 1

    def _look(self, message: Mapping[str, Any]) -> dict[str, Any]:
        started = time.perf_counter()
        checkpoint = self.runtime.checkpoint(message.get("checkpoint"))  # type: ignore[arg-type]  # refuses any other
        if "check" not in checkpoint.tasks:
            raise InputError(f"{checkpoint.name} cannot score pictures.")
        picture = _frame(message.get("picture"))
        _, judge, parameters = judge_for(checkpoint)
        request = Request(checkpoint.name, "anomaly", parameters=parameters, invert="no")
        result = self.runtime.run(request, {"images": [self.runtime.prepare(checkpoint.name, picture)]})
        row = checked(["frame"], [picture.size], [result], judge)[0]
        verdict, threshold = row.verdict, _number(message.get("threshold"))
        if threshold is not None:
            verdict = "strange" if row.score > threshold else "ordinary"
        shown, high = picture, None
        if result.maps is not None:
            high = max(float(result.maps.max()), _number(message.get("high")) or 0.0)
            shown = overlay(picture, result.maps[0], high, row.box if verdict == "strange" else None)
        return {
            "score": row.score,
            "percentile": row.percentile,
            "verdict": verdict,
            "overlay": _data_url(shown),
            "high": high,
            "seconds": round(time.perf_counter() - started, 2),
        }


def _frame(url: Any) -> PIL.Image.Image:
    """Decode a frame.

    Raises:
        InputError: it is no JPEG as a data URL, or too large.
    """
    if not isinstance(url, str) or not url.startswith(HEAD) or len(url) > MAX_FRAME:
        raise InputError(f"A frame is a JPEG of at most {MAX_SIDE} pixels on a side, as a data URL.")
    try:
        data = base64.b64decode(url.removeprefix(HEAD), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError("The frame is no base64.") from error
    picture = open_picture(data)
    picture.thumbnail((MAX_SIDE, MAX_SIDE))
    return picture


def _number(value: Any) -> float | None:
    """Return a finite number, None for anything else."""
    known = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e30
    return float(value) if known and math.isfinite(value) else None


def _data_url(picture: PIL.Image.Image) -> str:
    data = io.BytesIO()
    picture.convert("RGB").save(data, format="JPEG", quality=85)
    return HEAD + base64.b64encode(data.getvalue()).decode()
