"""What a visitor has made: thumbnails of the results, kept in the visitor's own browser, to pin and to open again.

The server never sees the list. An entry holds the link of its result, so that it opens as any link does.
"""

from __future__ import annotations

import json

import gradio as gr

from genarium.ui.texts import Texts

CSS = """
.history { margin-top: 20px; padding-top: 14px; border-top: 1px solid var(--block-border-color); }
.history[hidden], .history [hidden] { display: none !important; }
.history header { display: flex; justify-content: space-between; align-items: baseline; gap: 12px; }
.history h2 { margin: 0; font-size: 15px; font-weight: 600; color: var(--body-text-color); }
.history ul { display: flex; gap: 12px; margin: 10px 0 0; padding: 4px; list-style: none; overflow-x: auto; }
.history li { flex: 0 0 104px; display: grid; gap: 4px; align-content: start; font-size: 12px; line-height: 1.35; }
.history a { display: grid; gap: 4px; color: var(--body-text-color); text-decoration: none; }
.history a:hover { text-decoration: underline; }
.history img { width: 104px; height: 104px; border-radius: 6px; object-fit: contain; background: var(--neutral-200); image-rendering: pixelated; }
.dark .history img { background: var(--neutral-700); }
.history button { justify-self: start; min-height: 28px; padding: 2px 10px; border-radius: 6px; font-size: 12px; cursor: pointer;
  border: 1px solid var(--border-color-primary); background: var(--button-secondary-background-fill);
  color: var(--button-secondary-text-color); }
.history button[aria-pressed=true] { border-color: var(--color-accent); font-weight: 600; }
.history a:focus-visible, .history button:focus-visible { outline: 2px solid var(--color-accent); }
"""
REMEMBER_JS = "(query) => window.genariumRemember?.({task}, query)"
SHOW_JS = """
const KEY = 'genarium-history', MOST = 24, SIDE = 104;
const section = element.querySelector('.history'), list = section.querySelector('ul'), pattern = list.querySelector('.pattern');

function read() {
  try { const found = JSON.parse(localStorage.getItem(KEY)); return Array.isArray(found) ? found : []; } catch { return []; }
}
function write(entries) {
  let unpinned = 0;
  const kept = entries.filter(entry => entry.pinned || unpinned++ < MOST);
  try { localStorage.setItem(KEY, JSON.stringify(kept)); } catch { /* a browser that keeps nothing shows nothing */ }
  show();
}
function show() {
  list.querySelectorAll('li:not(.pattern)').forEach(item => item.remove());
  const entries = read();
  section.hidden = !entries.length;
  [...entries.filter(entry => entry.pinned), ...entries.filter(entry => !entry.pinned)].forEach(entry => {
    const item = pattern.cloneNode(true), image = item.querySelector('img'), pin = item.querySelector('button');
    item.hidden = false;
    item.classList.remove('pattern');
    item.querySelector('a').href = '?' + entry.query;
    if (String(entry.thumb).startsWith('data:image/')) image.src = entry.thumb;
    item.querySelector('.in-en').textContent = entry.en;
    item.querySelector('.in-zh').textContent = entry.zh;
    pin.setAttribute('aria-pressed', !!entry.pinned);
    pin.addEventListener('click', () =>
      write(read().map(other => other.query === entry.query ? {...other, pinned: !other.pinned} : other)));
    list.append(item);
  });
}
async function thumbnail(answer) {
  const image = [...answer.querySelectorAll('.outcome img')].find(image => image.offsetParent);
  if (!image) return '';
  await image.decode().catch(() => {});
  const canvas = document.createElement('canvas'), scale = SIDE / Math.max(image.naturalWidth, image.naturalHeight, 1);
  canvas.width = Math.max(1, Math.round(image.naturalWidth * scale));
  canvas.height = Math.max(1, Math.round(image.naturalHeight * scale));
  const pen = canvas.getContext('2d');
  pen.imageSmoothingEnabled = scale < 1;
  pen.drawImage(image, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL('image/png');
}
const seen = {};
window.genariumRemember = async (task, query) => {
  const answer = document.getElementById(task + '-answer'), made = answer?.querySelector('.made');
  if (!made || !query || seen[task] === made.dataset.run) return;
  seen[task] = made.dataset.run;
  const name = language => (made.querySelector('b .' + language) ?? made.querySelector('b')).textContent;
  const seed = new URLSearchParams(query).get('seed') ?? '0';
  await new Promise(resolve => setTimeout(resolve, 300));  // until the pictures are in their places
  const entry = {query, thumb: await thumbnail(answer), en: name('in-en') + ' #' + seed, zh: name('in-zh') + ' #' + seed};
  const before = read(), same = before.find(other => other.query === query);
  write([{...entry, pinned: !!same?.pinned}, ...before.filter(other => other.query !== query)]);
};
section.querySelector('.forget').addEventListener('click', () => write(read().filter(entry => entry.pinned)));
show();
"""


def build_history() -> gr.HTML:
    """Return the strip of what this browser has made here; it is hidden until there is something."""
    pattern = (
        '<li class="pattern" hidden><a><img alt="" width="104" height="104"><span><span class="in-en" lang="en"></span>'
        f'<span class="in-zh" lang="zh"></span></span></a><button type="button">{Texts.both("pin")}</button></li>'
    )
    content = (
        f'<section class="history" hidden><header><h2>{Texts.both("history")}</h2>'
        f'<button type="button" class="forget">{Texts.both("forget")}</button></header><ul>{pattern}</ul></section>'
    )
    return gr.HTML(content, js_on_load=SHOW_JS, apply_default_css=False, padding=False, elem_id="history")


def remember(task: str) -> str:
    """Return JavaScript for the event after a run, which gets the query of the result's link: it adds the result to the list."""
    return REMEMBER_JS.format(task=json.dumps(task))
