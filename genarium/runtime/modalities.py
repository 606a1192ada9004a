"""What pictures and sound do differently on their way through a model. The host asks the table `MEDIA` by modality."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import PIL.Image

from genarium.checkpoints import Checkpoint
from genarium.media.pictures import Invert, fit_picture, open_picture, to_pictures
from genarium.media.sounds import fit_sound, read_sound
from genarium.media.spectrogram import mel_picture
from genarium.tasks import Modality

if TYPE_CHECKING:
    import torch

PREVIEWED_SECONDS = 10  # of sound in a preview: the newest
PREVIEWED_SIDE = 256  # pixels of a picture in a preview: each is sent in each preview


class Medium(ABC):
    """One kind of data that models work on.

    `noun` and `nouns` are words for one input and for several. `max_batch` limits the samples computed at once; None
    sets no limit. `rejects` are the exceptions by which a pipeline says that it cannot take an input.
    """

    noun: str
    nouns: str
    max_batch: int | None = None
    rejects: tuple[type[Exception], ...] = ()

    @abstractmethod
    def prepare(self, checkpoint: Checkpoint, source: Any, invert: str, pipeline: Callable[[], Any]) -> Any:
        """Bring a person's material into the form of a checkpoint's data.

        Args:
            source: what the person gave: a picture, or the path of a file.
            invert: for pictures: "auto", "yes" or "no".
            pipeline: loads the pipeline, for what only its networks know.

        Raises:
            InputError: the material cannot be read, or is nothing that the checkpoint could work on.
        """

    @abstractmethod
    def preview(self, checkpoint: Checkpoint, outputs: Sequence[Any], sample: torch.Tensor) -> list[PIL.Image.Image]:
        """Return pictures of a run in progress.

        Args:
            outputs: what the pipeline returned for the batches that are done.
            sample: the current estimate of the batch in progress, as the pipeline reports it.
        """

    @abstractmethod
    def load_in_python(self, name: str, checkpoint: str, invert: str) -> str:
        """Return the Python expression that loads the input `name` from a file beside the program."""


class Images(Medium):
    """Pictures: in the size, the mode and the kind of background of the checkpoint's data."""

    noun, nouns = "picture", "pictures"

    def prepare(self, checkpoint: Checkpoint, source: Any, invert: str, pipeline: Callable[[], Any]) -> PIL.Image.Image:
        size, channels = checkpoint.index.get("sample_size"), checkpoint.index.get("channels")
        if not size or not channels:  # a stock checkpoint: only its network knows
            config = pipeline().config
            size, channels = config.sample_size, config.channels
        dark = checkpoint.recipe is not None and getattr(checkpoint.recipe.data, "dark_background", False)
        return fit_picture(open_picture(source), size, channels, dark_background=dark, invert=cast(Invert, invert))

    def preview(self, checkpoint: Checkpoint, outputs: Sequence[Any], sample: torch.Tensor) -> list[PIL.Image.Image]:
        step = math.ceil(max(sample.shape[-2:]) / PREVIEWED_SIDE)
        sample = sample[..., ::step, ::step]
        pixels = ((sample / 2 + 0.5).clamp(0, 1) * 255).round().byte()  # [N, C, H, W]
        done = [picture for output in outputs for picture in getattr(output, "images", ())]
        return [picture.reduce(step) for picture in done] + to_pictures(pixels.permute(0, 2, 3, 1).numpy())

    def load_in_python(self, name: str, checkpoint: str, invert: str) -> str:
        return f'genarium.picture("{name}.png", "{checkpoint}", invert="{invert}")'


class Sound(Medium):
    """Recordings: one channel at the checkpoint's sampling rate and level; one at a time, since they have any length.

    Only a pipeline knows which clips are too short for it. It raises ValueError then.
    """

    noun, nouns = "recording", "recordings"
    max_batch = 1
    rejects = (ValueError,)

    def prepare(self, checkpoint: Checkpoint, source: Any, invert: str, pipeline: Callable[[], Any]) -> np.ndarray:
        rate = checkpoint.index["sampling_rate"]
        return fit_sound(read_sound(source, rate), rate)

    def preview(self, checkpoint: Checkpoint, outputs: Sequence[Any], sample: torch.Tensor) -> list[PIL.Image.Image]:
        rate = int(checkpoint.index["sampling_rate"])
        return [mel_picture(sample[0, -PREVIEWED_SECONDS * rate :].numpy(), rate)]

    def load_in_python(self, name: str, checkpoint: str, invert: str) -> str:
        return f'genarium.audio("{name}.wav", "{checkpoint}")'


MEDIA: dict[Modality, Medium] = {"image": Images(), "audio": Sound()}
