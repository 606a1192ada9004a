"""How each task's result is shown, if it is of pictures. A panel is a few components, hidden until there is a result."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr
import numpy as np
import PIL.Image

from genarium.checkpoints import Checkpoint
from genarium.evaluation.measures import percentile
from genarium.pictures import code_map, enlarge, grid, heat_map, to_pixels
from genarium.runtime import Result
from genarium.ui.files import columns, keep_animation, keep_picture, keep_pictures, tiles
from genarium.ui.maps import map_html
from genarium.ui.texts import Texts, markup

SHOWN_SIDE = 336  # pixels; a multiple of 28 and 56, near enough to one of 32
THRESHOLD = 95.0  # per cent: one ordinary picture in twenty is called strange


def _picture(texts: Texts, key: str, **options: Any) -> gr.Image:
    return gr.Image(
        label=texts(key),
        interactive=False,
        format="png",
        buttons=["download", "fullscreen"],
        elem_classes=["pixels", "shown"],
        min_width=140,
        **options,
    )


def _large(picture: PIL.Image.Image) -> PIL.Image.Image:
    return enlarge(picture, SHOWN_SIDE)


class Panel(ABC):
    """The result of one task.

    `group` is hidden until there is a result; `blanks` empty places stand for it until then, square or `wide`.
    """

    group: gr.Column
    blanks: int
    wide = False

    @property
    @abstractmethod
    def outputs(self) -> list[Any]:
        """All that `fill` may update, and the group."""

    @property
    def settings(self) -> list[Any]:
        """Components of the panel whose values `fill` needs."""
        return []

    @abstractmethod
    def fill(self, result: Result, checkpoint: Checkpoint, data: Mapping[Any, Any]) -> dict[Any, Any]:
        """Updates that show a result, given the page's values."""

    def preview(self, pictures: Sequence[PIL.Image.Image]) -> str:
        """HTML of the estimate while the run goes on."""
        return tiles(pictures)


class Sheet(Panel):
    """Generated pictures: a gallery of exact PNGs, and all of them on one sheet."""

    blanks = 16

    def __init__(self, texts: Texts):
        with gr.Column(visible=False) as self.group:
            self.gallery = _gallery(texts, "results")
            self.download = gr.DownloadButton(texts("sheet"), size="sm")

    @property
    def outputs(self) -> list[Any]:
        return [self.group, self.gallery, self.download]

    def fill(self, result: Result, checkpoint: Checkpoint, data: Mapping[Any, Any]) -> dict[Any, Any]:
        files = keep_pictures(result.pictures, result.request)
        wide = columns(len(files))
        sheet = grid([enlarge(p, 112) for p in result.pictures], wide, gap=8)
        name = f"{checkpoint.stem}-seed{result.request.seed}-sheet.png"
        return {
            self.gallery: gr.update(value=files, columns=wide, selected_index=None),
            self.download: gr.update(value=keep_picture(sheet, name, result.request)),
        }


def _gallery(texts: Texts, key: str) -> gr.Gallery:
    return gr.Gallery(
        label=texts(key),
        format="png",
        interactive=False,
        object_fit="contain",
        height="auto",
        buttons=["download", "download_all", "fullscreen"],
        elem_classes=["pixels", "sheet"],
    )


class Pair(Panel):
    """An input as the model saw it, what became of it, where they differ, and the codes between, if it has some."""

    blanks = 3

    def __init__(self, texts: Texts, key: str = "reconstruction"):
        with gr.Column(visible=False) as self.group:
            with gr.Row(elem_classes="side-by-side"):
                self.seen = _picture(texts, "seen")
                self.made = _picture(texts, key)
                self.difference = _picture(texts, "difference")
                self.codes = _picture(texts, "codes", visible=False)
            self.note = markup("")

    @property
    def outputs(self) -> list[Any]:
        return [self.group, self.seen, self.made, self.difference, self.codes, self.note]

    def fill(self, result: Result, checkpoint: Checkpoint, data: Mapping[Any, Any]) -> dict[Any, Any]:
        seen, made = result.inputs[0], result.pictures[0]
        error = np.abs(to_pixels([seen]).astype(float) - to_pixels([made]))[0].mean(axis=-1) / 255  # [H, W]
        # half of the brightness range is shown in full colour, so that two pictures can be compared by eye
        difference = heat_map(error, PIL.Image.new("L", made.size), high=0.5, alpha=1.0)
        codes = None if result.codes is None else _large(code_map(result.codes[0]))
        return {
            self.seen: _large(seen),
            self.made: keep_pictures([made], result.request)[0],
            self.difference: _large(difference),
            self.codes: gr.update(visible=codes is not None, value=codes),
            self.note: f'<p class="note">{Texts.both("mean_difference", share=100 * error.mean())}</p>',
        }


