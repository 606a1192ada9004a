"""The voice families: spectrogram and vocoder, content and speaker apart, and what only voices promise."""

import inspect
import logging
import math
import pickle
import re
import sys

import pytest
import torch
from conftest import SPEAKERS, build_tiny, voice
from diffusers import DiffusionPipeline
from media import build_voice, call_with_voices, generators, near, sounds

from genarium.families import discover
from genarium.tasks import modality_of
from pipelines.codebook import CodebookAverage
from pipelines.interpolation import slerp_unit
from pipelines.modeling_voice import ContentEncoder, SpeakerEncoder, VoiceCodebook, VoiceDecoder
from pipelines.modeling_voice_vocoder import (
    VoiceVocoder,
    hz_to_mel,
    istft,
    magnitudes,
    mel_filters,
    mel_to_hz,
    pitch,
)
from pipelines.speech import (
    LEVEL,
    active_level,
    band_statistics,
    bring_to_level,
    cross_fade,
    match_band_statistics,
    median_pitch,
    transpose_pitch,
)
from pipelines.vocoder_losses import spectral_distance
from pipelines.voices import CHUNK, FADE, VARIANTS

FAMILIES = {f.name: f for f in discover(installed=False) if modality_of(f.pipeline_class()) == "audio"}


@pytest.fixture(scope="module")
def tiny():
    return {name: build_voice(family) for name, family in FAMILIES.items()}


# ---- the spectrogram ----


def test_mel_scale_and_filters_are_slaney_s():
    """Values of the closed form: 3 mel every 200 Hz, 27 mel for each factor 6.4 above 1 kHz."""
    hz = torch.tensor([60.0, 200.0, 1000.0, 6400.0], dtype=torch.float64)
    assert torch.allclose(hz_to_mel(hz), torch.tensor([0.9, 3, 15, 42], dtype=torch.float64))
    assert torch.allclose(mel_to_hz(hz_to_mel(hz)), hz)
    filters = mel_filters(16000, 800, 80)
    assert filters.shape == (401, 80) and (filters >= 0).all()
    # the triangles have area 1 over Hz: exactly so in the limit, nearly so over bins of 20 Hz where they are wide
    assert torch.allclose(filters[:, 40:].sum(0) * 20, torch.ones(40), atol=0.02)
    centres = mel_to_hz(torch.linspace(0, 1, 82, dtype=torch.float64) * hz_to_mel(torch.tensor([8000.0]).double()))[
        1:-1
    ]
    assert ((filters[:, 30:].argmax(0) * 20 - centres[30:]).abs() <= 20).all()


def test_a_shifted_filter_bank_hears_a_shifted_voice():
    """Shifted by 1.25, a tone of 400 Hz is heard as one of 500 Hz."""
    vocoder = VoiceVocoder(width=8, hidden=8, num_layers=1)
    t = torch.arange(8000) / 16000
    tone = lambda hz: 0.1 * torch.sin(2 * torch.pi * hz * t)[None]  # noqa: E731
    shifted = vocoder.analyse(tone(400), torch.tensor([1.25])).mean(-1)
    assert shifted.argmax() == vocoder.analyse(tone(500)).mean(-1).argmax()
    assert shifted.argmax() != vocoder.analyse(tone(400)).mean(-1).argmax()


def test_the_inverse_transform_is_exact():
    x = voice(0.5)[None]
    window = torch.hann_window(800)
    padded = torch.nn.functional.pad(x, (300, 300), mode="reflect")
    spectrum = torch.stft(padded, 800, 200, window=window, center=False, return_complex=True)
    assert torch.allclose(istft(spectrum.mT, 800, 200), x, atol=1e-6)
    assert torch.allclose(magnitudes(x, 800, 200), spectrum.abs(), atol=1e-4)
    assert spectrum.shape[-1] == x.shape[-1] // 200


def test_vocoder_lengths_and_the_way_without_a_network():
    vocoder = VoiceVocoder(width=8, hidden=8, num_layers=1)
    mel = vocoder.analyse(voice(0.51)[None])
    assert mel.shape == (1, 80, 41) and vocoder(mel).shape == (1, 8200)
    phase = 2 * torch.pi * torch.rand(1, 401, 41, generator=generators(0)[0])
    sound = vocoder.griffin_lim(mel, phase)
    assert sound.shape == (1, 8200)
    near, far = ((vocoder.analyse(x) - mel).abs().mean() for x in (sound, voice(0.51, 210, 3)[None]))
    assert near < 0.5 * far, "what Griffin-Lim makes has the spectrogram it was made of"


