"""The film of a chain: which steps it keeps, and that watching a chain changes nothing."""

import itertools

import pytest
import torch

from pipelines.film import FRAMES, Film
from pipelines.pipeline_dbn import DBNPipeline
from pipelines.pipeline_rbm import RBMPipeline


def rbm():
    torch.manual_seed(0)
    return RBMPipeline.build(4, 1, {"0": "a", "1": "b"}, num_hidden=7, initial_std=1.0)


def dbn():
    torch.manual_seed(0)
    return DBNPipeline.build(4, 1, {"0": "a", "1": "b"}, hidden_sizes=[6, 5, 7], initial_std=1.0)


def seeded(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


@pytest.mark.parametrize("steps", [2, 7, FRAMES, FRAMES + 1, 1000])
def test_frames_are_evenly_spread_from_the_first_step_to_the_last(steps):
    film = Film(steps)
    for i in range(steps):
        film.take(i, torch.full((3, 1, 2, 2), 2 * i / (steps - 1) - 1))
    found = film.fields()
    kept = found["frame_steps"]
    assert kept[0] == 1 and kept[-1] == steps and len(kept) == min(steps, FRAMES)
    gaps = [b - a for a, b in itertools.pairwise(kept)]
    assert max(gaps) - min(gaps) <= 1 and min(gaps) >= 1
    assert found["frames"].shape == (3, len(kept), 1, 2, 2) and found["frames"].dtype == torch.uint8
    values = [round(255 * (step - 1) / (steps - 1)) for step in kept]
    assert (found["frames"][1, :, 0, 0, 0].int() - torch.tensor(values)).abs().max() <= 1


def test_a_single_step_is_no_film():
    film = Film(1)
    film.take(0, torch.zeros(1, 1, 2, 2))
    assert film.fields() == {"frames": None, "frame_steps": None}


@pytest.mark.parametrize("build", [rbm, dbn])
@pytest.mark.parametrize("pixels", ["probabilities", "binary"])
def test_the_film_ends_at_the_picture_and_watching_changes_nothing(build, pixels):
    pipeline, seen = build(), []
    options = {"num_inference_steps": 9, "pixels": pixels, "output_type": "pt"}
    alone = pipeline(3, seeded(0, 1, 2), **options)
    watched = pipeline(
        3, seeded(0, 1, 2), **options, callback_on_step_end=lambda *a: seen.append(a[3]["pred_original_sample"])
    )
    assert torch.equal(alone.images, watched.images) and torch.equal(alone.frames, watched.frames)
    assert alone.frame_steps == list(range(1, 10)) and alone.frames.shape == (3, 9, 1, 4, 4)
    assert torch.equal((alone.images * 255).round().to(torch.uint8), alone.frames[:, -1])
    steps = torch.stack(seen, 1) / 2 + 0.5
    assert torch.equal((steps * 255).round().to(torch.uint8), alone.frames)
    assert torch.equal(pipeline(1, seeded(1), **options).frames, alone.frames[1:2])


@pytest.mark.parametrize("build", [rbm, dbn])
def test_a_chain_from_a_picture_moves_more_where_it_is_hot(build):
    pipeline = build()
    x = torch.where(torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(0)) > 0.5, 1.0, -1.0)
    moved = []
    for temperature in (0.1, 2.0):
        frames = pipeline.reconstruct(
            x, torch.Generator().manual_seed(0), method="gibbs", num_inference_steps=12, temperature=temperature
        ).frames.float()
        assert frames.shape == (40, 12, 1, 4, 4)
        moved.append((frames[:, 1:] - frames[:, :-1]).abs().mean())
    assert moved[0] < moved[1] / 2
    cold, hot = (pipeline.reconstruct(x, temperature=t, output_type="pt") for t in (0.1, 2.0))
    assert torch.equal(cold.images, hot.images) and cold.frames is None  # mean field has no temperature


@pytest.mark.parametrize("build", [rbm, dbn])
def test_the_known_half_stands_still_in_the_film(build):
    pipeline = build()
    x = torch.where(torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(0)) > 0.5, 1.0, -1.0)
    output = pipeline.reconstruct(x, seeded(*range(5)), keep="left half", completion_steps=8)
    known, made = output.frames.chunk(2, dim=-1)
    assert (known == ((x[:, None, :, :, :2] + 1) / 2 * 255).to(torch.uint8)).all()
    assert (made[:, 1:] != made[:, :-1]).any()
