"""VQGAN against its formulas: codebook, gradients, decoding; and its two stages of training."""

import dataclasses
import itertools
import json
import math
import os
import subprocess
import sys

import gradio as gr
import numpy as np
import PIL.Image
import pytest
import torch
import torch.nn.functional as F
from conftest import ID2LABEL, TINY, build_tiny, pictures
from tabs import task_texts

from genarium.catalogue import find_checkpoints
from genarium.checkpoints import load_pipeline, open_checkpoint
from genarium.data.images import ImageData
from genarium.errors import GenariumError, RecipeError
from genarium.families import discover
from genarium.media.pictures import code_map
from genarium.recipe import StageSpec, find_recipe
from genarium.runtime import Runtime
from genarium.runtime.request import Request
from genarium.tasks.reconstruct.panel_image import Panel
from genarium.training.loop import train
from genarium.training.objective import Objective
from pipelines.adversarial import (
    PatchDiscriminator,
    adaptive_weight,
    feature_distance,
    hinge_loss,
    laplacian_pyramid,
    pyramid_distance,
    ramp,
)
from pipelines.codebook import CodebookAverage
from pipelines.decoding import draw, masked_share, random_masks, truncate
from pipelines.modeling_vqgan import VQGANModel
from pipelines.modeling_vqgan_transformer import CodeTransformer
from pipelines.pipeline_vqgan import STAGES

FAMILIES = discover(installed=False)
STYLES = {"style": {"0": "noto", "1": "twemoji", "2": "fluent"}}


def tiny(**options):
    return build_tiny(FAMILIES["vqgan"], **options)