def test_spectral_distance_is_zero_only_for_the_same():
    x, y = voice(0.3)[None], voice(0.3, 180)[None]
    assert spectral_distance(x, x) < 1e-5 < 0.1 < spectral_distance(x, y)


def test_pieces_join_without_a_seam(tiny):
    x = torch.randn(50)
    assert torch.equal(cross_fade(x[:30], x[20:], 10), x), "what is the same on both sides stays as it is"
    assert torch.equal(cross_fade(x[:0], x, 0), x)
    pipeline = tiny["voice-vae"]
    mel = pipeline.vocoder.analyse(voice(12)[None])
    assert mel.shape[-1] > 2 * CHUNK > 2 * FADE
    with torch.no_grad():
        whole = pipeline.vocoder(mel)[0]
        so_far = list(pipeline._synthesise(mel, "neural", None))
    assert near(whole, so_far[-1])
    assert [len(sound) for sound in so_far] == [400 * 200, 800 * 200, 960 * 200]


# ---- content and speaker ----


def test_content_is_blind_to_gain_and_to_any_fixed_filter():
    """Both add something constant to each band's logarithm, which instance normalisation takes away."""
    torch.manual_seed(0)
    encoder = ContentEncoder(20, 16, 4, 1)
    mel = torch.randn(2, 20, 40)
    changed = mel * (0.5 + torch.rand(1, 20, 1)) + torch.randn(1, 20, 1)
    assert torch.allclose(encoder(mel)[0], encoder(changed)[0], atol=1e-3)
    assert not torch.allclose(encoder(mel)[0], encoder(mel.flip(-1))[0], atol=0.1)
    assert encoder(mel[..., :39])[0].shape == (2, 4, 20)


def test_the_decoder_speaks_with_the_statistics_of_the_speaker():
    torch.manual_seed(0)
    decoder = VoiceDecoder(20, 16, 4, 8, 1)
    content, (s, other) = torch.randn(1, 4, 10), torch.nn.functional.normalize(torch.randn(2, 1, 8), dim=-1)
    silent = torch.zeros(1, 20)
    assert decoder(content, s, silent[:, :19]).shape == (1, 20, 19)
    assert (decoder(content, s, silent) - decoder(content, other, silent)).abs().mean() > 0.1
    low, high = (decoder(content, s, silent + math.log2(hz)) for hz in (100, 200))
    assert (low - high).abs().mean() > 0.1 and (low - decoder(content, s, silent)).abs().mean() > 0.1
    steps = decoder.steps(torch.tensor([[0.0, math.log2(50), math.log2(500), math.log2(1000)]]))
    assert steps.shape == (1, 4, 97) and torch.allclose(steps[..., :-1].sum(-1), torch.tensor([0.0, 1, 1, 1]))
    assert (
        steps[0, :, -1].tolist() == [0, 1, 1, 1]
        and steps[0, 1, :-1].argmax() == 0
        and steps[0, 3, 95] == steps[0, 2, 95]
    )


def test_pitch_is_that_of_the_tone_and_nothing_else_has_one():
    t = torch.arange(16000) / 16000
    for hz in (70, 110, 150.5, 223, 380):
        tone = sum(torch.sin(2 * math.pi * hz * h * t + h) / h for h in range(1, 12))
        found = pitch(tone[None], 16000, 200)[0]
        assert found.shape == (80,) and (found[3:-3] > 0).all()
        assert (found[3:-3] - math.log2(hz)).abs().max() < 0.01, "an eighth of a semitone"
    noise = torch.randn(1, 16000, generator=generators(0)[0])
    assert (pitch(noise, 16000, 200) > 0).float().mean() < 0.05
    assert (pitch(torch.zeros(2, 1600), 16000, 200) == 0).all()
    rising = torch.sin(2 * math.pi * (100 * t + 50 * t**2))[None]  # from 100 to 200 Hz
    found = pitch(torch.cat([rising, 0.001 * noise], 1), 16000, 200)[0]
    assert (2 ** found[5:75] - (100 + 100 * torch.arange(5.5, 75) / 80)).abs().max() < 4
    assert (found[85:] == 0).all(), "what is far below the loudest is not voiced"


