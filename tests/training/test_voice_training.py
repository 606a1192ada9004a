"""Voices from data to checkpoint: loading speech, two stages, components taken from another checkpoint, figures, card."""

import dataclasses
import io
import json

import datasets
import numpy as np
import pytest
import soundfile
import torch
from conftest import TINY, voice
from typer.testing import CliRunner

from genarium.card.check import card_problems
from genarium.catalogue import find_checkpoints
from genarium.checkpoints import load_pipeline, open_checkpoint
from genarium.cli import app
from genarium.data.audio import load_audio
from genarium.errors import DataError, GenariumError, RecipeError
from genarium.evaluation.evaluate import evaluate
from genarium.evaluation.figure import lacking
from genarium.evaluation.speech import mel_cepstra, plain, warped_distance
from genarium.families import discover
from genarium.recipe import BorrowSpec, StageSpec, find_recipe
from genarium.runtime import Runtime
from genarium.tasks.anomaly.chords import chords
from genarium.tasks.swap_style.figures import voices
from genarium.training.loop import train
from genarium.training.pipeline import build_pipeline

FAMILIES = discover(installed=False)
# as datasets.Audio lies in a file; to make it of that class itself, datasets wants torchcodec
ENCODED = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
TEXTS = ("good morning", "good night")


def write_set(folder, name, speakers, splits, rate=16000, seconds=0.8):
    """A data set in the Hub's layout: each speaker says each text once, in FLAC."""
    features = datasets.Features(
        {
            "audio": ENCODED,
            "text": datasets.Value("string"),
            "speaker": datasets.ClassLabel(names=list(speakers)),
        }
    )
    place = folder / name / "data"
    place.mkdir(parents=True)
    for split in splits:
        rows = {"audio": [], "text": [], "speaker": []}
        for number in range(len(speakers)):
            for text in TEXTS:
                file = io.BytesIO()
                sound = voice(seconds, 100 + 50 * number, len(text))
                soundfile.write(file, sound.numpy(), rate, format="FLAC", subtype="PCM_16")
                rows["audio"].append({"bytes": file.getvalue(), "path": None})
                rows["text"].append(text)
                rows["speaker"].append(number)
        datasets.Dataset.from_dict(rows, features=features).to_parquet(place / f"{split}-00000-of-00001.parquet")


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    """Two data sets, the second without a split of unseen speakers."""
    folder = tmp_path_factory.mktemp("speech")
    write_set(folder, "big", ("ann", "bob"), ("train", "test", "unseen"))
    write_set(folder, "small", ("cy", "dee"), ("train", "test"), seconds=0.5)
    return folder


def tiny_recipe(family, **training):
    recipe = find_recipe(family)
    data = dataclasses.replace(recipe.data, names=("me/big", "me/small"), crop_seconds=0.6, unseen_split="unseen")
    stages = tuple(StageSpec(name, 16) for name in ("vocoder", "autoencoder"))
    settings = {"stages": stages, "batch_size": 4, "warmup_steps": 1, "save_every": 3, "sample_every": 4}
    settings |= {"precision": "fp32", "learning_rate": 2e-3, "components_from": None, **training}
    return dataclasses.replace(
        recipe,
        name=f"tiny-{family}",
        data=data,
        architecture=TINY[family],
        training=dataclasses.replace(recipe.training, **settings),
        evaluation=dataclasses.replace(recipe.evaluation, num_samples=4, num_test_images=4),
    )


def run(recipe, speech, folder, **options):
    losses = {}
    result = train(
        recipe,
        FAMILIES[recipe.family],
        data_override=speech,
        run_folder=folder / "run",
        output=folder / recipe.name,
        on_step=lambda step, loss: losses.__setitem__(step, loss),
        **options,
    )
    return result, losses


@pytest.fixture(scope="module")
def trained(speech, tmp_path_factory):
    """A voice-vae, trained in two stages, stopped in the second and resumed -> its folder and its losses."""
    folder = tmp_path_factory.mktemp("trained")
    recipe = tiny_recipe("voice-vae")
    stopped, first = run(recipe, speech, folder, max_steps=6)
    assert stopped == folder / "run"
    output, second = run(recipe, speech, folder)
    assert sorted(first) == list(range(1, 7)) and sorted(second) == [7, 8]
    return output, {**first, **second}


