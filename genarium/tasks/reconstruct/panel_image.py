"""How a reconstruction is shown: the input as the model saw it, what came back, where they differ, and what lies between."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr
import numpy as np

from genarium.checkpoints import Checkpoint
from genarium.media.pictures import code_map, grid, in_inferno, to_pictures, to_pixels
from genarium.tasks.reconstruct.panel_atoms import atoms_html
from genarium.tasks.reconstruct.results import ReconstructedPictures
from genarium.ui.codebook import codebook_html
from genarium.ui.files import keep_results
from genarium.ui.film import build_film, film_html
from genarium.ui.panels import Panel as Base
from genarium.ui.panels import keep_large, picture
from genarium.ui.texts import TaskTexts, markup
from genarium.ui.words import gloss_html


class Panel(Base[ReconstructedPictures]):
    """Three to five pictures side by side, the mean difference in words, the film, and what the picture's code is made of.

    That is the codebook where one is stored, and the atoms of a picture that is a sum. The words of a model whose code is words
    stand in a field. A visitor edits them, and the picture is drawn again.
    """

    blanks = 3

    def __init__(self, texts: TaskTexts):
        self.texts = texts
        with gr.Column(visible=False) as self.group:
            with gr.Row(elem_classes="side-by-side"):
                self.seen = picture(texts("seen"))
                self.noisy = picture(texts("noisy"), visible=False)
                self.made = picture(texts("reconstruction"))
                self.difference = picture(texts("difference"))
                self.codes = picture(texts("codes"), visible=False)
            with gr.Column(visible=False) as self.language:
                self.words = gr.Textbox(
                    label=texts("words"), info=texts("words_info"), max_lines=1, interactive=True, elem_id="words-read"
                )
                self.draw = gr.Button(texts("draw_words"), size="sm", elem_id="words-draw")
                self.gloss = markup("")
            self.answers = picture(texts("answers"), visible=False, elem_id="reconstruct-answers")
            self.note = markup("")
            self.film = build_film(elem_id="reconstruct-film")
            self.codebook = markup("", elem_id="reconstruct-codebook")
            self.atoms = markup("", elem_id="reconstruct-atoms")

    @property
    def outputs(self) -> list[Any]:
        pictures = [self.seen, self.noisy, self.made, self.difference, self.codes]
        words = [self.language, self.words, self.gloss]
        return [self.group, *pictures, *words, self.answers, self.note, self.film, self.codebook, self.atoms]

    @property
    def edits(self) -> dict[str, Any]:
        return {"words": self.words}

    @property
    def edited(self) -> list[Any]:
        return [self.words.submit, self.draw.click]

    def fill(self, result: ReconstructedPictures, checkpoint: Checkpoint, data: Mapping[Any, Any]) -> dict[Any, Any]:
        seen, made = result.inputs[0], result.pictures[0]
        error = np.abs(to_pixels([seen]).astype(float) - to_pixels([made]))[0].mean(axis=-1) / 255  # [H, W]
        # half of the brightness range is shown in full colour, so that two pictures can be compared by eye
        difference = in_inferno(np.clip(error / 0.5, 0, 1))
        book = "" if result.codes is None else codebook_html(checkpoint, self.texts, result.codes[0])
        codes = None if result.codes is None or book else keep_large(code_map(result.codes[0]))
        noisy = None if result.noisy is None else keep_large(result.noisy[0])
        atoms = ""
        if result.atoms is not None and result.weights is not None:
            atoms = atoms_html(result.atoms[0], result.weights[0], self.texts)
        return {
            self.seen: keep_large(seen),
            self.noisy: gr.update(visible=noisy is not None, value=noisy),
            self.made: keep_results(result)[0],
            self.difference: keep_large(difference),
            self.codes: gr.update(visible=codes is not None, value=codes),
            **self._language(result, checkpoint),
            self.answers: self._answers(result),
            self.note: f'<p class="note">{self.texts.both("mean_difference", share=100 * error.mean())}</p>',
            self.film: film_html(result.frames, result.frame_steps),
            self.codebook: book,
            self.atoms: atoms,
        }

    def _answers(self, result: ReconstructedPictures) -> dict[str, Any]:
        """Return an update that shows all answers in a square, of a model that gives several."""
        if result.answers is None or result.answers.shape[1] < 2:
            return gr.update(visible=False)
        pixels = (255 * result.answers[0].transpose(0, 2, 3, 1)).round().astype(np.uint8)
        return gr.update(visible=True, value=keep_large(grid(to_pictures(pixels))))

    def _language(self, result: ReconstructedPictures, checkpoint: Checkpoint) -> dict[Any, Any]:
        """Return updates that show the words of the result, and what they are in Chinese."""
        if not result.words:
            return {self.language: gr.update(visible=False)}
        words = result.words[0]
        gloss = gloss_html(checkpoint, self.texts, words)
        return {self.language: gr.update(visible=True), self.words: words, self.gloss: gloss}
