"""The atoms whose sum is a picture, as HTML: a slider adds them one by one.

All partial sums lie in one picture, below each other, and the slider moves it behind a window. So nothing is asked of the
server, and the sum follows the hand.
"""

from __future__ import annotations

import numpy as np

from genarium.media.pictures import to_pictures
from genarium.ui.files import data_url
from genarium.ui.texts import TaskTexts

DRAG = "this.closest('figure').style.setProperty('--shown',this.value);this.nextElementSibling.value=this.value"


def atoms_html(atoms: np.ndarray, weights: np.ndarray, texts: TaskTexts) -> str:
    """Return the atoms of a picture, its partial sums and the slider; "" for a picture without atoms.

    Args:
        atoms: float [M, C, H, W].
        weights: float [M], falling; those that are 0 stand for no atom.
        texts: of the task.
    """
    if not (number := int((weights != 0).sum())):
        return ""
    atoms, weights = atoms[:number], weights[:number]
    sums = np.cumsum(atoms * weights[:, None, None, None], axis=0)
    sums = np.concatenate([np.zeros_like(sums[:1]), sums])  # [number + 1, C, H, W]
    strip = np.concatenate(list(sums), axis=1)[None]  # [1, C, (number + 1) H, W]
    largest = np.maximum(np.abs(atoms).max(axis=(1, 2, 3), keepdims=True), 1e-12)
    tiles = "".join(
        f'<div style="--place:{i}"><img src="{data_url(picture)}" alt=""><span>{weight:.2f}</span></div>'
        for i, (picture, weight) in enumerate(zip(_grey(0.5 + 0.5 * atoms / largest), weights, strict=True))
    )
    return (
        f'<figure class="atoms" style="--shown:{number};--number:{number}">'
        f"<figcaption>{texts.both('atoms', number=number)}</figcaption>"
        f'<div class="adding"><div class="sum" style="background-image:url({data_url(_grey(strip)[0])})"></div>'
        f'<label><span>{texts.both("first_atoms")}</span><input type="range" min="0" max="{number}" value="{number}" step="1" '
        f'oninput="{DRAG}"><output>{number}</output></label></div>'
        f'<div class="dictionary">{tiles}</div></figure>'
    )


def _grey(images: np.ndarray) -> list:
    """Return float [N, C, H, W], clipped to [0, 1], as pictures."""
    return to_pictures((255 * images.clip(0, 1).transpose(0, 2, 3, 1)).round().astype(np.uint8))
