"""Figures of reconstructions: how near an image or a recording comes back that goes through the model.

Paper:
    Wang et al.: Image Quality Assessment: From Error Visibility to Structural Similarity, 2004 (SSIM)
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import torch
from tqdm.auto import tqdm

from genarium.evaluation.audio import AudioEvaluation
from genarium.evaluation.figure import Column, Figure, Metric, Part, settings_in_words
from genarium.evaluation.images import ImageEvaluation
from genarium.evaluation.measures import reconstruction_quality
from genarium.tasks.reconstruct import codebook, words

MAX_IMAGES = 500

OF_IMAGES = "mean over {n} images of {test}, 8-bit, no labels given, {settings}"
PSNR = Figure("psnr", "Reconstruction PSNR", OF_IMAGES, unit="dB")
SSIM = Figure("ssim", "Reconstruction SSIM", OF_IMAGES)

OF_SOUND = "mean absolute difference of log-mel over {n} clips of {test}"
MEL_DISTANCE = {
    "vocoder": Figure("mel_distance_vocoder", "Log-mel distance, vocoder alone", OF_SOUND, unit="dB"),
    "whole": Figure("mel_distance_whole", "Log-mel distance, whole model", OF_SOUND, unit="dB"),
}


def measure_images(evaluation: ImageEvaluation) -> list[Metric]:
    """Measure PSNR and SSIM of reconstructed test images."""
    images = evaluation.test_images(min(evaluation.num_test, MAX_IMAGES))
    settings = evaluation.defaults("reconstruct")
    outputs = evaluation.map_images("reconstruct", images, settings | {"output_type": "pt"}, "reconstructions")
    restored = (torch.cat([output.images for output in outputs]) * 255).round().to(torch.uint8)
    psnr, ssim = reconstruction_quality(restored, images)
    facts = {"settings": settings_in_words(settings), "test": evaluation.test_name}
    return [evaluation.metric(PSNR, psnr, len(images), facts), evaluation.metric(SSIM, ssim, len(images), facts)]


def measure_audio(evaluation: AudioEvaluation) -> list[Metric]:
    """Measure how far spectrograms are from the originals', through the vocoder alone and through the whole model."""
    indices = evaluation.some(evaluation.test, evaluation.num_test)
    distances = defaultdict(list)
    for i in tqdm(indices, desc="reconstruction", leave=False):
        sound = evaluation.test.clip(i)
        vocoded = evaluation.pipeline.vocode(sound)[0]
        restored = evaluation.pipeline.reconstruct(sound).audios[0]
        for through, result in (("vocoder", vocoded), ("whole", restored)):
            difference = np.abs(evaluation.log_mel(result) - evaluation.log_mel(sound)).mean()
            distances[through].append(20 / np.log(10) * difference)
    facts = {"test": evaluation.test_name}
    return [
        evaluation.metric(figure, np.mean(distances[through]), len(indices), facts)
        for through, figure in MEL_DISTANCE.items()
    ]


PARTS = (
    Part(
        "reconstruction",
        "image",
        "reconstruct",
        (PSNR, SSIM),
        measure_images,
        few=True,
        columns=(
            Column(
                "reconstruction",
                lambda measured: measured.show("{:.1f} dB", "psnr"),
                "PSNR of reconstructed test images. A family that inverts a flow in pixels restores them almost exactly. A "
                "family that encodes into a small latent space cannot.",
            ),
        ),
    ),
    Part(
        "reconstruction",
        "audio",
        "reconstruct",
        tuple(MEL_DISTANCE.values()),
        measure_audio,
        columns=(
            Column(
                "spectrogram, vocoder alone",
                lambda measured: measured.show("{:.1f} dB", "mel_distance_vocoder"),
                "log-mel distance of a recording that goes through the vocoder alone, the best that a conversion can sound "
                "like. *Whole*: through the whole model.",
            ),
            Column("whole", lambda measured: measured.show("{:.1f} dB", "mel_distance_whole")),
        ),
    ),
    codebook.PART,
    words.PART,
)