class Swap(Panel):
    """Content and style as the model saw them, what came of the two, and where these lie among the known styles."""

    blanks = 3

    def __init__(self, texts: Texts):
        with gr.Column(visible=False) as self.group:
            with gr.Row(elem_classes="side-by-side"):
                self.content = _picture(texts, "input_content")
                self.style = _picture(texts, "input_style")
            self.gallery = _gallery(texts, "results")
            self.map = markup("")

    @property
    def outputs(self) -> list[Any]:
        return [self.group, self.content, self.style, self.gallery, self.map]

    def fill(self, result: Result, checkpoint: Checkpoint, data: Mapping[Any, Any]) -> dict[Any, Any]:
        files = keep_pictures(result.pictures, result.request)
        content, *style = result.inputs  # no style picture where it was chosen by its name
        return {
            self.content: _large(content),
            self.style: gr.update(visible=bool(style), value=_large(style[0]) if style else None),
            self.gallery: gr.update(value=files, columns=columns(len(files)), selected_index=None),
            self.map: map_html(result.style_map),
        }


class Walk(Panel):
    """From one picture to another: the two as the model saw them, an animation, and the strip of its frames."""

    blanks = 3

    def __init__(self, texts: Texts):
        with gr.Column(visible=False) as self.group:
            with gr.Row(elem_classes="side-by-side"):
                self.a = _picture(texts, "input_a")
                self.animation = _picture(texts, "animation")
                self.b = _picture(texts, "input_b")
            self.strip = _gallery(texts, "strip")

    @property
    def outputs(self) -> list[Any]:
        return [self.group, self.a, self.animation, self.b, self.strip]

    def fill(self, result: Result, checkpoint: Checkpoint, data: Mapping[Any, Any]) -> dict[Any, Any]:
        files = keep_pictures(result.pictures, result.request)
        return {
            self.a: _large(result.inputs[0]),
            self.b: _large(result.inputs[1]),
            self.animation: keep_animation(result.pictures, f"{checkpoint.stem}-interpolation.webp"),
            self.strip: gr.update(value=files, columns=min(8, len(files)), selected_index=None),
        }


class Scored(Panel):
    """An anomaly score against those of ordinary data, and a verdict by threshold."""

    def _build_verdict(self, texts: Texts) -> None:
        self.verdict = markup("")
        self.threshold = gr.Slider(50, 100, THRESHOLD, step=0.5, label=texts("threshold"), buttons=[])
        self.measured = gr.State()  # of this visitor: {"score", "unit", "quantiles"}
        self.threshold.change(
            verdict_html,
            [self.measured, self.threshold],
            self.verdict,
            queue=False,
            show_progress="hidden",
            api_visibility="private",
        )

    @property
    def outputs(self) -> list[Any]:
        return [self.group, self.verdict, self.threshold, self.measured]

    @property
    def settings(self) -> list[Any]:
        return [self.threshold]

    def fill(self, result: Result, checkpoint: Checkpoint, data: Mapping[Any, Any]) -> dict[Any, Any]:
        measured = {
            "score": float(result.scores[0]),
            "unit": result.unit,
            "quantiles": checkpoint.quantiles(result.request.parameters, result.request.class_labels is not None),
        }
        return {
            self.measured: measured,
            self.threshold: gr.update(visible=measured["quantiles"] is not None),
            self.verdict: verdict_html(measured, data[self.threshold]),
        }


class Strangeness(Scored):
    """How strange a picture is, and where."""

    blanks = 2

    def __init__(self, texts: Texts):
        with gr.Column(visible=False) as self.group:
            self._build_verdict(texts)
            with gr.Row(elem_classes="side-by-side"):
                self.seen = _picture(texts, "seen")
                self.map = _picture(texts, "heat_map")

    @property
    def outputs(self) -> list[Any]:
        return [*super().outputs, self.seen, self.map]

    def fill(self, result: Result, checkpoint: Checkpoint, data: Mapping[Any, Any]) -> dict[Any, Any]:
        seen = result.inputs[0]
        shown = gr.update(visible=False)
        if result.maps is not None:
            picture = _large(heat_map(np.maximum(result.maps[0], 0), seen))
            name = f"{checkpoint.stem}-heat-map.png"
            shown = gr.update(visible=True, value=keep_picture(picture, name, result.request))
        return {**super().fill(result, checkpoint, data), self.seen: _large(seen), self.map: shown}


def verdict_html(measured: Mapping[str, Any] | None, threshold: float) -> str:
    """The score in words, on a scale, and as a verdict."""
    if not measured:
        return ""
    score, quantiles = measured["score"], measured["quantiles"]
    numbers = f"{Texts.both('score')}: {score:.4g} {measured['unit']}"
    if not quantiles:
        return f'<div class="verdict"><div class="head"><p>{numbers}</p></div>{Texts.both("no_quantiles")}</div>'
    share = percentile(score, quantiles)
    limit = quantiles[round(threshold / 100 * (len(quantiles) - 1))]
    kind = "strange" if score > limit else "ordinary"
    words = Texts.both("beyond_all") if score > quantiles[-1] else Texts.both("stranger_than", share=share)
    return (
        f'<div class="verdict"><div class="head"><p>{words}</p>'
        f'<span class="chip {kind}">{Texts.both("verdict_" + kind)}</span></div>'
        f'<div class="scale"><i class="limit" style="left:{threshold:.1f}%"></i>'
        f'<i class="mark" style="left:{share:.1f}%"></i></div>'
        f'<div class="note">{numbers} · {Texts.both("threshold_score")}: {limit:.4g}</div></div>'
    )


PANELS = {"generate": Sheet, "reconstruct": Pair, "interpolate": Walk, "swap_style": Swap, "anomaly": Strangeness}
