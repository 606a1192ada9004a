"""What the panels of pictures and of sound share: a score against those of ordinary data, and a verdict by threshold."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any, TypeVar

import gradio as gr

from genarium.checkpoints import Checkpoint
from genarium.evaluation.quantiles import percentile
from genarium.tasks.anomaly.calibration import USUAL_PERCENT
from genarium.tasks.anomaly.results import Scores
from genarium.ui.panels import Panel
from genarium.ui.texts import TaskTexts, in_both, markup

UNITS = {  # of scores, in Chinese; "nats" and "bits" are called so there, too
    "Mahalanobis distance": "马氏距离",
    "standard deviations": "个标准差",
    "feature distance": "特征距离",
}
AnyScores = TypeVar("AnyScores", bound=Scores)


class Scored(Panel[AnyScores]):
    """A verdict, and a slider for its threshold."""

    def _build_verdict(self, texts: TaskTexts) -> None:
        self.texts = texts
        self.verdict = markup("")
        self.threshold = gr.Slider(50, 100, USUAL_PERCENT, step=0.5, label=texts("threshold"), buttons=[])
        self.measured = gr.State()  # of this visitor: {"score", "unit", "quantiles", "kept"}
        self.threshold.change(
            self._judge,
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

    def fill(self, result: AnyScores, checkpoint: Checkpoint, data: Mapping[Any, Any]) -> dict[Any, Any]:
        measured = {
            "score": float(result.scores[0]),
            "unit": result.unit,
            "quantiles": result.quantiles(checkpoint),
            "kept": result.judge(checkpoint).calibration.threshold,
        }
        return {
            self.measured: measured,
            self.threshold: gr.update(visible=measured["quantiles"] is not None and measured["kept"] is None),
            self.verdict: self._judge(measured, data[self.threshold]),
        }

    def _judge(self, measured: Mapping[str, Any] | None, threshold: float) -> str:
        return verdict_html(measured, threshold, self.texts)


def verdict_html(measured: Mapping[str, Any] | None, threshold: float, texts: TaskTexts) -> str:
    """Return the score in words, on a scale, and as a verdict.

    Args:
        measured: score, unit and quantiles, and "kept", the threshold that is kept with the checkpoint, if there is one; None
            for nothing yet.
        threshold: per cent of ordinary test data that are called ordinary, where no threshold is kept.
        texts: of the task.
    """
    if not measured:
        return ""
    score, quantiles = measured["score"], measured["quantiles"]
    unit = str(measured["unit"])
    numbers = f"{texts.both('score')}: {score:.4g} {in_both(html.escape(unit), html.escape(UNITS.get(unit, unit)))}"
    if not quantiles:
        return f'<div class="verdict"><div class="head"><p>{numbers}</p></div>{texts.both("no_quantiles")}</div>'
    share = percentile(score, quantiles)
    kept = measured.get("kept")
    limit = quantiles[round(threshold / 100 * (len(quantiles) - 1))] if kept is None else kept
    threshold = threshold if kept is None else percentile(kept, quantiles)
    kind = "strange" if score > limit else "ordinary"
    words = texts.both("beyond_all") if score > quantiles[-1] else texts.both("stranger_than", share=share)
    return (
        f'<div class="verdict"><div class="head"><p>{words}</p>'
        f'<span class="chip {kind}">{texts.both("verdict_" + kind)}</span></div>'
        f'<div class="scale"><i class="limit" style="left:{threshold:.1f}%"></i>'
        f'<i class="mark" style="left:{share:.1f}%"></i></div>'
        f'<div class="note">{numbers} · {texts.both("threshold_score")}: {limit:.4g}</div></div>'
    )
