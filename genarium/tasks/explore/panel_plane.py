"""Planes on the page: the map, a sheet over the same plane, and a code grid to paint on. All are one component with one script."""

from __future__ import annotations

import html

import gradio as gr
import numpy as np
import PIL.Image

from genarium.media.pictures import code_map as colours_of
from genarium.tasks.explore.drawing import colour_of
from genarium.tasks.explore.mapping import CodeMap
from genarium.ui.files import data_url
from genarium.ui.texts import TaskTexts, class_name

UNITS = 1000  # of the SVG's width

MARKS = (
    '<rect class="box" width="0" height="0"/><circle class="same" r="13" visibility="hidden"/>'
    '<g class="cross" visibility="hidden"><circle r="20"/><path d="M-34 0h24M10 0h24M0 -34v24M0 10v24"/></g>'
)


def build_plane(value: str, **options) -> gr.HTML:
    """Return a component that shows one of these planes.

    Its event `select` brings {"place": [x, y]} and `submit` {"box": [x0, y0, x1, y1]}, in parts of the plane, y downwards.
    """
    return gr.HTML(value, js_on_load=PLANE_JS, apply_default_css=False, padding=False, **options)


def map_svg(code_map: CodeMap, side: str, texts: TaskTexts) -> str:
    """Return the map and its legend as HTML, for `PLANE_JS`."""
    places = (code_map.places() * UNITS).round().astype(int)
    groups = []
    for label in np.unique(code_map.labels):
        dots = "".join(f"M{x} {y}h0" for x, y in places[code_map.labels == label])
        groups.append(f'<path data-label="{label}" stroke="{colour_of(int(label))}" d="{dots}"/>')
    every = " ".join(f"{x},{y}" for x, y in places)
    words = html.escape(texts.plain("map_words").format(number=len(code_map)))
    return (
        f'<svg class="plane dots" viewBox="0 0 {UNITS} {UNITS}" tabindex="0" role="application" aria-label="{words}" '
        f'data-side="{side}" data-pictures="{html.escape(code_map.pictures)}" data-places="{every}">'
        f"<g>{''.join(groups)}</g>{MARKS}</svg>{_legend(code_map)}"
    )


def sheet_svg(sheet: PIL.Image.Image, side: str, words: str) -> str:
    """Return a sheet over the same plane as HTML, for `PLANE_JS`."""
    return (
        f'<svg class="plane" viewBox="0 0 {UNITS} {UNITS}" tabindex="0" role="application" data-side="{side}" '
        f'aria-label="{html.escape(words)}"><image href="{data_url(sheet)}" width="{UNITS}" height="{UNITS}" '
        f'preserveAspectRatio="none"/>{MARKS}</svg>'
    )


def _legend(code_map: CodeMap) -> str:
    present = [i for i in np.unique(code_map.labels) if 0 <= i < len(code_map.names)]
    items = "".join(
        f'<li><button type="button" data-label="{i}" aria-pressed="false"><i style="background:{colour_of(int(i))}"></i>'
        f"{class_name(code_map.names[i])}</button></li>"
        for i in present
    )
    return f'<ul class="legend">{items}</ul>'


def picture_html(picture: PIL.Image.Image, words: str) -> str:
    """Return a picture with words below it, as HTML. The words may hold markup."""
    return f'<figure><img src="{data_url(picture)}" alt=""><figcaption>{words}</figcaption></figure>'


def code_grid_svg(codes: np.ndarray, words: str) -> str:
    """Return a code grid [h, w] as HTML to paint on, for `PLANE_JS`: a colour for each code."""
    height, width = codes.shape
    sheet = colours_of(codes).resize((width * 8, height * 8), PIL.Image.Resampling.NEAREST)
    lines = "".join(f"M{UNITS * i / width:.0f} 0V{UNITS}" for i in range(1, width))
    lines += "".join(f"M0 {UNITS * i / height:.0f}H{UNITS}" for i in range(1, height))
    return (
        f'<svg class="plane paint" viewBox="0 0 {UNITS} {UNITS}" tabindex="0" role="application" data-side="paint" '
        f'data-steps="{width}" aria-label="{html.escape(words)}"><image href="{data_url(sheet)}" width="{UNITS}" '
        f'height="{UNITS}" preserveAspectRatio="none"/><path class="lines" d="{lines}"/>{MARKS}</svg>'
    )