def seeded(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def transformer(**options):
    torch.manual_seed(0)
    sizes = {"codebook_size": 11, "num_codes": 9, "width": 16, "num_layers": 2, "num_heads": 2, "num_classes": 3}
    model = CodeTransformer(**{**sizes, **options}).eval().requires_grad_(False)
    for p in model.parameters():  # as they are made, the logits are too much alike to show a fault
        p.add_(0.3 * torch.randn_like(p))
    return model


# ---- the codebook ----


def test_codes_are_the_nearest_and_the_gradient_is_straight_through():
    torch.manual_seed(0)
    model = VQGANModel(8, 1, (8, 8), codebook_size=5, code_dim=3)
    x = torch.rand(2, 1, 8, 8) * 2 - 1
    z = model.encode(x)
    exact = torch.cdist(z.movedim(1, -1).flatten(0, 2), model.codebook).argmin(1).reshape(2, 2, 2)
    assert torch.equal(model.nearest(z), exact)

    x_hat, z, codes = model(x)
    z.retain_grad()
    assert torch.allclose(x_hat, model.decode_codes(codes), atol=1e-6), "the decoder sees the codes themselves"
    weight = torch.randn_like(x_hat)
    (x_hat * weight).sum().backward()
    quantised = model.embed(codes).requires_grad_()
    (model.decode(quantised) * weight).sum().backward()
    assert torch.allclose(z.grad, quantised.grad, atol=1e-6) and z.grad.any()
    assert all(p.grad is not None for p in model.encoder.parameters())


def test_the_codebook_follows_the_averages():
    """VQ-VAE eq. 6-8, written out for each code."""
    torch.manual_seed(0)
    average, codebook = CodebookAverage(4, 3, decay=0.9), torch.randn(4, 3)
    counts, sums = torch.tensor([2.0, 1.0, 3.0, 0.5]), torch.randn(4, 3)
    average.counts.copy_(counts)
    average.sums.copy_(sums)
    z, codes = torch.randn(2, 3, 2, 2), torch.tensor([[[0, 1], [1, 2]], [[0, 0], [2, 1]]])
    facts = average.update(codebook, z, codes, restart=False)
    rows = z.movedim(1, -1).reshape(-1, 3)
    for i in range(4):
        mine = rows[codes.flatten() == i]
        n = 0.9 * counts[i] + 0.1 * len(mine)
        m = 0.9 * sums[i] + 0.1 * mine.sum(0)
        assert average.counts[i] == pytest.approx(n.item())
        assert torch.allclose(average.sums[i], m) and torch.allclose(codebook[i], m / n, atol=1e-6)
    used = torch.tensor([3, 3, 2]) / 8
    assert facts["perplexity"].item() == pytest.approx(math.exp(-(used * used.log()).sum()))
    assert facts["restarted"] == 0


def test_dead_codes_are_restarted_at_latents_and_the_first_batch_places_all():
    average, codebook = CodebookAverage(6, 2, decay=0.6), torch.full((6, 2), 100.0)
    z = torch.randn(4, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    rows = z.movedim(1, -1).reshape(-1, 2)
    facts = average.update(codebook, z, torch.zeros(4, 3, 3, dtype=torch.int64), generator=seeded(1)[0])
    assert facts["restarted"] == 5 and torch.allclose(codebook[0], rows.mean(0), atol=1e-6)
    assert all((rows - code).abs().amax(1).min() < 1e-6 for code in codebook[1:])
    # with fair use of five codes, the sixth dies in the end and comes back, and without restarts it stays where it was
    codes = torch.arange(36).reshape(4, 3, 3) % 5
    for restart in (False, True):
        before = codebook[5].clone()
        total = sum(average.update(codebook, z, codes, restart, seeded(2)[0])["restarted"] for _ in range(8))
        assert torch.allclose(before, codebook[5]) != restart
        assert total == (4 if restart else 0), "at once, and again whenever 2, 1.2, 0.72 falls below 1"


def test_a_code_that_is_never_used_again_survives_the_rounding_of_its_average():
    average, codebook = CodebookAverage(2, 1, decay=0.5), torch.tensor([[1.0], [5.0]])
    average.counts.fill_(1.0)
    average.sums.copy_(codebook)
    z = torch.ones(1, 1, 2, 2)
    for _ in range(200):
        average.update(codebook, z, torch.zeros(1, 2, 2, dtype=torch.int64), restart=False)
    assert codebook[1].item() == pytest.approx(5.0)


# ---- the first stage's loss ----


def test_the_pyramid_holds_the_whole_image_and_shows_edges():
    x = pictures(2)
    bands = laplacian_pyramid(x, 4)
    assert [b.shape[-1] for b in bands] == [28, 14, 7]
    whole = bands[-1]
    for band in bands[-2::-1]:
        whole = band + F.interpolate(whole, scale_factor=2.0, mode="nearest")
    assert torch.allclose(whole, x, atol=1e-6)
    assert pyramid_distance(x, x) == 0
    edges = torch.zeros(1, 1, 8, 8)
    edges[..., ::2] = 1.0
    assert pyramid_distance(edges, edges.flip(-1)) > 1.9 * (edges - edges.flip(-1)).abs().mean() / 2
    assert pyramid_distance(x, x + 0.1).item() == pytest.approx(0.1, rel=1e-4), "one band knows the brightness"


def test_the_adaptive_weight_equals_the_two_gradients():
    """VQGAN eq. 7: weighted, the adversarial gradient at the last layer is as large as that of the reconstruction."""
    torch.manual_seed(0)
    model, critic = VQGANModel(8, 1, (8,), codebook_size=4, code_dim=2), PatchDiscriminator(1, (4,))
    x = torch.rand(3, 1, 8, 8)
    x_hat = model(x)[0]
    reconstruction, adversarial = (x - x_hat).abs().mean(), -1000 * critic(x_hat)[0].mean()
    weight = adaptive_weight(reconstruction, adversarial, model.last_layer)
    norms = [
        torch.autograd.grad(v, model.last_layer, retain_graph=True)[0].norm() for v in (reconstruction, adversarial)
    ]
    assert (weight * norms[1]).item() == pytest.approx(norms[0].item(), rel=1e-4) and not weight.requires_grad


def test_small_terms_have_their_closed_forms():
    real, fake = torch.tensor([2.0, 0.0]), torch.tensor([-3.0, 1.0])
    assert hinge_loss(real, fake).item() == 0.5 * (0 + 1) / 2 + 0.5 * (0 + 2) / 2
    features = [torch.ones(2, 3), torch.full((2, 3), 2.0)]
    assert feature_distance(features, [f * 1.5 for f in features]).item() == pytest.approx(0.5)
    assert [ramp(p, 0.2, 0.4) for p in (0.1, 0.2, 0.4, 0.9)] == pytest.approx([0, 0, 0.5, 1])
    assert ramp(0.5, 0.5, 0.0) == 1


def test_one_loss_trains_two_adversaries_each_with_its_own_gradient():
    pipeline = tiny(discriminator_start=0.5, discriminator_ramp=0.0)
    modules = pipeline.trainable("autoencoder")
    for module in modules.values():
        module.requires_grad_(True)
    batch = {"images": pictures(4), "class_labels": None}
    options = {"progress": 0.9, "stage": "autoencoder"}
    loss, parts = pipeline.loss(batch, seeded(0)[0], **options)  # in evaluation mode: the codebook stands still
    loss.backward()
    both = {k: [p.grad.clone() for p in m.parameters()] for k, m in modules.items()}

    discriminator = modules["discriminator"]
    discriminator.zero_grad()
    with torch.no_grad():
        x_hat = pipeline.vqgan(batch["images"])[0]
    hinge_loss(discriminator(batch["images"])[0], discriminator(x_hat)[0]).backward()
    for a, p in zip(both["discriminator"], discriminator.parameters(), strict=True):
        assert torch.allclose(a, p.grad, atol=1e-6)

    pipeline.vqgan.zero_grad()
    x_hat = pipeline.vqgan(batch["images"])[0]
    fake, fake_features = discriminator(x_hat)
    real_features = discriminator(batch["images"])[1]
    opinion = 0.2 * parts["adversarial_weight"] * -fake.mean() + 0.2 * feature_distance(real_features, fake_features)
    own = parts_loss(pipeline, batch["images"]) + opinion
    own.backward()
    for a, p in zip(both["vqgan"], pipeline.vqgan.parameters(), strict=True):
        assert torch.allclose(a, p.grad, atol=1e-5)

    early, early_parts = pipeline.loss(batch, seeded(0)[0], progress=0.4, stage="autoencoder")
    assert "discriminator" not in early_parts and early.item() == pytest.approx(
        parts_loss(pipeline, batch["images"]).item()
    )
    discriminator.zero_grad()
    early.backward()
    assert all(p.grad is not None and not p.grad.any() for p in discriminator.parameters())


def parts_loss(pipeline, x):
    x_hat, z, codes = pipeline.vqgan(x)
    reconstruction = (x - x_hat).abs().mean() + pyramid_distance(x, x_hat)
    return reconstruction + 0.25 * (z - pipeline.vqgan.embed(codes)).square().mean()


# ---- the transformer ----


def test_the_cache_gives_what_the_whole_pass_gives():
    model = transformer(conditions={"style": 2})
    codes = torch.randint(11, (4, 9), generator=seeded(0)[0])
    given = (torch.tensor([0, 2, -1, 1]), {"style": torch.tensor([1, -1, 0, 0])})
    whole = model(codes, *given, causal=True)  # [4, 9, 11]
    cache, steps = [], []
    for i in range(9):
        logits, cache = model(codes[:, max(i - 1, 0) : i], *given, cache=cache)
        steps.append(logits)
    assert torch.allclose(torch.stack(steps, dim=1), whole, atol=1e-5)
    logits, cache = model(codes[:, :4], *given, cache=[])
    assert torch.allclose(logits, whole[:, 4], atol=1e-5), "several codes at once"
    logits, cache = model(codes[:, 4:7], cache=cache)
    assert torch.allclose(logits, whole[:, 7], atol=1e-5)


def test_causal_rows_see_no_later_code_and_masked_rows_see_all():
    model = transformer()
    a = torch.randint(11, (1, 9), generator=seeded(0)[0])
    b = a.clone()
    b[0, 5] = (b[0, 5] + 1) % 11
    codes, causal = torch.cat([a, b, a, b]), torch.tensor([True, True, False, False])
    logits = model(codes, causal=causal)
    assert torch.equal(logits[0, :6], logits[1, :6]) and (logits[0, 6:] - logits[1, 6:]).abs().amax(1).min() > 1e-4
    assert (logits[2] - logits[3]).abs().amax(1).min() > 1e-5
    alone = torch.cat([model(codes[:2], causal=True), model(codes[2:], causal=False)])
    assert torch.allclose(logits, alone, atol=1e-5), "a row is read in its own way whatever its neighbours do"


def test_conditions_matter_and_an_absent_one_is_a_class_of_its_own():
    model = transformer(conditions={"style": 2})
    codes = torch.zeros(1, 9, dtype=torch.int64)
    style = {"style": torch.tensor([1])}
    one, other, none = (model(codes, torch.tensor([y]), style) for y in (0, 1, -1))
    assert not torch.allclose(one, other, atol=1e-4) and not torch.allclose(one, none, atol=1e-4)
    assert torch.equal(none, model(codes, None, style))
    assert not torch.allclose(none, model(codes, None), atol=1e-4)


# ---- choosing codes ----


def test_temperature_top_k_and_top_p():
    p = torch.tensor([0.4, 0.1, 0.3, 0.2])
    logits = p.log() + 3
    assert torch.allclose(truncate(logits).exp(), p)
    assert torch.allclose(truncate(logits, temperature=0.5).exp(), p**2 / (p**2).sum())
    kept = {
        (0, 1.0, 1.0): [0, 1, 2, 3],
        (2, 1.0, 1.0): [0, 2],
        (0, 0.65, 1.0): [0, 2],
        (0, 0.75, 1.0): [0, 2, 3],
        (0, 0.0, 1.0): [0],
        (3, 0.65, 1.0): [0, 2],
        (0, 1.0, 0.0): [0],
    }
    for (top_k, top_p, temperature), expected in kept.items():
        log_p = truncate(logits, temperature, top_k, top_p)
        assert log_p.isfinite().nonzero()[:, 0].tolist() == expected
    even = truncate(torch.zeros(3, 5), top_k=1)
    assert (even.isfinite().sum(1) == 1).all(), "ties do not let more in"


def test_draws_follow_the_probabilities():
    log_p = truncate(torch.tensor([0.4, 0.1, 0.3, 0.2]).log(), top_p=0.75)  # 0.4, -, 0.3, 0.2 of 0.9
    uniform = (torch.arange(9000) + 0.5) / 9000
    drawn = draw(log_p.expand(9000, 4), uniform)
    assert drawn.bincount(minlength=4).tolist() == pytest.approx([4000, 0, 3000, 2000], abs=1)
    assert (
        draw(log_p[None], torch.tensor([1 - 1e-9])).item() == 3 and draw(log_p[None], torch.tensor([1e-9])).item() == 0
    )


def test_masks_have_the_asked_size_and_the_schedule_its_ends():
    masks = random_masks(torch.tensor([0, 3, 9]), 9, seeded(0)[0])
    assert masks.sum(1).tolist() == [0, 3, 9]
    assert (
        masked_share(0.0) == 1
        and masked_share(1.0) == pytest.approx(0)
        and masked_share(0.5) == pytest.approx(0.5**0.5)
    )


def watch_masks(pipeline):
    """Let the pipeline's transformer note how many codes of each row are masked when it is asked."""
    seen = []
    mask = pipeline.transformer.mask_code
    hook = pipeline.transformer.register_forward_pre_hook(lambda module, args: seen.append((args[0] == mask).sum(1)))
    return seen, hook


@pytest.mark.parametrize("steps", [1, 2, 8, 12, 64])
def test_masked_decoding_fills_all_codes_on_the_cosine_schedule(steps):
    pipeline = tiny()
    seen, hook = watch_masks(pipeline)
    shown = []
    output = pipeline(
        2, seeded(3, 5), num_inference_steps=steps, callback_on_step_end=lambda *a: shown.append(a[3]), output_type="pt"
    )
    hook.remove()
    assert output.codes.shape == (2, 7, 7) and output.codes.min() >= 0 and output.codes.max() < 32
    assert len(seen) == len(shown) == min(steps, 49)
    left = [int(row[0]) for row in seen]
    assert left[0] == 49 and all(a > b for a, b in itertools.pairwise(left)), "every step decides something"
    if steps <= 12:
        assert left == [math.floor(49 * math.cos(math.pi / 2 * i / steps) + 1e-6) for i in range(steps)]
    for i, values in enumerate(shown):  # the preview is grey where nothing is decided yet
        x = values["pred_original_sample"]
        blank = (F.max_pool2d(x.abs(), 4) == 0).sum((1, 2, 3))
        assert blank.tolist() == [left[i + 1] if i + 1 < len(left) else 0] * 2
    assert torch.allclose(pipeline.decode(output.codes, output_type="pt").images, output.images)


def test_known_codes_stay_when_others_are_drawn_anew():
    pipeline = tiny()
    x = pictures(2)
    codes = pipeline.encode(x)
    kept = pipeline.reconstruct(x, output_type="pt")
    assert torch.equal(kept.codes, codes) and torch.allclose(
        kept.images, pipeline.decode(codes, output_type="pt").images
    )
    seen, hook = watch_masks(pipeline)
    redrawn = pipeline.reconstruct(x, seeded(1, 2), redraw=0.5, num_inference_steps=4)
    hook.remove()
    assert seen[0].tolist() == [24, 24] and 0 < (redrawn.codes != codes).sum() <= 48
    assert pipeline.reconstruct(x, seeded(1, 2), return_dict=False)[1].shape == (2, 7, 7)


def test_autoregressive_codes_have_the_probabilities_of_the_whole_pass():
    pipeline = tiny()
    shown = []
    options = {"decoding": "autoregressive", "callback_on_step_end": lambda *a: shown.append(a[3])}
    codes = pipeline(3, seeded(3, 5, 7), [1, 2, 3], guidance_scale=2.0, **options).codes.flatten(1)
    assert len(shown) == 7 and shown[0]["num_timesteps"] == 7
    assert [(F.max_pool2d(v["pred_original_sample"].abs(), 4) == 0).sum().item() for v in shown] == [
        3 * 7 * (6 - i) for i in range(7)
    ]
    # the same draws from the whole pass's guided distributions
    labels = torch.tensor([1, 2, 3])
    cond, uncond = pipeline.transformer(codes, labels, causal=True), pipeline.transformer(codes, causal=True)
    uniform = pipeline._rand((3, 49), seeded(3, 5, 7))
    assert torch.equal(draw(truncate(uncond + 2.0 * (cond - uncond)), uniform), codes)


def test_no_chance_means_the_same_map_for_all():
    pipeline = tiny()
    options = {"temperature": 0.0, "choice_temperature": 0.0}
    for decoding in ("masked", "autoregressive"):
        codes = pipeline(3, seeded(3, 5, 7), [1, 1, 2], decoding=decoding, **options).codes
        assert torch.equal(codes[0], codes[1])
    greedy = pipeline(1, seeded(3), 1, decoding="autoregressive", **options, guidance_scale=1.0).codes.flatten(1)
    assert torch.equal(pipeline.transformer(greedy, torch.tensor([1]), causal=True).argmax(-1), greedy)


def test_styles_are_drawn_by_the_seeds_and_chosen_by_name():
    pipeline = tiny(conditions=STYLES)
    labels = [3, 5]
    any_style = pipeline(2, seeded(3, 5), labels, output_type="pt").images
    assert torch.equal(any_style, pipeline(2, seeded(3, 5), labels, style="any", output_type="pt").images)
    seen = []
    hook = pipeline.transformer.register_forward_pre_hook(lambda module, args: seen.append(args[2]["style"]))
    for style, number in (("noto", 0), ("fluent", 2)):
        pipeline(2, seeded(3, 5), labels, style=style, num_inference_steps=1)
        assert seen[-1].tolist() == [number, number, -1, -1], "guidance asks again, without class and style"
    for seed in range(20):
        pipeline(1, seeded(seed), style="any", num_inference_steps=1, guidance_scale=1.0)
    hook.remove()
    assert {int(s) for s in torch.cat(seen[-20:])} == {0, 1, 2}
    with pytest.raises(ValueError, match="style"):
        pipeline(1, style="impressionism")
    with pytest.raises(ValueError, match="style"):
        tiny()(1, style="noto")
    with pytest.raises(ValueError, match="style"):
        tiny(conditions={"mood": {"0": "calm"}})


# ---- measuring ----


def test_the_surprise_is_the_log_probability_of_the_map():
    pipeline = tiny()
    x = pictures(3)
    codes = pipeline.encode(x).flatten(1)
    cache, total = [], torch.zeros(3)
    for i in range(49):
        logits, cache = pipeline.transformer(codes[:, max(i - 1, 0) : i], cache=cache)
        total -= logits.log_softmax(-1).gather(1, codes[:, i : i + 1])[:, 0]
    measured = pipeline.anomaly_score(x, score="likelihood")
    assert torch.allclose(measured.scores, total, rtol=1e-4)
    assert torch.allclose(measured.maps.sum((1, 2)) / 16, total, rtol=1e-4), "each code's nats on its patch of 4 x 4"
    error = pipeline.anomaly_score(x, score="reconstruction")
    restored = pipeline.reconstruct(x, output_type="pt").images * 2 - 1
    assert torch.allclose(error.scores, (x - restored.clamp(-1, 1)).square().mean((1, 2, 3)), atol=2e-2)
    assert torch.allclose(error.maps.mean((1, 2)), error.scores)


def test_given_a_class_its_nats_count_by_their_weight():
    pipeline = tiny()
    x, labels = pictures(4), torch.tensor([1, 1, 7, 9])
    codes = pipeline.encode(x)
    with torch.no_grad():
        unconditional, conditional = (pipeline._nats(codes, y) for y in (None, labels))
    assert not torch.allclose(unconditional, conditional)
    for weight in (0.0, 1.0, 10.0):
        of_class = pipeline.anomaly_score(x, class_labels=labels, score="likelihood", class_weight=weight)
        expected = unconditional + weight * (conditional - unconditional)
        assert torch.allclose(of_class.scores, expected.sum((1, 2)), rtol=1e-4)
        assert torch.allclose(of_class.maps[:, ::4, ::4], expected.clamp(min=0), atol=1e-3)
    parts = (pipeline.anomaly_score(x, class_labels=y, score="reconstruction").scores for y in (None, labels))
    assert torch.equal(*parts), "it knows no class"
    both = (pipeline.anomaly_score(x, class_labels=y).scores for y in (None, labels))
    assert torch.allclose(torch.sub(*both), -10 * (conditional - unconditional).sum((1, 2)), rtol=1e-3), (
        "before `fit`, as it is"
    )


def test_both_scores_are_calibrated_on_training_images():
    pipeline = tiny()
    data = ImageData(((pictures(80) + 1) * 127.5).to(torch.uint8), None, None)
    pipeline.fit(data.batches(32))
    scores = pipeline.anomaly_score(data.batch(torch.arange(80))["images"]).scores
    assert scores.mean().item() == pytest.approx(0, abs=1e-3)
    assert scores.std().item() == pytest.approx(2**0.5, abs=0.75), "the sum of two of deviation one, related or not"
    maps = pipeline.anomaly_score(data.batch(torch.arange(80))["images"]).maps
    assert maps.mean().item() == pytest.approx(2, rel=1e-3)
    assert json.loads(json.dumps(pipeline.config.calibration)) == pipeline.config.calibration
    with pytest.raises(ValueError, match="two images"):
        pipeline.fit(ImageData(data.images[:1], None, None).batches(1))


def test_interpolation_ends_at_the_reconstructions():
    pipeline = tiny()
    a, b = pictures(2)
    frames = pipeline.interpolate(a, b, num_frames=5, output_type="pt").images
    ends = pipeline.reconstruct(torch.stack([a, b]), output_type="pt").images
    assert torch.allclose(frames[[0, -1]], ends, atol=1e-6)
    smooth = pipeline.interpolate(a, b, num_frames=5, quantize=False, output_type="pt").images
    assert not torch.allclose(smooth, frames, atol=1e-3)


# ---- training ----


def staged(images=(320, 320), **training):
    recipe = find_recipe("vqgan-fashion-mnist")
    settings = {"precision": "fp32", "compile": False, "warmup_steps": 3, "save_every": 7, "sample_every": 1000}
    stages = (
        StageSpec("autoencoder", images[0], samples="reconstruct", batch_size=16, learning_rate=4e-3),
        StageSpec("transformer", images[1], learning_rate=2e-3),
    )
    settings |= {"images": None, "stages": stages, "batch_size": 32, **training}
    return dataclasses.replace(
        recipe,
        name="tiny-vqgan",
        architecture=TINY["vqgan"],
        training=dataclasses.replace(recipe.training, **settings),
    )


@pytest.fixture
def data():
    return ImageData(((pictures(32) + 1) * 127.5).to(torch.uint8), torch.arange(32) % 10, ID2LABEL)


def run(recipe, folder, data, **options):
    losses = {}
    result = train(
        recipe,
        FAMILIES["vqgan"],
        data=data,
        run_folder=folder / "run",
        output=folder / "checkpoint",
        on_step=lambda step, loss: losses.__setitem__(step, loss),
        **options,
    )
    return result, losses


def test_two_stages_in_one_run_leave_a_checkpoint_without_their_helpers(tmp_path, data):
    output, losses = run(staged((640, 960)), tmp_path, data)
    assert len(losses) == 70  # 640 / 16 + 960 / 32
    rows = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    first, second = ([r for r in rows if r["stage"] == s] for s in ("autoencoder", "transformer"))
    assert [r["step"] for r in first] == [10, 20, 30, 40] and [r["step"] for r in second] == [50, 60, 70]
    assert first[-1]["perceptual"] < 0.9 * first[0]["perceptual"] and first[-1]["perplexity"] > 1
    assert "discriminator" in first[-1] and "discriminator" not in first[0]
    assert second[-1]["masked_nll"] < second[0]["masked_nll"] and second[-1]["causal_nll"] < second[0]["causal_nll"]
    assert first[-1]["lr"] < 1e-4 < second[0]["lr"], "each stage has its own schedule"
    assert (tmp_path / "run/samples/0000040.png").exists() and (tmp_path / "run/samples/0000070.png").exists()

    names = {path.name for path in output.rglob("*")}
    assert {"modeling_vqgan.py", "modeling_vqgan_transformer.py", "pipeline_vqgan.py"} <= names
    pipeline = load_pipeline(open_checkpoint(output, FAMILIES))
    assert sorted(pipeline.components) == ["transformer", "vqgan"] and pipeline.config.calibration
    from safetensors.torch import load_file

    saved = [key for file in output.rglob("*.safetensors") for key in load_file(file)]
    assert "codebook" in saved and not [k for k in saved if "discriminator" in k or "counts" in k or "sums" in k]
    assert pipeline.vqgan.codebook.isfinite().all() and pipeline.vqgan.codebook.unique(dim=0).shape[0] > 4


@pytest.mark.parametrize("stop", [9, 20, 26])
def test_a_run_that_was_stopped_in_any_stage_goes_on_to_the_same(tmp_path, data, stop):
    """In the first stage, at its end, in the second."""
    recipe = staged()
    _, whole = run(recipe, tmp_path / "whole", data)
    stopped, first = run(recipe, tmp_path / "parts", data, max_steps=stop)
    assert stopped == tmp_path / "parts/run" and sorted(first) == list(range(1, stop + 1))
    _, second = run(recipe, tmp_path / "parts", data)
    assert sorted(second) == list(range(stop + 1, 31))
    assert {**first, **second} == pytest.approx(whole, rel=1e-4)
    a, b = (load_pipeline(open_checkpoint(tmp_path / n / "checkpoint", FAMILIES)) for n in ("whole", "parts"))
    for key, value in a.vqgan.state_dict().items():
        assert torch.allclose(value, b.vqgan.state_dict()[key], atol=1e-3), key
    for p, q in zip(a.transformer.parameters(), b.transformer.parameters(), strict=True):
        assert torch.allclose(p, q, atol=1e-3)


def test_the_second_stage_leaves_the_first_ones_weights_alone(tmp_path, data, monkeypatch):
    between = {}
    prepare = FAMILIES["vqgan"].pipeline_class().prepare

    def spy(self, stage, batches):
        between[stage] = {k: v.clone() for k, v in self.vqgan.state_dict().items()}
        return prepare(self, stage, batches)

    monkeypatch.setattr(FAMILIES["vqgan"].pipeline_class(), "prepare", spy)
    output, _ = run(staged(), tmp_path, data)
    after = load_pipeline(open_checkpoint(output, FAMILIES)).vqgan.state_dict()
    assert set(between) == {"autoencoder", "transformer"}
    for key, value in between["transformer"].items():
        assert torch.allclose(value, after[key], atol=2e-3), key
    assert not torch.allclose(between["autoencoder"]["codebook"], after["codebook"], atol=0.1)


def test_what_a_stage_trains_and_what_it_does_not():
    pipeline = tiny(causal_share=0.5)
    objective = Objective(pipeline, "autoencoder").train()
    assert set(objective.components) == {"vqgan", "transformer", "discriminator", "codebook_average"}
    assert not any(p.requires_grad for p in pipeline.transformer.parameters()) and not pipeline.transformer.training
    assert pipeline.vqgan.training and all(p.requires_grad for p in pipeline.vqgan.parameters())
    assert [len(g) for g in objective.groups()] == [
        len(list(m.parameters())) for m in (pipeline.vqgan, objective.components["discriminator"])
    ]
    second = Objective(pipeline, "transformer").train()
    assert set(second.components) == {"vqgan", "transformer"} and not pipeline.vqgan.training
    assert not any(p.requires_grad for p in pipeline.vqgan.parameters())
    before = pipeline.vqgan.codebook.clone()
    codes = pipeline.encode(pictures(6)).to(torch.int16)
    batch = {"images": pictures(6), "class_labels": torch.arange(6)}
    loss, _ = second(batch, seeded(0)[0], 0.5)
    encoded = pipeline.prepare("transformer", [batch])["codes"]
    assert torch.equal(encoded, codes) and torch.equal(before, pipeline.vqgan.codebook)
    again, _ = second({"codes": encoded, "class_labels": torch.arange(6)}, seeded(0)[0], 0.5)
    assert torch.equal(loss, again), "codes made beforehand are those made on the way"


@pytest.mark.parametrize("causal_share", [0.0, 1.0])
def test_the_transformer_learns_a_map_by_heart(causal_share):
    """Tiny overfit of either way of reading: sixteen images, then their maps come back."""
    pipeline = tiny(causal_share=causal_share, corruption=0.0, class_dropout=0.0)
    pipeline.transformer.requires_grad_(True)
    batch = {"codes": torch.randint(32, (10, 7, 7), generator=seeded(0)[0]), "class_labels": torch.arange(10)}
    optimizer = torch.optim.AdamW(pipeline.transformer.parameters(), lr=1e-2)
    for step in range(120):
        loss, _ = pipeline.loss(batch, seeded(step)[0], stage="transformer")
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    decoding = "autoregressive" if causal_share else "masked"
    options = {"temperature": 0.0, "choice_temperature": 0.0, "guidance_scale": 1.0}
    codes = pipeline(10, seeded(*range(10)), range(10), decoding=decoding, **options).codes
    assert (codes == batch["codes"]).float().mean() > 0.9


def test_the_autoencoder_learns_some_images_by_heart_with_a_discriminator():
    torch.manual_seed(0)
    pipeline = tiny(discriminator_start=0.5, discriminator_ramp=0.2)
    modules = torch.nn.ModuleDict(pipeline.trainable("autoencoder")).train().requires_grad_(True)
    batch = {"images": pictures(8), "class_labels": None}
    optimizer = torch.optim.AdamW(modules.parameters(), lr=4e-3)
    history = []
    for step in range(160):
        loss, parts = pipeline.loss(batch, seeded(step)[0], progress=step / 160, stage="autoencoder")
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        history.append(parts["pixels"].item())
    assert history[79] < 0.4 * history[0]
    assert max(history[80:]) < 1.5 * history[79], "the reconstruction does not collapse when the discriminator starts"
    assert parts["perplexity"] > 4, "the codes are in use"


def test_stages_are_checked_before_anything_is_trained(tmp_path, data):
    recipe = staged()
    wrong = dataclasses.replace(recipe.training, stages=(StageSpec("autoencodr", 10),))
    with pytest.raises(RecipeError, match="'autoencoder' or 'transformer'"):
        run(dataclasses.replace(recipe, training=wrong), tmp_path, data)
    plain = dataclasses.replace(recipe.training, stages=(), images=10)
    with pytest.raises(RecipeError, match=r"training\.stages"):
        run(dataclasses.replace(recipe, training=plain), tmp_path, data)
    other = dataclasses.replace(recipe, family="vae", architecture=TINY["vae"])
    with pytest.raises(RecipeError, match="one piece"):
        train(other, FAMILIES["vae"], data=data, run_folder=tmp_path / "vae")
    run(recipe, tmp_path, data, max_steps=2)
    longer = staged((640, 320))
    with pytest.raises(GenariumError, match="stages"):
        run(longer, tmp_path, data)


def test_mirrored_data_are_encoded_at_each_step(data, tmp_path, monkeypatch):
    seen = []
    forward = Objective.forward

    def spy(self, batch, generator, progress):
        seen.append(sorted(batch))
        return forward(self, batch, generator, progress)

    monkeypatch.setattr(Objective, "forward", spy)
    run(staged((16, 32)), tmp_path / "a", data)
    run(staged((16, 32)), tmp_path / "b", dataclasses.replace(data, horizontal_flip=True))
    assert seen == [
        ["class_labels", "images"],
        ["class_labels", "codes"],
        ["class_labels", "images"],
        ["class_labels", "images"],
    ]


TWO = """
import torch
from pathlib import Path
from genarium.parallel import join
from test_vqgan import FAMILIES, ID2LABEL, ImageData, pictures, run, staged
join()
data = ImageData(((pictures(32) + 1) * 127.5).to(torch.uint8), torch.arange(32) % 10, ID2LABEL)
pipeline_class = FAMILIES["vqgan"].pipeline_class()
prepare = pipeline_class.prepare
def spy(self, stage, batches):
    torch.save(self.vqgan.codebook, Path({folder!r}) / f"{{stage}}-{{join().process_index}}.pt")
    return prepare(self, stage, batches)
pipeline_class.prepare = spy
run(staged((160, 160)), Path({folder!r}), data)
"""


def test_two_processes_train_both_stages_and_keep_one_codebook(tmp_path):
    (tmp_path / "program.py").write_text(TWO.format(folder=str(tmp_path)))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]  # a port of its own: tests run at once
    done = subprocess.run(
        [*torchrun, "--nproc_per_node", "2", str(tmp_path / "program.py")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads((tmp_path / "run/log.jsonl").read_text().splitlines()[-1])["step"] == 15
    first, last = ([torch.load(tmp_path / f"{stage}-{i}.pt") for i in (0, 1)] for stage in STAGES)
    assert torch.equal(*first) and torch.equal(*last) and not torch.equal(first[0], last[0])


# ---- in the app ----


def test_the_reconstruct_tab_shows_the_codes(house):
    tiny().save_pretrained(house / "checkpoints/tiny-vqgan")
    build_tiny(FAMILIES["vae"]).save_pretrained(house / "checkpoints/tiny-vae")
    runtime = Runtime(find_checkpoints(FAMILIES), device="cpu", dtype=torch.float32, max_batch=2)
    picture = PIL.Image.fromarray(np.arange(28 * 28, dtype=np.uint8).reshape(28, 28))
    result = runtime.run(Request("tiny-vqgan", "reconstruct"), {"images": [picture, picture, picture]})
    assert result.codes.shape == (3, 7, 7) and (result.codes[0] == result.codes[2]).all()
    with gr.Blocks():
        panel = Panel(task_texts("reconstruct"))
    shown = panel.fill(result, runtime.catalogue["tiny-vqgan"], {})[panel.codes]
    assert shown["visible"] and PIL.Image.open(shown["value"]).size == (336, 336)
    plain = runtime.run(Request("tiny-vae", "reconstruct"), {"images": [picture]})
    shown = panel.fill(plain, runtime.catalogue["tiny-vae"], {})[panel.codes]
    assert plain.codes is None and not shown["visible"] and shown["value"] is None
    assert panel.codes in panel.outputs


def test_codes_have_colours_of_their_own():
    colours = np.asarray(code_map(np.arange(1024).reshape(32, 32))).reshape(-1, 3)
    assert len(np.unique(colours, axis=0)) > 1000
    same = np.asarray(code_map(np.array([[5, 5], [6, 5]])))
    assert (same[0, 0] == same[1, 1]).all() and np.abs(same[0, 0].astype(int) - same[1, 0]).max() > 40


def test_images_of_an_array_keep_their_types():
    output = tiny().reconstruct(np.zeros((2, 28, 28, 1), np.uint8), output_type="np")
    assert output.images.shape == (2, 28, 28, 1) and output.codes.dtype == torch.int64
