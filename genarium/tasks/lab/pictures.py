"""Frames of the Lab as pictures and animations, for the command line."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from genarium.tasks.lab.frame import Frame, Layer

SHARPER = 2  # pixels are drawn at this multiple and averaged
PAPER, INK, FAINT = (255, 255, 255), (30, 30, 40), (190, 195, 205)
COLOURS = {"data": FAINT, "model": (214, 69, 65), "truth": (38, 110, 190), "error": (190, 120, 20)}
COLOURS_OF_GIF = 24


class Canvas:
    """A square of the plane as a picture.

    Args:
        size: pixels of the side.
        side: half the side of the square, in units of the plane.
    """

    def __init__(self, size: int, side: float):
        self.size, self.side = size * SHARPER, side
        self.image = Image.new("RGB", (self.size, self.size), PAPER)
        self.draw = ImageDraw.Draw(self.image)

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """Return places [..., 2] of the plane in pixels; y runs downwards there."""
        unit = self.size / (2 * self.side)
        return np.stack([(points[..., 0] + self.side) * unit, (self.side - points[..., 1]) * unit], -1)

    def points(self, points: np.ndarray, colour: tuple[int, int, int], radius: float) -> None:
        """Draw dots."""
        r = radius * SHARPER
        for x, y in self.pixels(points[np.isfinite(points).all(1)]):
            self.draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)

    def paths(self, lines: np.ndarray, colour: tuple[int, int, int], width: float) -> None:
        """Draw lines [N, T, 2]."""
        for line in self.pixels(lines):
            self.draw.line([tuple(point) for point in line.tolist()], fill=colour, width=round(width * SHARPER))

    def arrows(self, feet: np.ndarray, vectors: np.ndarray, colour: tuple[int, int, int]) -> None:
        """Draw arrows: a line, and a dot at its foot."""
        self.paths(np.stack([feet, feet + vectors], 1), colour, 1)
        self.points(feet, colour, 0.8)

    def field(self, layer: Layer) -> None:
        """Draw a field: its contour lines, or colours where it has none."""
        colour = COLOURS[layer.role]
        if layer.contours:
            for level in layer.contours:
                self._contour(layer.values, level, colour)
            return
        values = layer.values[::-1]  # pictures begin at the top
        largest = max(float(np.nanmax(np.abs(values))), 1e-12)
        part = np.nan_to_num(values / largest).clip(-1, 1)[..., None]
        positive, negative = np.array(COLOURS["truth"]), np.array(COLOURS["model"])
        if not layer.signed:
            positive = np.array(colour)
        shade = np.where(part > 0, positive, negative)
        pixels = np.array(PAPER) + 0.75 * np.abs(part) * (shade - np.array(PAPER))
        small = Image.fromarray(pixels.round().astype(np.uint8), "RGB")
        self.image.paste(small.resize((self.size, self.size), Image.Resampling.BICUBIC))

    def _contour(self, values: np.ndarray, level: float, colour: tuple[int, int, int]) -> None:
        """Draw one contour line: the edge of the enlarged region above the level."""
        enlarged = Image.fromarray(values[::-1].astype(np.float32)).resize((self.size,) * 2, Image.Resampling.BICUBIC)
        above = np.asarray(enlarged) > level
        edge = np.zeros_like(above)
        edge[1:] |= above[1:] != above[:-1]
        edge[:, 1:] |= above[:, 1:] != above[:, :-1]
        thick = edge.copy()
        thick[1:] |= edge[:-1]
        self.image.paste(colour, mask=Image.fromarray((255 * thick).astype(np.uint8)))

    def text(self, text: str, right: bool = False) -> None:
        """Write a line at the bottom."""
        font = ImageFont.load_default(size=self.size / 26)
        place = (self.size * (0.98 if right else 0.02), self.size * 0.985)
        self.draw.text(place, text, fill=INK, font=font, anchor="rs" if right else "ls")

    def finished(self) -> Image.Image:
        """Return the picture in its own size."""
        small = self.size // SHARPER
        return self.image.resize((small, small), Image.Resampling.LANCZOS)


def draw(frame: Frame, data: np.ndarray, size: int = 320) -> Image.Image:
    """Draw a frame over its data.

    Args:
        frame: the frame.
        data: points of the data, [N, 2].
        size: pixels of the side.
    """
    canvas = Canvas(size, frame.side)
    for layer in frame.layers:
        if layer.kind == "field":
            canvas.field(layer)
    canvas.points(data, FAINT, 1.1)
    canvas.points(frame.samples, COLOURS["model"], 1.1)
    for layer in frame.layers:
        colour = COLOURS[layer.role]
        if layer.kind == "points":
            canvas.points(layer.values, colour, 1.6)
        elif layer.kind == "paths":
            canvas.paths(layer.values, colour, 1)
        elif layer.kind == "curve":
            canvas.paths(layer.values[None], colour, 2)
        elif layer.kind == "arrows" and layer.at is not None:
            canvas.arrows(layer.at, layer.values, colour)
    canvas.text(frame.label or f"step {frame.step}")
    if frame.w1 is not None:
        canvas.text(f"W1 = {frame.w1:.2f}", right=True)
    return canvas.finished()


def save_animation(pictures: Iterable[Image.Image], path: Path, seconds: float = 6.0) -> None:
    """Write pictures as an animated GIF or WebP; the last one stays for two seconds.

    Args:
        pictures: at least one, of one size.
        path: its ending says which: .gif or .webp.
        seconds: that the others take together.
    """
    several = list(pictures)
    each = round(1000 * seconds / max(len(several) - 1, 1))
    durations = [*[each] * (len(several) - 1), 2000]
    if path.suffix == ".webp":
        several[0].save(
            path, "WEBP", save_all=True, append_images=several[1:], duration=durations, loop=0, quality=60, method=4
        )
        return
    # One palette for all frames, without dithering: what does not change from frame to frame then takes no room.
    palette = several[-1].quantize(COLOURS_OF_GIF, dither=Image.Dither.NONE)
    indexed = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in several]
    indexed[0].save(
        path, "GIF", save_all=True, append_images=indexed[1:], duration=durations, loop=0, optimize=False, disposal=1
    )