# ---- data ----


def test_data_sets_are_joined_and_their_speakers_named_after_them(speech):
    spec = tiny_recipe("voice-vae").data
    data = load_audio(spec, "train", speech)
    assert len(data) == 8 and data.texts == [*TEXTS] * 4
    names = {"0": "big/ann", "1": "big/bob", "2": "small/cy", "3": "small/dee"}
    assert data.condition_names == {"speaker": names}
    assert data.conditions["speaker"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert np.abs(data.clip(0) - voice(0.8, 100, len(TEXTS[0])).numpy()).max() < 1e-4
    assert len(load_audio(spec, "unseen", speech)) == 4, "the set that lacks the split is left out"
    with pytest.raises(DataError, match="none has a split 'dev'"):
        load_audio(spec, "dev", speech)


def test_crops_are_full_and_short_clips_are_repeated(speech):
    data = load_audio(tiny_recipe("voice-vae").data, "train", speech)
    batch = data.batch(torch.tensor([0, 4]), torch.Generator().manual_seed(0))
    assert batch["audio"].shape == (2, 9600) and batch["conditions"]["speaker"].tolist() == [0, 2]
    whole = torch.from_numpy(data.clip(4)).repeat(2)
    assert any(torch.equal(batch["audio"][1], whole[i : i + 9600]) for i in range(6401))
    again = data.batch(torch.tensor([0, 4]), torch.Generator().manual_seed(0))
    other = data.batch(torch.tensor([0, 4]), torch.Generator().manual_seed(1))
    assert torch.equal(batch["audio"], again["audio"]) and not torch.equal(batch["audio"], other["audio"])


def test_what_is_wrong_with_the_data_is_said(speech, tmp_path):
    spec = tiny_recipe("voice-vae").data
    for changes, says in (
        ({"audio_column": "sound"}, "no column sound"),
        ({"names": ("me/nowhere", "me/big")}, "holds no folder nowhere"),
    ):
        with pytest.raises(DataError, match=says):
            load_audio(dataclasses.replace(spec, **changes), "train", speech)
    place = tmp_path / "broken/data"
    place.mkdir(parents=True)
    features = datasets.Features({"audio": ENCODED, "speaker": datasets.Value("string")})
    rows = {"audio": [{"bytes": b"no sound", "path": None}], "speaker": ["x"]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(place / "train-00000-of-00001.parquet")
    with pytest.raises(DataError, match="row 0: This file is no sound"):
        load_audio(dataclasses.replace(spec, names=("me/broken",)), "train", tmp_path / "broken")


def test_pictures_and_sound_are_not_taken_for_each_other():
    recipe = tiny_recipe("voice-vae")
    with pytest.raises(RecipeError, match="the family vae works on pictures"):
        build_pipeline(recipe, FAMILIES["vae"], None, {"speaker": {"0": "a"}})
    with pytest.raises(RecipeError, match="the family voice-vae works on sound"):
        build_pipeline(find_recipe("vae-fashion-mnist"), FAMILIES["voice-vae"], None)
    with pytest.raises(RecipeError, match=r"data\.conditions\.speaker"):
        build_pipeline(recipe, FAMILIES["voice-vae"], None)


# ---- training ----


def test_two_stages_leave_a_checkpoint_with_voices_and_sounds_to_hear(trained):
    output, losses = trained
    assert all(np.isfinite(value) for value in losses.values())
    pipeline = load_pipeline(open_checkpoint(output, FAMILIES))
    assert pipeline.style_map().names == ["big/ann", "big/bob", "small/cy", "small/dee"]
    assert not list(output.rglob("*discriminator*")), "what only helps training is no part of the checkpoint"
    sound = pipeline.swap_style(voice(0.5), None, speaker="small/dee").audios[0]
    assert sound.shape == (8000,) and np.isfinite(sound).all()
    samples = output.parent / "run/samples"
    assert {p.name for p in (samples / "0000004").iterdir()} >= {"0-original.wav", "0-vocoded.wav"}
    assert {p.name for p in (samples / "0000008").iterdir()} >= {"0-original.wav", "2-in-voice-of-0.wav"}
    heard, rate = soundfile.read(samples / "0000008/0-in-voice-of-1.wav")
    assert rate == 16000 and len(heard) == 9600
    rows = [json.loads(row) for row in (output.parent / "run/log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [4, 6, 8] and [row["stage"] for row in rows][-1] == "autoencoder"


def test_the_loss_goes_down_on_little_data(speech, tmp_path):
    stages = (StageSpec("autoencoder", 160),)
    recipe = tiny_recipe("voice-vqvae", stages=stages, sample_every=1000, save_every=1000, learning_rate=4e-3)
    _, losses = run(recipe, speech, tmp_path)
    values = [losses[step] for step in sorted(losses)]
    assert len(values) == 40 and sum(values[-8:]) < 0.9 * sum(values[:8])


def test_components_of_another_checkpoint_are_taken_and_stay_as_they_are(trained, speech, tmp_path, monkeypatch):
    output, _ = trained
    monkeypatch.setenv("GENARIUM_CHECKPOINTS", str(output.parent))
    borrow = BorrowSpec(checkpoint="tiny-voice-vae", components=("vocoder", "speaker_encoder"))
    stages = (StageSpec("autoencoder", 8),)
    recipe = tiny_recipe("voice-vqvae", components_from=borrow, stages=stages)
    result, _ = run(recipe, speech, tmp_path)
    ours, theirs = (load_pipeline(open_checkpoint(folder, FAMILIES)) for folder in (result, output))
    for name in borrow.components:
        a, b = (dict(one.components[name].named_parameters()) for one in (ours, theirs))
        assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a), name
    assert torch.allclose(ours.speaker_encoder.voices, theirs.speaker_encoder.voices, atol=1e-3)

    for changes, says in (
        ({"components": ("codebook",)}, "codebook: both checkpoints need"),
        ({"components": ("decoder",)}, None),
        ({"components": ("content_encoder",)}, "by its gaussian"),
    ):
        wanted = dataclasses.replace(borrow, **changes)
        wrong = dataclasses.replace(recipe, training=dataclasses.replace(recipe.training, components_from=wanted))
        if says:
            with pytest.raises(RecipeError, match=says):
                run(wrong, speech, tmp_path, fresh=True)
        else:
            run(wrong, speech, tmp_path, fresh=True, max_steps=1)


# ---- figures ----


def test_cepstra_and_their_warped_distance():
    rng = np.random.default_rng(0)
    mel = rng.normal(size=(20, 30))
    a = mel_cepstra(mel)
    assert a.shape == (30, 13) and np.allclose(a, mel_cepstra(mel + 5)), "loudness is left out"
    k, band = 2, np.arange(20)
    cosine = np.cos(np.pi * k * (band + 0.5) / 20)[:, None]
    assert np.allclose(mel_cepstra(3 * cosine), 3 * np.eye(13)[k - 1], atol=1e-12)
    assert warped_distance(a, np.repeat(a, 2, axis=0)) == pytest.approx(0), "tempo costs nothing"
    one, other = np.zeros((4, 13)), np.eye(13)[:1].repeat(4, 0)
    assert warped_distance(one, other) == pytest.approx(10 / np.log(10) * 2**0.5)
    assert plain("It's 5 o'clock, Ann!") == "it's o'clock ann"
    assert all(np.abs(sound).max() == pytest.approx(0.1) for sound in chords(2, 8000, 16000, 0))


class FakeSpeakerEncoder:
    """Knows a voice by its spectrum's centre and spread."""

    def embed(self, sound):
        power = np.abs(np.fft.rfft(sound, 4096)) ** 2
        return power[:600] / np.linalg.norm(power[:600])


class FakeRecogniser:
    def __init__(self, sentences):
        self.sentences = sorted(set(sentences))

    def knows(self, text):
        return text in self.sentences

    def recognise(self, sound):
        return TEXTS[0]


def test_figures_card_and_sounds(trained, speech, tmp_path, monkeypatch):
    import shutil

    output, _ = trained
    folder = tmp_path / "checkpoints/tiny-voice-vae"
    shutil.copytree(output, folder)
    monkeypatch.setenv("GENARIUM_CHECKPOINTS", str(folder.parent))
    monkeypatch.setattr(voices, "SpeakerEncoder", FakeSpeakerEncoder)
    monkeypatch.setattr(voices, "Recogniser", FakeRecogniser)
    monkeypatch.setattr(voices, "TIMED_SECONDS", 1)
    runtime = Runtime(find_checkpoints(FAMILIES), "cpu", torch.float32)
    recipe = tiny_recipe("voice-vae")
    result = evaluate("tiny-voice-vae", runtime, recipe, data_override=speech)
    assert json.loads((folder / "evaluation.json").read_text()) == result
    figures = {(m["name"], m.get("speakers")): m["value"] for m in result["metrics"]}
    for kind in ("known", "unseen"):
        assert 0 <= figures["target_beats_source", kind] <= 1
        assert figures["sentences_original", kind] == figures["sentences_converted", kind]
        assert figures["content_kept", kind] == 1
    assert figures["distortion_of_source", None] > 0 and figures["mel_distance_whole", None] > 0
    assert 0 <= figures["auroc_music", None] <= 1 and figures["real_time_factor", None] > 0
    assert result["skipped"] == {} and all(m["protocol"] and m["n"] for m in result["metrics"])
    index = json.loads((folder / "model_index.json").read_text())
    assert len(index["anomaly_quantiles"]["default"]) == 201

    checkpoint = find_checkpoints(FAMILIES)["tiny-voice-vae"]
    assert lacking(checkpoint) == []
    readme = (folder / "README.md").read_text()
    assert card_problems(readme, folder, recipe.repo_id) == []
    assert "audio-to-audio" in readme and "me/small" in readme and "samples/1-converted.ogg" in readme
    assert len(list((folder / "samples").glob("*.ogg"))) == 9
    with soundfile.SoundFile(folder / "samples/1-converted.ogg") as file:
        assert "Synthesised by Genarium" in file.comment

    with pytest.raises(GenariumError, match="no part 'distance'"):
        evaluate("tiny-voice-vae", runtime, recipe, data_override=speech, parts=["distance"])
    with pytest.raises(GenariumError, match="leave --set out"):
        evaluate("tiny-voice-vae", runtime, recipe, data_override=speech, parameters={"strength": 0.5})


def test_tools_that_are_missing_are_named_and_the_other_figures_are_kept(trained, speech, tmp_path, monkeypatch):
    import shutil
    import sys

    output, _ = trained
    folder = tmp_path / "checkpoints/tiny-voice-vae"
    shutil.copytree(output, folder)
    monkeypatch.setenv("GENARIUM_CHECKPOINTS", str(folder.parent))
    for name in ("resemblyzer", "pocketsphinx"):
        monkeypatch.setitem(sys.modules, name, None)
    runtime = Runtime(find_checkpoints(FAMILIES), "cpu", torch.float32)
    parts = ["similarity", "content", "reconstruction"]
    result = evaluate(
        "tiny-voice-vae", runtime, tiny_recipe("voice-vae"), data_override=speech, parts=parts, card=False
    )
    assert {m["part"] for m in result["metrics"]} == {"reconstruction"}
    assert all("pip install -r requirements-voice.txt" in result["skipped"][part] for part in parts[:2])


def test_the_command_trains_by_the_recipe_s_name(house, speech, monkeypatch):
    """Two steps of the recipe as it is, but for its data and sizes."""
    path = house / "hub_configs/voice-vae.yaml"
    text = path.read_text()
    start, end = text.index("  names:"), text.index("  sampling_rate")
    text = text[:start] + "  names: [me/big, me/small]\n" + text[end:]
    start, end = text.index("architecture:"), text.index("training:")
    path.write_text(text[:start] + f"architecture: {json.dumps(TINY['voice-vae'])}\n" + text[end:])
    monkeypatch.setenv("GENARIUM_DATA", str(speech))
    result = CliRunner().invoke(app, ["train", "voice-vae", "--max-steps", "2"])
    assert result.exit_code == 0, (result.output, result.exception)
    assert (house / "runs/voice-vae/state/state.json").exists()
