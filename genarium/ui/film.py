"""The film of a run whose pictures are states of a Markov chain: it plays once, and a slider goes through it frame by frame.

All frames lie in one picture, below each other, and the slider moves it behind a window. So nothing is asked of the server.
"""

from __future__ import annotations

import json

import gradio as gr
import numpy as np
import PIL.Image

from genarium.ui.files import columns, data_url
from genarium.ui.texts import Texts

SHOWN = 16  # chains: each is sent with all its frames
MAX_HEIGHT = 16000  # pixels of the picture with all frames: browsers draw no higher ones


def build_film(**options) -> gr.HTML:
    """Return a component that shows what `film_html` returns."""
    return gr.HTML("", js_on_load=FILM_JS, apply_default_css=False, padding=False, **options)


def film_html(frames: np.ndarray | None, steps: list[int] | None) -> str:
    """Return a film as HTML for `build_film`; "" without frames.

    Args:
        frames: uint8 [N, F, C, H, W], of each picture; the first `SHOWN` pictures are shown side by side.
        steps: F numbers of steps, from 1, after which the states were taken.
    """
    if frames is None or not steps:
        return ""
    number, (height, width) = len(frames), frames.shape[-2:]
    wide = columns(min(number, SHOWN))
    rows = -(-min(number, SHOWN) // wide)
    kept = min(len(steps), MAX_HEIGHT // (rows * height))
    chosen = np.linspace(0, len(steps) - 1, kept).round().astype(int)
    shown, steps = frames[:SHOWN, chosen], [steps[i] for i in chosen]
    last = len(steps) - 1
    words = Texts.both("film_some", number=SHOWN) if number > SHOWN else Texts.both("film")
    return (
        f'<figure class="film" data-playing data-steps="{json.dumps(steps)}" style="--frame:0;--last:{last}">'
        f"<figcaption>{words}</figcaption>"
        f'<div class="window" style="--wide:{wide};aspect-ratio:{wide * width}/{rows * height};'
        f'background-image:url({data_url(_strip(shown, wide))})"></div>'
        f'<div class="reel"><button type="button" class="play">{Texts.both("film_play")}</button>'
        f'<button type="button" class="pause">{Texts.both("film_pause")}</button>'
        f"<label><span>{Texts.both('film_step')}</span>"
        f'<input type="range" min="0" max="{last}" value="0" step="1"><output>{steps[0]} / {steps[-1]}</output></label>'
        "</div></figure>"
    )


def _strip(frames: np.ndarray, wide: int) -> PIL.Image.Image:
    """Return sheets of all pictures, `wide` in a row, one sheet for each frame and all below each other."""
    number, length, channels, height, width = frames.shape
    blank = np.full((-number % wide, *frames.shape[1:]), 255, np.uint8)
    sheets = np.concatenate([frames, blank]).reshape(-1, wide, length, channels, height, width)
    pixels = sheets.transpose(2, 0, 4, 1, 5, 3).reshape(-1, wide * width, channels)  # frame, row, y, column, x, channel
    return PIL.Image.fromarray(pixels[..., 0] if channels == 1 else pixels)


# A film plays once when it arrives, unless the visitor's system asks for less motion. It then stands at its last frame.
FILM_JS = """
const FRAME_MILLISECONDS = 90;
const still = window.matchMedia('(prefers-reduced-motion: reduce)').matches;
let seen = null;

function show(film, frame) {
  const steps = JSON.parse(film.dataset.steps), input = film.querySelector('input');
  input.value = frame;
  film.style.setProperty('--frame', frame);
  film.querySelector('output').value = `${steps[frame]} / ${steps[steps.length - 1]}`;
}
function tick() {
  if (!element.isConnected) return clearInterval(timer);
  const film = element.querySelector('figure.film');
  if (film && film !== seen && still) { show(film, Number(film.querySelector('input').max)); delete film.dataset.playing; }
  seen = film;
  if (!film || !('playing' in film.dataset) || !film.offsetParent) return;
  const input = film.querySelector('input'), next = Number(input.value) + 1;
  if (next > Number(input.max)) delete film.dataset.playing;
  else show(film, next);
}
const timer = setInterval(tick, FRAME_MILLISECONDS);
element.addEventListener('input', event => {
  const film = event.target.closest('figure.film');
  delete film.dataset.playing;
  show(film, Number(event.target.value));
});
element.addEventListener('click', event => {
  const button = event.target.closest('.reel button');
  if (!button) return;
  const film = button.closest('figure.film'), input = film.querySelector('input');
  if (button.classList.contains('pause')) { delete film.dataset.playing; film.querySelector('.play').focus(); return; }
  if (input.value === input.max) show(film, 0);
  film.dataset.playing = '';
  film.querySelector('.pause').focus();
});
"""