def test_a_spectrogram_takes_the_colour_of_a_voice():
    mel = 0.5 * torch.randn(1, 5, 400, generator=generators(0)[0]) - 3
    mel[..., 200:] -= 20  # silence has no say
    mean, deviation = band_statistics(mel)
    assert torch.allclose(mean, mel[..., :200].mean(-1), atol=1e-3) and (deviation - 0.5).abs().max() < 0.1
    assert torch.allclose(match_band_statistics(mel, mean, deviation), mel.clamp(min=math.log(1e-5)), atol=1e-4)
    wanted = torch.tensor([[-2.0, -3, -2, -3, -2]]), torch.tensor([[0.5, 1, 0.8, 0.2, 0.6]])
    got = match_band_statistics(mel, *wanted)
    loud = mel.exp().mean(1)[0] > mel.exp().mean(1).max() / 20
    assert (got[..., loud].mean(-1) - wanted[0]).abs().max() < 0.1
    assert (got[..., loud].std(-1) - wanted[1]).abs().max() < 0.1
    assert got.min() >= math.log(1e-5) - 1e-5 and match_band_statistics(0 * mel, *wanted).isfinite().all()


def test_a_melody_is_transposed_to_a_voice_and_unvoiced_frames_stay():
    melody = torch.tensor([[0.0, 6.5, 7.0, 7.5, 0.0]])
    assert median_pitch(melody).item() == 7.0 and median_pitch(torch.zeros(1, 4)).isnan().all()
    moved = transpose_pitch(melody, torch.tensor([8.0]))
    assert moved.tolist() == [[0.0, 7.5, 8.0, 8.5, 0.0]]
    assert torch.equal(transpose_pitch(melody, torch.tensor([math.nan])), melody)
    assert torch.equal(transpose_pitch(0 * melody, torch.tensor([8.0])), 0 * melody)


def test_speakers_lie_on_the_sphere_whatever_the_length():
    encoder = SpeakerEncoder(("a", "b"), 20, 16, 8)
    for frames in (20, 57):
        assert torch.allclose(encoder(torch.randn(3, 20, frames)).norm(dim=1), torch.ones(3))
    assert encoder.logits(encoder(torch.randn(3, 20, 20))).shape == (3, 6)


def test_codes_are_the_nearest_and_the_gradient_is_straight_through():
    torch.manual_seed(0)
    codebook = VoiceCodebook(7, 3)
    z = torch.randn(2, 3, 5, requires_grad=True)
    codes, straight = codebook(z)
    exact = torch.cdist(z.mT.flatten(0, 1), codebook.codebook).argmin(1).reshape(2, 5)
    assert torch.equal(codes, exact) and torch.allclose(straight, codebook.embed(codes))
    weight = torch.randn_like(straight)
    (straight * weight).sum().backward()
    assert torch.equal(z.grad, weight)


def test_the_codebook_follows_the_averages_and_restarts_dead_codes():
    """VQ-VAE eq. 6-8, written out for each code."""
    torch.manual_seed(0)
    average, codebook = CodebookAverage(3, 2, decay=0.9), torch.randn(3, 2)
    counts, sums = torch.tensor([2.0, 1.0, 3.0]), torch.randn(3, 2)
    average.counts.copy_(counts)
    average.sums.copy_(sums)
    z, codes = torch.randn(2, 2, 4), torch.tensor([[0, 1, 1, 2], [0, 0, 2, 1]])
    average.update(codebook, z, codes, restart=False)
    rows = z.mT.reshape(-1, 2)
    for i in range(3):
        mine = rows[codes.flatten() == i]
        n, m = 0.9 * counts[i] + 0.1 * len(mine), 0.9 * sums[i] + 0.1 * mine.sum(0)
        assert torch.allclose(codebook[i], m / n, atol=1e-6)
    fresh, codebook = CodebookAverage(6, 2, decay=0.98), torch.full((6, 2), 100.0)
    facts = fresh.update(codebook, z, torch.zeros(2, 4, dtype=torch.int64), generator=generators(1)[0])
    assert facts["restarted"] == 5 and torch.allclose(codebook[0], rows.mean(0), atol=1e-5)
    assert all((rows - code).abs().amax(1).min() < 1e-5 for code in codebook[1:])