# One component for every plane on the page: clicks, boxes, arrow keys, painting. Gradio's plots know no click between points
# and no box, and its images no keyboard. It sends the server places as parts of the plane, y downwards.
PLANE_JS = """
const clamp = v => Math.min(1, Math.max(0, v));
const plane = () => element.querySelector('svg.plane');
const UNITS = 1000;
let start = null, at = [0.5, 0.5], last = null;

function placesOf(svg) {
  if (!svg.places) svg.places = (svg.dataset.places || '').split(' ').filter(Boolean).map(p => p.split(',').map(Number));
  return svg.places;
}
function onPlane(event) {
  const r = plane().getBoundingClientRect();
  return [clamp((event.clientX - r.left) / r.width), clamp((event.clientY - r.top) / r.height)];
}
function put(node, x, y) {
  node.setAttribute('transform', `translate(${x * UNITS} ${y * UNITS})`);
  node.setAttribute('visibility', 'visible');
}
function crossAt(side, x, y) {
  document.querySelectorAll(`svg.plane[data-side="${side}"] .cross`).forEach(node => put(node, x, y));
}
function showNearest(svg, x, y) {
  const dots = document.querySelector(`svg.plane.dots[data-side="${svg.dataset.side}"]`);
  if (!dots) return;
  let best = -1, least = Infinity;
  placesOf(dots).forEach(([px, py], i) => {
    const d = (px - x * UNITS) ** 2 + (py - y * UNITS) ** 2;
    if (d < least) { least = d; best = i; }
  });
  document.querySelectorAll(`svg.plane.dots[data-pictures="${dots.dataset.pictures}"]`).forEach(other => {
    const [px, py] = placesOf(other)[best];
    put(other.querySelector('.same'), px / UNITS, py / UNITS);
    if (other !== dots) crossAt(other.dataset.side, px / UNITS, py / UNITS);
  });
}
function pick(x, y) {
  const svg = plane();
  at = [x, y];
  crossAt(svg.dataset.side, x, y);
  showNearest(svg, x, y);
  trigger('select', {place: at});
}
function cell(svg, x, y) {
  const n = Number(svg.dataset.steps);
  return [(Math.floor(Math.min(x, 0.9999) * n) + 0.5) / n, (Math.floor(Math.min(y, 0.9999) * n) + 0.5) / n];
}
function paint(svg, x, y) {
  const to = cell(svg, x, y), name = to.join();
  at = to;
  if (name !== last) { last = name; trigger('select', {place: to}); }
}
function boxOf(a, b) {
  return [Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.max(a[0], b[0]), Math.max(a[1], b[1])];
}
function drawBox(svg, box) {
  const rect = svg.querySelector('.box');
  ['x', 'y'].forEach((name, i) => rect.setAttribute(name, box[i] * UNITS));
  rect.setAttribute('width', (box[2] - box[0]) * UNITS);
  rect.setAttribute('height', (box[3] - box[1]) * UNITS);
}
function showOnly(label) {
  element.querySelectorAll('.legend button').forEach(b => {
    b.setAttribute('aria-pressed', b.dataset.label === label && b.getAttribute('aria-pressed') !== 'true');
  });
  const on = element.querySelector('.legend button[aria-pressed=true]');
  element.querySelectorAll('path[data-label]').forEach(p => {
    p.style.opacity = !on || p.dataset.label === on.dataset.label ? '' : 0.06;
  });
}

element.addEventListener('pointerdown', event => {
  const svg = event.target.closest('svg.plane');
  if (!svg || event.button) return;
  start = onPlane(event);
  last = null;
  if (svg.classList.contains('paint')) paint(svg, ...start);
  svg.setPointerCapture(event.pointerId);
});
element.addEventListener('pointermove', event => {
  const svg = plane();
  if (!start || !svg) return;
  if (svg.classList.contains('paint')) return paint(svg, ...onPlane(event));
  const box = boxOf(start, onPlane(event));
  if (Math.max(box[2] - box[0], box[3] - box[1]) > 0.03) drawBox(svg, box);
});
element.addEventListener('pointerup', event => {
  const svg = plane();
  if (!start || !svg) return;
  const box = boxOf(start, onPlane(event)), from = start;
  start = null;
  if (svg.classList.contains('paint')) return;
  if (Math.max(box[2] - box[0], box[3] - box[1]) > 0.03) trigger('submit', {box: box});
  else { drawBox(svg, [0, 0, 0, 0]); pick(...from); }
});
element.addEventListener('pointercancel', () => { start = null; });
element.addEventListener('keydown', event => {
  const svg = event.target.closest('svg.plane');
  if (!svg) return;
  const painting = svg.classList.contains('paint');
  const step = painting ? 1 / Number(svg.dataset.steps) : event.shiftKey ? 0.1 : 0.02;
  const [dx, dy] = {ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step]}[event.key] || [0, 0];
  if (dx || dy) {
    event.preventDefault();
    const to = [clamp(at[0] + dx), clamp(at[1] + dy)];
    if (painting) { at = cell(svg, ...to); crossAt('paint', ...at); } else pick(...to);
  } else if (event.key === 'Enter' || event.key === ' ') {
    event.preventDefault();
    if (painting) { last = null; return paint(svg, ...at); }
    const box = boxOf([clamp(at[0] - 0.1), clamp(at[1] - 0.1)], [clamp(at[0] + 0.1), clamp(at[1] + 0.1)]);
    drawBox(svg, box);
    trigger('submit', {box: box});
  }
});
element.addEventListener('click', event => {
  const button = event.target.closest('.legend button');
  if (button) showOnly(button.dataset.label);
});
"""
