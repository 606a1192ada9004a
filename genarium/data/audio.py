"""Data sets of speech, from the Hub or from folders in its layout, as crops of waveforms in [-1, 1]."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from genarium import paths
from genarium.data.fingerprint import hash_of
from genarium.data.labels import Names, number_labels
from genarium.errors import DataError, InputError
from genarium.media.decoding import decode_sound
from genarium.notices import note
from genarium.recipe import AudioSpec
from genarium.tasks import ANY


@dataclass(frozen=True)
class AudioData:
    """A whole split in memory: `waveforms` int16 [T] each, at `sampling_rate`; batches hold crops of `crop` samples.

    `conditions` are labels, int64 [N] each, by name, and `condition_names` says what their numbers mean. `texts` are what
    is said, "" where that is not known.
    """

    waveforms: list[torch.Tensor]
    sampling_rate: int
    crop: int
    texts: list[str] = field(default_factory=list)
    conditions: Mapping[str, torch.Tensor] = field(default_factory=dict)
    condition_names: Mapping[str, dict[str, str]] = field(default_factory=dict)
    id2label: None = None  # of classes, which sound has none of

    def __len__(self) -> int:
        return len(self.waveforms)

    def clip(self, index: int) -> np.ndarray:
        """Return one whole clip, float32 [T]."""
        return (self.waveforms[index].float() / 32768).numpy()

    def batch(self, indices: torch.Tensor, generator: torch.Generator | None = None) -> dict[str, Any]:
        """Return the batch of the training contract: a crop of each clip, at random with a generator, else from its middle.

        Clips that are shorter than a crop are repeated.
        """
        crops = torch.empty(len(indices), self.crop)
        for row, index in zip(crops, indices.tolist(), strict=True):
            waveform = self.waveforms[index]
            waveform = waveform.repeat(-(-self.crop // len(waveform)))
            room = len(waveform) - self.crop
            start = room // 2 if generator is None else int(torch.randint(room + 1, (1,), generator=generator))
            row.copy_(waveform[start : start + self.crop].float() / 32768)
        return {"audio": crops, "conditions": {name: values[indices] for name, values in self.conditions.items()}}

    def class_counts(self) -> dict[str, int]:
        """Return {}: sound has no classes."""
        return {}

    def remarks(self) -> list[str]:
        """Return what a person should know of the clips before training."""
        silent = sum(int(not waveform.any()) for waveform in self.waveforms)
        return [f"{silent} of {len(self)} clips are silent."] if silent else []

    def fingerprint(self) -> dict[str, Any]:
        """Return what distinguishes these data from others: clips, conditions, and a hash of samples and labels."""
        arrays = {"lengths": torch.tensor([len(w) for w in self.waveforms]), **self.conditions}
        return {
            "rows": len(self),
            "conditions": {name: dict(names) for name, names in self.condition_names.items()},
            "sampling_rate": self.sampling_rate,
            "crop": self.crop,
            "sha256": hash_of(arrays, self.waveforms),
        }

    def with_encoded(self, encoded) -> AudioData:
        """Return the data unchanged: each step sees other crops, so nothing can be encoded beforehand."""
        return self

    def batches(self, batch_size: int) -> Iterator[dict[str, Any]]:
        """Yield the batches of one pass in order."""
        for start in range(0, len(self), batch_size):
            yield self.batch(torch.arange(start, min(start + batch_size, len(self))))


def load_audio(
    spec: AudioSpec,
    split: str,
    override: str | Path | None = None,
    names: tuple[str, ...] | None = None,
    condition_names: Mapping[str, Names] | None = None,
) -> AudioData:
    """Decode one split of all the recipe's data sets into memory. A data set without this split is left out.

    Labels are joined: each value gets its data set's name before it, "speechocean762_adults_16k/0001".

    Args:
        spec: the recipe's data section.
        split: name of the split.
        override: a folder with a local copy of each data set, under the last part of its Hub id; or, where the recipe
            names one data set, that copy itself.
        names: of these data sets only; by default all the recipe's.
        condition_names: of a checkpoint, by whose names the conditions are numbered. Training gives none, and neither does who
            loads a split of other speakers: then a split is numbered by its own names.

    Raises:
        DataError: the data cannot be had, lack a column, hold what is no sound, or have a name that the
            checkpoint does not know.
    """
    waveforms, texts = [], []
    columns: dict[str, list[str]] = {name: [] for name in spec.conditions}
    for name in names or spec.names:
        data = _open(spec, name, split, override)
        if data is None:
            continue
        short = name.split("/")[-1]
        for number, row in enumerate(data):
            waveforms.append(_decode(row[spec.audio_column], spec.sampling_rate, f"{name}, {split}, row {number}"))
            texts.append(str(row.get(spec.text_column) or ""))
        for condition, column in spec.conditions.items():
            class_names = getattr(data.features[column], "names", None)
            where = f"{name}, {split}, {column}"
            numbers, meanings = number_labels(data[column][:], where, class_names, required=True)
            columns[condition] += [f"{short}/{meanings[str(number)]}" for number in numbers.tolist()]
    if not waveforms:
        raise DataError(f"{', '.join(names or spec.names)}: none has a split {split!r}.")
    if any(ANY in values for values in columns.values()):
        raise DataError(f"A condition has a value {ANY!r}, which stands for a free choice.")
    where = f"{', '.join(names or spec.names)}, {split}"
    found = {
        condition: number_labels(values, f"{where}, {condition}", known=(condition_names or {}).get(condition))
        for condition, values in columns.items()
    }
    return AudioData(
        waveforms,
        spec.sampling_rate,
        round(spec.crop_seconds * spec.sampling_rate),
        texts,
        {condition: numbers for condition, (numbers, _) in found.items()},
        {condition: meanings for condition, (_, meanings) in found.items()},
    )


def _open(spec: AudioSpec, name: str, split: str, override: str | Path | None):
    """Return the split of one data set, or None if the data set has no such split."""
    import datasets  # here, so that machines that only convert do without it

    source = _local_copy(spec, name, override)
    try:
        if split not in datasets.get_dataset_split_names(str(source or name)):
            return None
        data = datasets.load_dataset(str(source or name), split=split)
    except Exception as error:  # datasets raises many kinds, all meaning: it cannot be had
        raise DataError(
            f"{name}: cannot be loaded ({error}). Check the connection, or set GENARIUM_DATA to a folder that holds "
            f"{name.split('/')[-1]}/ in the Hub's layout."
        ) from error
    missing = [c for c in (spec.audio_column, *spec.conditions.values()) if c not in data.column_names]
    if missing:
        raise DataError(f"{name}: no column {', '.join(missing)}; it has {', '.join(data.column_names)}.")
    # the bytes as they are: datasets' own decoding needs torchcodec and ffmpeg
    return data.cast_column(spec.audio_column, datasets.Audio(decode=False))


def _local_copy(spec: AudioSpec, name: str, override: str | Path | None) -> Path | None:
    short = name.split("/")[-1]
    if override is not None:
        for folder in (Path(override) / short, Path(override)):
            if folder.exists() and (folder.name == short or len(spec.names) == 1):
                return folder
        raise DataError(f"{override}: holds no folder {short}; leave it out to use {name} from the Hub.")
    local = paths.data()
    return local / short if local is not None and (local / short).exists() else None


def _decode(audio: Mapping[str, Any] | None, sampling_rate: int, where: str) -> torch.Tensor:
    """Decode a clip by the decoder of uploads: int16 [T] at the sampling rate.

    Raises:
        DataError: it is missing, damaged or empty; `where` says which.
    """
    if audio is None or not (audio["bytes"] or audio["path"]):
        raise DataError(f"{where}: there is no clip. Remove the row, or put a sound there.")
    if audio["path"]:
        where += f" ({audio['path']})"
    try:
        samples = decode_sound(
            audio["bytes"] or audio["path"], sampling_rate, name="The clip", say=lambda text: note(f"{where}: {text}")
        )
    except InputError as error:
        raise DataError(f"{where}: {error} Replace or remove it.") from error
    return torch.from_numpy((samples.astype(np.float64) * 32768).round().clip(-32768, 32767).astype(np.int16))