def test_slerp_keeps_to_the_sphere():
    a, b = torch.nn.functional.normalize(torch.randn(2, 1, 8, generator=generators(0)[0]), dim=-1)
    assert torch.allclose(slerp_unit(a, b, 0), a, atol=1e-6) and torch.allclose(slerp_unit(a, b, 1), b, atol=1e-6)
    middle = slerp_unit(a, b, 0.5)
    assert middle.norm().item() == pytest.approx(1, abs=1e-5)
    assert (middle * a).sum().item() == pytest.approx((middle * b).sum().item(), abs=1e-5)
    assert torch.allclose(slerp_unit(a, a, 0.3), a, atol=1e-6)


def test_level_is_that_of_the_active_parts():
    x = voice(1)
    quiet = torch.cat([x, torch.zeros(16000)])
    assert active_level(quiet).item() == pytest.approx(active_level(x).item(), rel=0.01)
    assert active_level(3 * x).item() == pytest.approx(3 * active_level(x).item(), rel=1e-4)


# ---- the contract ----


@pytest.mark.parametrize("vocoder", ["neural", "griffin_lim"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_clip_depends_on_itself_and_its_seed_only(tiny, family, vocoder):
    a, b = voice(0.8), voice(1.1, 200, 1)
    options = {"vocoder": vocoder} | ({"temperature": 1.0} if family == "voice-vae" else {})
    pipeline = tiny[family]
    both = sounds(pipeline.swap_style([a, b], b, generators(3, 5), **options))
    alone = sounds(pipeline.swap_style([b], [b], generators(5), **options))
    assert torch.equal(both[1], alone[0])
    other = sounds(pipeline.swap_style(b, b, generators(6), **options))
    drawn = vocoder == "griffin_lim" or family == "voice-vae"
    assert torch.equal(other[0], alone[0]) != drawn


@pytest.mark.parametrize("family", FAMILIES)
def test_the_own_voice_reconstructs_and_strength_goes_between(tiny, family):
    a, b = voice(0.8), voice(1.1, 200, 1)
    pipeline = tiny[family]
    own = sounds(pipeline.swap_style(a, a))[0]
    assert near(own, sounds(pipeline.reconstruct(a))[0])
    assert near(own, sounds(pipeline.swap_style(a, b, strength=0.0))[0])
    other = sounds(pipeline.swap_style(a, b))[0]
    assert (own - other).abs().max() > 0.01 * own.abs().max()
    path = sounds(pipeline.interpolate(a, b, num_frames=2))
    assert near(path[0], own) and near(path[1], other)


@pytest.mark.parametrize("family", FAMILIES)
def test_loudness_is_the_content_s(tiny, family):
    a, b = voice(0.8), voice(1.1, 200, 1)
    one, other = (sounds(tiny[family].swap_style(x, b))[0] for x in (a, 0.25 * a))
    assert near(0.25 * one, other)
    assert LEVEL == 1000 / 32768


@pytest.mark.parametrize("family", FAMILIES)
def test_a_trained_voice_needs_no_clip(tiny, family):
    a, pipeline = voice(0.8), tiny[family]
    named = sounds(pipeline.swap_style(a, None, speaker="set/bob"))[0]
    assert named.shape == a.shape and not torch.equal(named, sounds(pipeline.swap_style(a, None, speaker="set/cy"))[0])
    with pytest.raises(ValueError, match="style: give a clip"):
        pipeline.swap_style(a)
    with pytest.raises(ValueError, match=r"speaker: choose 'any', 'set/ann'"):
        pipeline.swap_style(a, a, speaker="nobody")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_style_map_holds_trained_voices_and_given_clips(tiny, family):
    pipeline = tiny[family]
    known = pipeline.style_map()
    assert known.names == list(SPEAKERS["speaker"].values()) and known.points.shape == (3, 2)
    assert torch.allclose(known.points.mean(0), torch.zeros(2), atol=1e-5)
    given = pipeline.style_map([voice(0.8), voice(0.8)])
    assert given.names[3:] == ["", ""] and torch.equal(given.points[3], given.points[4])
    assert torch.allclose(given.points[:3], known.points)
    with pytest.raises(ValueError, match="no trained voices"):
        build_tiny(FAMILIES[family]).style_map()


WRONG = {
    "stereo": (voice(1).reshape(-1, 2), "mono"),
    "whole numbers": (torch.ones(16000, dtype=torch.int16), "32768"),
    "too loud": (3000 * voice(1), "32768"),
    "empty": (voice(1)[:0], "at least 0.25 s"),
    "too short": (voice(0.1), "at least 0.25 s"),
    "silent": (torch.zeros(16000), "silent"),
    "not finite": (torch.full((16000,), torch.nan), "no numbers"),
    "a path": ("clip.wav", r"soxr\.resample"),
    "no clip": ([], "at least one"),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_no_speech_is_refused_with_words(tiny, family, wrong):
    sound, says = WRONG[wrong]
    pipeline, good = tiny[family], voice(0.5)
    for name, ask in {
        "content": lambda: pipeline.swap_style(sound, good),
        "style": lambda: pipeline.swap_style(good, sound),
        "audio": lambda: pipeline.reconstruct(sound),
    }.items():
        with pytest.raises(ValueError, match=f"^{name}: .*{says}"):
            ask()
    with pytest.raises(ValueError, match=says):
        pipeline.anomaly_score(sound)
    if wrong != "no clip":
        with pytest.raises(ValueError, match=f"^b: .*{says}"):
            pipeline.interpolate(good, sound)


# ---- export ----


@pytest.mark.parametrize("family", FAMILIES)
def test_an_exported_folder_needs_torch_numpy_and_diffusers_only(tiny, family, tmp_path):
    tiny[family].save_pretrained(tmp_path)
    files = sorted(tmp_path.rglob("*.py"))
    assert len(files) == 1 + sum(isinstance(c, torch.nn.Module) for c in tiny[family].components.values())
    for path in files:
        imported = set(re.findall(r"^\s*(?:from|import)\s+(\w+)", path.read_text(), re.MULTILINE))
        assert imported - {"torch", "numpy", "diffusers"} <= sys.stdlib_module_names, path.name


@pytest.mark.parametrize("family", FAMILIES)
def test_a_bare_load_warns_of_nothing_and_shares_its_components(tiny, family, tmp_path, caplog, monkeypatch):
    """`from_pipe` takes the components of a bare load, whose classes come from files of their own."""
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    tiny[family].save_pretrained(tmp_path / "saved")
    monkeypatch.setattr(logging.getLogger("diffusers"), "propagate", True)
    with caplog.at_level("WARNING", "diffusers"):
        pipeline = DiffusionPipeline.from_pretrained(tmp_path / "saved", trust_remote_code=True)
    assert not caplog.records
    again = type(pipeline).from_pipe(pipeline)
    assert all(again.components[name] is part for name, part in pipeline.components.items())
    shown = {key: value for key, value in pipeline.config.items() if not key.startswith("_")}
    assert shown == {key: value for key, value in again.config.items() if not key.startswith("_")}


@pytest.mark.parametrize("family", FAMILIES)
def test_copies_by_pickle_say_the_same(tiny, family):
    again = pickle.loads(pickle.dumps(tiny[family]))
    for a, b in zip(
        sounds(call_with_voices(again, "swap_style")), sounds(call_with_voices(tiny[family], "swap_style")), strict=True
    ):
        assert torch.equal(a, b)


@pytest.mark.parametrize("family", FAMILIES)
def test_networks_are_offloaded_in_the_order_of_their_use(tiny, family):
    networks = {name for name, part in tiny[family].components.items() if isinstance(part, torch.nn.Module)}
    assert set(type(tiny[family]).model_cpu_offload_seq.split("->")) == networks


@pytest.mark.parametrize("family", FAMILIES)
def test_the_default_dtype_of_torch_changes_nothing(family):
    def results():
        generator = generators(3, 5)
        options = {"generator": generator, "vocoder": "griffin_lim", "output_type": "pt"}
        if family == "voice-vae":
            options["temperature"] = 1.0
        found = [*pipeline.swap_style(clips, clips[::-1], strength=0.5, **options).audios]
        found += [pipeline.swap_style(clips[0], speaker="set/bob", output_type="pt").audios[0]]
        found += pipeline.interpolate(*clips, num_frames=3, output_type="pt").audios
        found += [pipeline.anomaly_score(clips).scores, pipeline.style_map(clips).points]
        found += [torch.from_numpy(sound) for sound in pipeline.vocode(clips)]
        for stage in ("vocoder", "autoencoder"):
            found.append(pipeline.loss(batch, generators(3)[0], progress=0.9, stage=stage)[0].detach())
        return found

    clips = [voice(0.8), voice(1.1, 200, 1)]
    batch = {"audio": torch.stack([voice(0.8, 100 + 30 * i, i) for i in range(6)])}
    batch["conditions"] = {"speaker": torch.arange(6) % 3}
    pipeline = build_tiny(FAMILIES[family])
    for part in pipeline.components.values():
        part.eval()
    torch.set_default_dtype(torch.float64)
    try:
        for stage in ("vocoder", "autoencoder"):
            for module in pipeline.trainable(stage).values():
                assert all(tensor.dtype == torch.float32 for tensor in module.state_dict().values())
        pipeline.fit([batch])
        wide = results()
        pipeline.fit([batch])
    finally:
        torch.set_default_dtype(torch.float32)
    for a, b in zip(wide, results(), strict=True):
        assert a.dtype == b.dtype == torch.float32 and torch.allclose(a, b, rtol=1e-4, atol=1e-5)


# ---- training ----


@pytest.mark.parametrize("stage", ["vocoder", "autoencoder"])
@pytest.mark.parametrize("family", FAMILIES)
def test_losses_have_gradients_for_all_that_a_stage_trains(family, stage):
    pipeline = build_tiny(FAMILIES[family])
    trained = pipeline.trainable(stage)
    for module in trained.values():
        module.train().requires_grad_(True)
    batch = {"audio": torch.stack([voice(0.8, 100 + 30 * i, i) for i in range(4)])}
    batch["conditions"] = {"speaker": torch.arange(4) % 3}

    def losses(progress):
        return pipeline.loss(batch, generator=generators(0)[0], progress=progress, stage=stage)

    for progress in (0.0, 0.5, 1.0):
        loss, parts = losses(progress)
        assert loss.ndim == 0 and torch.isfinite(loss) and all(torch.as_tensor(v).ndim == 0 for v in parts.values())
        for module in trained.values():
            module.zero_grad()
        loss.backward()
        for name, module in trained.items():
            missing = [n for n, p in module.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
            assert not missing, f"{name}: {missing}"
    if stage == "vocoder" or family == "voice-vae":  # the codebook moves with each call
        assert torch.equal(losses(0.5)[0], losses(0.5)[0]), "the loss depends on its generator only"
    with pytest.raises(ValueError, match="stage: choose"):
        pipeline.loss(batch, stage="transformer")


def test_judges_of_a_conversion_learn_nothing_from_it():
    pipeline = build_tiny(FAMILIES["voice-vae"])
    for module in pipeline.trainable("autoencoder").values():
        module.train().requires_grad_(True)
    voices = torch.nn.functional.normalize(torch.randn(4, 8), dim=1).requires_grad_()
    content = torch.randn(4, 4, 10, requires_grad=True)
    terms = pipeline._conversion_terms(content, content, voices, torch.arange(4), torch.full((4, 20), 7.0), None)
    sum(terms).backward()
    assert all(p.grad is not None for p in pipeline.decoder.parameters())
    judges = [*pipeline.speaker_encoder.parameters(), *pipeline.content_encoder.parameters()]
    assert all(p.grad is None for p in judges) and voices.grad is None and content.grad is None


def test_a_lesson_has_two_halves_of_each_clip_in_one_voice():
    pipeline = build_tiny(FAMILIES["voice-vae"])
    batch = {"audio": torch.stack([voice(1, 120, i) for i in range(12)])}
    batch["conditions"] = {"speaker": torch.arange(12) % 3}
    mel, heard, speaker, melody = pipeline._example(batch, generators(0)[0])
    assert (
        mel.shape == heard.shape
        and melody.shape == (24, mel.shape[2])
        and len(mel) == 24
        and mel.shape[1] == 20
        and mel.shape[2] % 2 == 0
    )
    assert torch.equal(speaker[:12], speaker[12:]) and torch.equal(speaker[:12] // 3, batch["conditions"]["speaker"])
    assert len(set((speaker % 3).tolist())) == 3, "some voices are shifted up, some down"
    expected = math.log2(120) + torch.tensor(VARIANTS).log2()[speaker % 3]
    assert (median_pitch(melody) - expected).abs().max() < 0.05, "and their pitch with them"
    plain = pipeline.vocoder.analyse(bring_to_level(batch["audio"]))
    assert (mel - heard).abs().mean() > 0.1 and mel.mean() == pytest.approx(plain.mean().item(), abs=1.0)


def test_every_public_method_says_what_it_takes():
    for family in FAMILIES.values():
        for name, method in inspect.getmembers(family.pipeline_class(), inspect.isfunction):
            if not name.startswith("_") and method.__module__.startswith("pipelines."):
                assert inspect.getdoc(method), f"{family.name}.{name} has no docstring"
