"""Components that accept whatever a visitor or a program sends, so that the host can say what is wrong with it.

Gradio's own would fail before any of our code runs, and the visitor would read no more than "Error". The check is put
on the instance: for each subclass of a component, Gradio writes a .pyi file beside the module.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
import PIL.Image

from genarium.errors import GenariumError, InputError

EXAMPLES = Path(__file__).parent / "examples"


def said(error: GenariumError) -> gr.Error:
    """The host's message as Gradio shows it, in the page and to programs; no traceback in the log for it."""
    return gr.Error(str(error), print_exception=False)


def picture_input(**options: Any) -> gr.Image:
    """An image component whose value is the path of the file as it was given, never decoded here."""
    image = gr.Image(type="filepath", image_mode=None, **options)
    decode = image.preprocess

    def preprocess(payload):
        try:
            return decode(payload)
        except PIL.Image.DecompressionBombError as error:
            raise said(InputError("The picture has far too many pixels; make it smaller.")) from error
        except (OSError, ValueError, SyntaxError, EOFError) as error:
            message = "This file is no picture that can be read; use a PNG, JPEG, WebP or GIF."
            raise said(InputError(message)) from error

    image.preprocess = preprocess
    return image


def any_value(component: gr.components.Component, schema: dict[str, Any]) -> gr.components.Component:
    """The same component, but it hands on whatever a program sends, and documents itself as a JSON schema says.

    Gradio's own schema of `gr.JSON` is none that MCP clients accept.
    """
    component.preprocess = lambda payload: payload
    component.api_info = lambda: schema
    return component


def example_pictures() -> list[Path]:
    """The bundled pictures: one of each kind first, so that the first row shows them all, then the strange ones."""
    files = sorted(EXAMPLES.glob("*.png"))
    first = [f for f in files if f.stem.endswith("-1")]
    strange = [f for f in files if f.stem.startswith(("digit", "noise", "checker"))]
    return [*first, *strange, *(f for f in files if f not in first and f not in strange)]
