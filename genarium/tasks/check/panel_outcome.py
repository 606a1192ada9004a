"""The right column of the page Check: the histogram with its threshold, the sheet of pictures, and files to take along."""

from __future__ import annotations

import html
import math
from pathlib import Path
from typing import Any, cast

import gradio as gr

from genarium.environment import KEEPING, is_allowed
from genarium.tasks.anomaly.checking import Checked
from genarium.tasks.check.consequences import Consequences, consequences
from genarium.tasks.check.histogram import histogram_svg, scale_of
from genarium.tasks.check.looking import Look
from genarium.tasks.check.panel_question import Stakes
from genarium.ui.files import keep
from genarium.ui.panels import filled, gallery, picture
from genarium.ui.runs import seconds, status_html
from genarium.ui.texts import TaskTexts, markup

Updates = dict[Any, Any]
MARKS = {"strange": "⚠", "ordinary": "✓"}


class Outcome:
    """The components that show a check. What was found is in the page's state `found`."""

    def __init__(self, texts: TaskTexts):
        self.texts = texts
        self.found = gr.State()  # a Look of this visitor
        self.status = markup("", elem_id="check-status")
        self.blank = markup(f'<div class="compare-empty">{texts.both("empty")}</div>', elem_id="check-blank")
        with gr.Column(visible=False) as self.answer:
            self.histogram = markup("", elem_id="check-histogram")
            self.threshold = gr.Slider(
                0, 1, 0.5, step=0.001, label=texts("threshold"), buttons=[], interactive=True, elem_id="check-threshold"
            )
            self.numbers = markup("", elem_id="check-numbers")
            self.sheet = gallery(texts("sheet"))
            self.sheet.elem_id = "check-sheet"
            self.sheet.allow_preview = False  # a chosen picture is shown below, larger and with its heat map
            self.picked = gr.State("")  # the name of a picture
            self.about = markup("", elem_id="check-about")
            with gr.Row(visible=False) as self.marks:
                self.normal = gr.Button(texts("mark_normal"), size="sm", elem_id="check-normal")
                self.strange = gr.Button(texts("mark_strange"), size="sm", elem_id="check-strange")
            self.overlay = picture(texts("overlay"), visible=False, elem_id="check-overlay")
            with gr.Row():
                self.take = {
                    name: gr.DownloadButton(cast(str, texts(name)), size="sm", elem_id=f"check-{name}")
                    for name in ("csv", "json", "overlays", "thresholds")
                }
            markup(f'<p class="note">{texts.both("take_along")}</p>')
            self.keep = gr.Button(texts("keep"), size="sm", visible=is_allowed(KEEPING), elem_id="check-keep")
            self.kept = markup("", elem_id="check-kept")

    @property
    def shown(self) -> list[Any]:
        """What `show` updates, but for the files to take along."""
        return [self.found, self.histogram, self.numbers, self.sheet, self.about, self.kept]

    @property
    def taken(self) -> list[Any]:
        """The files to take along."""
        return list(self.take.values())

    @property
    def outputs(self) -> list[Any]:
        """What `first` updates."""
        own = [self.status, self.blank, self.answer, self.threshold, self.picked, self.marks, self.overlay]
        return [*self.shown, *own, *self.taken]

    def first(self, found: Look, elapsed: float, unread: list[str], stakes: Stakes) -> Updates:
        """Return updates that show a new check."""
        words = self.texts.both("done", number=len(found.names), seconds=seconds(elapsed), strange=found.strange)
        if unread:
            words += " · " + self.texts.both("unread", reasons=html.escape("; ".join(unread[:5])))
        return {
            self.status: status_html(words),
            self.blank: gr.update(visible=False),
            self.answer: gr.update(visible=True),
            self.picked: "",
            self.marks: gr.update(visible=False),
            self.overlay: gr.update(visible=False),
            self.threshold: self.slider(found),
            self.take["overlays"]: keep(found.archive(), f"{_stem(found)}-heat-maps.zip"),
            **self.show(found, stakes),
            self.about: f'<p class="note">{self.texts.both("pick")}</p>',
        }

    def slider(self, found: Look) -> Any:
        """Return an update of the slider to the scores that there are; hidden where no ordinary picture is known."""
        if found.judge.threshold is None:
            return gr.update(visible=False)
        low, high = scale_of(found.judge.normal, found.judge.strange, found.scores, [found.judge.threshold])
        digits = -math.floor(math.log10((high - low) / 1000))
        low, high = round(low, digits), round(high, digits)
        value = min(
            max(round(found.judge.threshold, digits), low), high
        )  # what is shown; the threshold itself stays exact
        return gr.update(visible=True, minimum=low, maximum=high, step=10.0**-digits, value=value)

    def show(self, found: Look, stakes: Stakes) -> Updates:
        """Return updates that show a check by its threshold."""
        rows = found.rows
        files = [(found.picture_of(row.name), self._caption(row)) for row in rows]
        made = {
            "csv": keep(found.csv(), f"{_stem(found)}.csv"),
            "json": keep(found.json(), f"{_stem(found)}.json"),
            "thresholds": keep(found.thresholds(), "thresholds.json"),
        }
        return {
            self.found: found,
            self.sheet: filled(files, 6),
            self.kept: "",
            **{self.take[name]: path for name, path in made.items()},
            **self._drawn(found, stakes),
        }

    @staticmethod
    def _caption(row: Checked) -> str:
        """Return the score with a mark for the verdict, which needs no language."""
        mark = MARKS.get(row.verdict or "", "")
        return f"{mark} {row.score:.4g}".strip()

    def _drawn(self, found: Look, stakes: Stakes) -> Updates:
        """Return updates of the histogram and of the numbers below it."""
        judge = found.judge
        if judge.threshold is None:
            none = f'<div class="consequences"><p>{self.texts.both("none_known")}</p></div>'
            return {self.histogram: "", self.numbers: none}
        words = {
            "normal": self.texts.both("legend_normal", number=len(judge.normal)),
            "strange": self.texts.both("legend_strange", number=len(judge.strange)),
            "seen": self.texts.both("legend_seen", number=len(found.scores)),
        }
        label = self.texts.plain("histogram")
        drawn = histogram_svg(judge.normal, judge.strange, found.scores, judge.threshold, label, words)
        return {self.histogram: drawn, **self.weigh(found, stakes)}

    def weigh(self, found: Look, stakes: Stakes) -> Updates:
        """Return an update of the numbers below the histogram; none where no ordinary picture is known."""
        if found.judge.threshold is None:
            return {self.numbers: gr.skip()}
        return {self.numbers: self._words(consequences(found.judge, stakes.per_hour, stakes.costs))}

    def _words(self, found: Consequences) -> str:
        """Return what the threshold does, as HTML."""
        hour = found.alarms_per_hour
        lines = [
            self.texts.both(
                "alarms",
                number=f"{hour.value:.3g}",
                low=f"{hour.low:.3g}",
                high=f"{hour.high:.3g}",
                share=f"{100 * found.alarms.value:.3g}",
            )
        ]
        if found.recall and found.precision:
            numbers: dict[str, str] = {}
            for name, one in (("recall", found.recall), ("precision", found.precision)):
                numbers |= {name: f"{100 * one.value:.3g}", f"{name}_low": f"{100 * one.low:.3g}"}
                numbers[f"{name}_high"] = f"{100 * one.high:.3g}"
            lines.append(self.texts.both("found", **numbers))
        if found.best and found.cost:
            best = {"best": f"{found.best.value:.4g}", "low": f"{found.best.low:.4g}", "high": f"{found.best.high:.4g}"}
            lines.append(self.texts.both("best", cost=f"{found.cost.value:.3g}", **best))
        text = "".join(f"<p>{line}</p>" for line in lines)
        return f'<div class="consequences">{text}<p class="note">{self.texts.both("intervals")}</p></div>'

    @property
    def of_picture(self) -> list[Any]:
        """What `pick` updates."""
        return [self.picked, self.about, self.marks, self.overlay]

    def pick(self, found: Look, row: Checked) -> Updates:
        """Return updates that show where a picture is strange, and ask what the visitor knows of it."""
        verdict = "" if row.verdict is None else self.texts.both(f"verdict_{row.verdict}")
        words = self.texts.both("picked", name=html.escape(row.name), score=f"{row.score:.4g}", verdict=verdict)
        return {
            self.picked: row.name,
            self.about: f"<p>{words}</p>",
            self.marks: gr.update(visible=True),
            self.overlay: gr.update(visible=True, value=found.overlay_of(row.name)),
        }


def _stem(found: Look) -> str:
    """Return the beginning of the names of files."""
    return f"{Path(found.checkpoint).name}-check"
