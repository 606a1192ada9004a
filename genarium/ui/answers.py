"""What an event of the page or of the web API answers when it fails: always a sentence, never the words "null" or "Error".

Arguments come from strangers. Gradio hands on what a page would never send, logs its own errors about it with a traceback,
and repeats in them all that was sent.
"""

from __future__ import annotations

import tempfile
import traceback
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.helpers import special_args
from gradio.utils import get_upload_folder

from genarium import paths
from genarium.errors import GenariumError, InputError
from genarium.messages import printable, shortened
from genarium.ui.addresses import fetch_addresses
from genarium.ui.texts import TEXTS

WRONG_ARGUMENT = (
    "An argument is missing, too many, or of another kind than is taken here. A file is uploaded first, and then given as "
    '{"path": "...", "meta": {"_type": "gradio.FileData"}}; the page\'s link "Use via API" shows each argument.'
)
MAX_REPEATED = 400  # characters of an error of Gradio's, which repeats what was sent


def said(error: GenariumError) -> gr.Error:
    """Return the host's message as Gradio shows it, in the page and to programs; no traceback in the log for it."""
    return gr.Error(without_folders(str(error)), print_exception=False)


def without_folders(text: str) -> str:
    """Return a message without the folders of this machine, in which the app and its files are.

    The longest goes first: one may lie in another.
    """
    folders = (get_upload_folder(), tempfile.gettempdir(), str(paths.ROOT), str(Path.home()))
    for folder in sorted(folders, key=len, reverse=True):
        text = text.replace(folder.rstrip("/") + "/", "")
    return text


def _is_over_arguments(error: Exception) -> bool:
    """Return whether Gradio failed while it made a function's arguments, such as a click, of what came with the event."""
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(frame.f_code is special_args.__code__ for frame in frames)


def answer_in_words(app: gr.Blocks) -> None:
    """Let every event that fails end in a sentence.

    An error over the arguments, before any of our code runs or in an event of Gradio's own, is the caller's: it is not
    logged. What fails in our code is ours: Gradio logs it, and the caller reads that it failed here.
    """
    read: Any = app.preprocess_data
    process: Any = app.process_api

    async def preprocess_data(block_fn: Any, inputs: Any, *arguments: Any, **options: Any) -> Any:
        try:
            await fetch_addresses(inputs)
            return await read(block_fn, inputs, *arguments, **options)
        except gr.Error as error:  # of a drop-down, for one: the value is none of its choices
            text = without_folders(printable(shortened(str(error.message), MAX_REPEATED)))
            raise gr.Error(text, print_exception=False) from error
        except GenariumError as error:
            raise said(error) from error
        except Exception as error:
            raise said(InputError(WRONG_ARGUMENT)) from error

    async def process_api(block_fn: Any, *arguments: Any, **options: Any) -> Any:
        try:
            return await process(block_fn, *arguments, **options)
        except gr.Error:
            raise
        except GenariumError as error:
            raise said(error) from error
        except Exception as error:
            function = (app.fns[block_fn] if isinstance(block_fn, int) else block_fn).fn
            if getattr(function, "__module__", "").partition(".")[0] == "gradio" or _is_over_arguments(error):
                raise said(InputError(WRONG_ARGUMENT)) from error
            raise gr.Error(TEXTS["failed"][0]) from error

    app.preprocess_data = preprocess_data  # type: ignore[method-assign]
    app.process_api = process_api  # type: ignore[method-assign]
