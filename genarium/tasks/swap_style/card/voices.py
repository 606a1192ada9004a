"""Converted voices on the card: spectrograms and sounds of a few conversions, and the code of one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import PIL.Image

from genarium.card.part import CardPart, Example, HubTask, save_sheet
from genarium.checkpoints import Checkpoint
from genarium.files import matcher, new_folder
from genarium.media.pictures import in_inferno
from genarium.recipe import AudioSpec, Recipe

if TYPE_CHECKING:
    from genarium.evaluation.audio import AudioEvaluation

NUM_CONVERSIONS = 3
MAX_SECONDS = 3  # of a sound on the card
GAP = 8  # pixels between spectrograms


def draw(evaluation: AudioEvaluation) -> None:
    """Write samples/*.ogg, content, style and conversion of a few pairs, and samples.png, their spectrograms in rows.

    The clips are those of the recipe's last data set. Its licence applies to the files, so that data set must permit it.
    """
    import soundfile

    from genarium.tasks.swap_style.figures.voices import convert  # here, because pages read the card without torch

    folder = evaluation.checkpoint.folder
    data = evaluation.load(evaluation.spec.test_split, names=evaluation.spec.names[-1:])
    rows = []
    with new_folder(folder / "samples", ours=matcher(["*-content.ogg", "*-style.ogg", "*-converted.ogg"])) as samples:
        for number, (content, style) in enumerate(evaluation.pairs(data, NUM_CONVERSIONS), 1):
            sounds = {"content": data.clip(content), "style": data.clip(style)}
            sounds["converted"] = convert(evaluation, data, content, style)
            for name, sound in sounds.items():
                path = samples / f"{number}-{name}.ogg"
                with soundfile.SoundFile(path, "w", data.sampling_rate, 1, format="OGG", subtype="VORBIS") as file:
                    if name == "converted":
                        file.comment = f"Synthesised by Genarium, {evaluation.checkpoint.name}."
                    file.write(sound[: MAX_SECONDS * data.sampling_rate])
            rows.append([spectrogram(evaluation.log_mel(sound)) for sound in sounds.values()])
    save_sheet(sheet_of(rows), folder / "samples.png")


def spectrogram(log_mel: np.ndarray) -> PIL.Image.Image:
    """Draw log-mel magnitudes [bands, frames], low frequencies at the bottom. 70 dB below the loudest is black."""
    share = np.clip(log_mel[::-1] - log_mel.max() + 8, 0, None) / 8
    return in_inferno(np.clip(share, 0, 1))


def sheet_of(rows: list[list[PIL.Image.Image]]) -> PIL.Image.Image:
    """Put pictures of one height and any width into rows and columns, on white."""
    width = GAP + max(picture.width for row in rows for picture in row)
    height = GAP + rows[0][0].height
    sheet = PIL.Image.new("RGB", (len(rows[0]) * width - GAP, len(rows) * height - GAP), "white")
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            sheet.paste(picture, (j * width, i * height))
    return sheet


def show(folder: Path) -> str:
    """Return Markdown with the spectrograms and links to the sounds, as far as they are there."""
    found = []
    if (folder / "samples.png").exists():
        title = "Spectrograms of the content, of the requested voice, and of the conversion, from left to right"
        found.append(f"![{title}](samples.png)")
    clips = sorted(path.name for path in (folder / "samples").glob("*.ogg"))
    if clips:
        found.append(f"Listen: {', '.join(f'[{clip}](samples/{clip})' for clip in clips)}.")
    return "\n\n".join(found)


def code(checkpoint: Checkpoint, recipe: Recipe) -> str:
    """Return a program that converts a recording in a bare diffusers."""
    assert isinstance(recipe.data, AudioSpec)
    rate = recipe.data.sampling_rate
    return "\n".join(
        (
            "import soundfile",
            "from diffusers import DiffusionPipeline",
            "",
            f'pipe = DiffusionPipeline.from_pretrained("{recipe.repo_id}", trust_remote_code=True)',
            f'words, rate = soundfile.read("words.wav", dtype="float32")  # mono at {rate} Hz; else soxr.resample(x, rate, {rate})',
            'voice, rate = soundfile.read("voice.wav", dtype="float32")',
            "sound = pipe.swap_style(words, voice).audios[0]",
            'soundfile.write("converted.wav", sound, pipe.config.sampling_rate)',
        )
    )


PART = CardPart(
    "audio",
    show,
    draw=draw,
    example=Example(
        code,
        lambda checkpoint: f"swap {checkpoint.name} --content words.wav --style voice.wav --out converted.wav",
        HubTask("audio-to-audio", "Voice conversion", "voice-conversion"),
        "Convert recordings only to voices of people who agreed to it, and label the result as synthetic.",
    ),
)
