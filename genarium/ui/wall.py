"""Real samples of the checkpoints, there before anybody presses Run: a wall of them, and thumbnails in the picker."""

from __future__ import annotations

import html
import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from urllib.parse import quote

import numpy as np
import PIL.Image

from genarium.card.part import card_parts
from genarium.checkpoints import Checkpoint
from genarium.notices import note
from genarium.ui.files import keep
from genarium.ui.storage import STORAGE
from genarium.ui.texts import Texts, in_both_of

SHOWN = 4  # samples of a checkpoint on the wall; the picker shows the first
SIDE = 48  # pixels at most of a sample; larger ones are made smaller
GAP = 2  # pixels between samples
CSS = """
.wall > p { margin: 0 0 10px; font-size: 14px; color: var(--body-text-color-subdued); }
.strips { display: grid; gap: 14px 16px; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); }
.strips button { display: flex; flex-direction: column; gap: 5px; padding: 6px; margin: -6px; border: none; border-radius: 8px;
  background: none; text-align: left; cursor: pointer; color: var(--body-text-color); font-size: 13px; line-height: 1.35; }
.strips button:hover { background: var(--neutral-100); }
.dark .strips button:hover { background: var(--neutral-800); }
.strips button:focus-visible { outline: 2px solid var(--color-accent); }
.strips img { width: 100%; height: auto; aspect-ratio: 4; border-radius: 6px; image-rendering: pixelated; object-fit: fill; }
.picker [role=option] { min-height: 44px; padding-left: 52px !important; position: relative; align-items: center; }
.picker [role=option]::before { content: ""; position: absolute; left: 8px; top: 4px; width: 36px; height: 36px; border-radius: 6px;
  background: var(--neutral-200) left / auto 100% no-repeat; image-rendering: pixelated; }
.dark .picker [role=option]::before { background-color: var(--neutral-700); }
@media (max-width: 640px) {
  .wall { margin-bottom: 4px; }
  .strips { grid-auto-flow: column; grid-template: repeat(2, auto) / none; grid-auto-columns: 150px; overflow-x: auto;
    padding: 6px; margin: -6px; }
  .workbench [id$=-preview]:has(.wall) { order: -1; }
}
"""
PICK_JS = """
element.addEventListener('click', event => {
  const button = event.target.closest('button[data-checkpoint]');
  if (button) trigger('select', {checkpoint: button.dataset.checkpoint});
});
"""


class Thumbnails:
    """Strips of stored samples, one file for each checkpoint that has some. The files last as long as the app.

    Args:
        checkpoints: by name.
    """

    def __init__(self, checkpoints: Mapping[str, Checkpoint]):
        self.checkpoints = checkpoints
        self._addresses: dict[str, str] = {}
        for name, checkpoint in checkpoints.items():
            if samples := stored_samples(checkpoint):
                path = keep(_webp(strip(samples)), f"{name}.webp")
                STORAGE.keep([path])
                self._addresses[name] = f"gradio_api/file={quote(path)}"

    def __bool__(self) -> bool:
        return bool(self._addresses)

    def address(self, name: str) -> str:
        """Return the address of a checkpoint's strip, relative to the app's; "" if it has none."""
        return self._addresses.get(name, "")

    def wall(self, names: Iterable[str]) -> str:
        """Return the strips of checkpoints as HTML, each a button with the name that people use; "" if none has a strip.

        The first checkpoints of each data set come first, so that the upper rows show what all there is.
        """
        shown = [self.checkpoints[name] for name in names if name in self._addresses]
        seen: Counter[str | None] = Counter()
        ranks = {}
        for checkpoint in shown:
            ranks[checkpoint.name] = seen[checkpoint.data]
            seen[checkpoint.data] += 1
        buttons = "".join(map(self._button, sorted(shown, key=lambda checkpoint: ranks[checkpoint.name])))
        return buttons and f'<div class="wall"><p>{Texts.both("wall")}</p><div class="strips">{buttons}</div></div>'

    def style(self) -> str:
        """Return rules that put the first sample before each name in a list of checkpoints."""
        rules = []
        for name, address in self._addresses.items():
            for title in set(self.checkpoints[name].title.values()):
                label = json.dumps(title, ensure_ascii=False)
                rules.append(
                    f".picker [role=option][aria-label={label}]::before{{background-image:url({json.dumps(address)})}}"
                )
        return "".join(rules)

    def _button(self, checkpoint: Checkpoint) -> str:
        name = html.escape(checkpoint.name)
        return (
            f'<button type="button" data-checkpoint="{name}"><img src="{html.escape(self.address(checkpoint.name))}" alt="" '
            f'width="{SHOWN * SIDE}" height="{SIDE}"><span>{in_both_of(checkpoint.title)}</span></button>'
        )


def stored_samples(checkpoint: Checkpoint) -> list[PIL.Image.Image]:
    """Return pictures that a checkpoint made and that are stored with it; none where its tasks show none on its card."""
    try:
        for part in card_parts(checkpoint):
            if part.samples is not None and (pictures := part.samples(checkpoint)):
                return pictures
    except Exception as error:  # whatever a plugin's folder or task does wrong must not stop the app
        note(f"{checkpoint.name}: its stored samples cannot be shown: {error!r}")
    return []


def strip(samples: list[PIL.Image.Image]) -> PIL.Image.Image:
    """Return samples side by side, spread evenly over the list, RGBA with gaps that one can see through."""
    chosen = [samples[i] for i in np.linspace(0, len(samples) - 1, min(SHOWN, len(samples))).round().astype(int)]
    side = min(SIDE, chosen[0].width)
    line = PIL.Image.new("RGBA", (SHOWN * (side + GAP) - GAP, side))
    for i, sample in enumerate(chosen):
        if sample.width > side:
            sample = sample.resize((side, side), PIL.Image.Resampling.LANCZOS)
        line.paste(sample.convert("RGB"), (i * (side + GAP), 0))
    return line


def _webp(picture: PIL.Image.Image) -> bytes:
    """Return a picture as WebP: without loss where its samples are small enough to show each pixel as it is."""
    data = io.BytesIO()
    picture.save(data, format="WEBP", lossless=picture.height < SIDE, quality=88, method=4)
    return data.getvalue()
