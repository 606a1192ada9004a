"""DiT against closed forms: the blocks at their beginning, Gaussian latents under every target, what the stages measure."""

import dataclasses
import itertools
import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from closed_forms import two_class_velocity
from conftest import ID2LABEL, TINY, pictures

from genarium.checkpoints import load_pipeline, open_checkpoint
from genarium.data.images import ImageData
from genarium.errors import RecipeError
from genarium.families import discover
from genarium.recipe import StageSpec, find_recipe
from genarium.training.loop import train
from genarium.training.pipeline import build_pipeline
from pipelines.diffusion_path import EPSILON_START
from pipelines.family import Report
from pipelines.modeling_dit import BLOCKS, DiTModel, attend
from pipelines.modeling_kl_autoencoder import reconstruction_loss
from pipelines.pipeline_dit import STAGES, LatentTransformerPipeline

FAMILY = discover(installed=False)["dit"]
STYLES = {"style": {"0": "noto", "1": "twemoji", "2": "openmoji"}}
TARGETS = {
    "flow_matching": {"objective": "flow_matching"},
    "v_prediction": {"objective": "ddpm", "prediction_type": "v_prediction"},
    "epsilon": {"objective": "ddpm", "prediction_type": "epsilon"},
}


def tiny(**options):
    torch.manual_seed(0)
    pipeline = LatentTransformerPipeline.build(
        **{"sample_size": 28, "channels": 1, "id2label": ID2LABEL, **TINY["dit"], **options}
    )
    for module in (pipeline.autoencoder, pipeline.transformer):
        for p in module.parameters():
            if p.ndim > 1 and not p.any():  # zero-initialised layers would hide what comes before them
                torch.nn.init.normal_(p, std=0.05)
        module.eval().requires_grad_(False)
    return pipeline


def with_styles():
    """A network in which the labels, above all, decide."""
    pipeline = tiny(conditions=STYLES)
    for weight in (pipeline.transformer.labels[1].weight, pipeline.transformer.out.weight):
        torch.nn.init.normal_(weight, generator=torch.Generator().manual_seed(1))
    return pipeline


def unheard(pipeline):
    return Report(pipeline, None)


def generators(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


# ---- the transformer ----


def transformer(conditioning="adaln_zero", **options):
    torch.manual_seed(0)
    sizes = {"sample_size": 6, "in_channels": 3, "patch_size": 2, "width": 24, "depth": 2, "num_heads": 3}
    return DiTModel(conditioning=conditioning, num_labels=(4, 5), **{**sizes, **options}).eval()


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("conditioning", "of_a_block", "of_the_norm"),
    [
        ("adaln_zero", lambda d: 18 * d * d + 15 * d, lambda d: 2 * d * d + 2 * d),
        ("cross_attention", lambda d: 16 * d * d + 19 * d, lambda d: 2 * d),
        ("in_context", lambda d: 12 * d * d + 13 * d, lambda d: 2 * d),
    ],
)
def test_shapes_and_parameter_counts_are_the_documented_ones(conditioning, of_a_block, of_the_norm):
    model, d, patch = transformer(conditioning), 24, 3 * 2**2
    seen = []
    model.blocks[0].register_forward_hook(lambda module, inputs, output: seen.append((*inputs, output)))
    x, time, labels = torch.randn(5, 3, 6, 6), torch.rand(5), torch.randint(4, (5, 2))
    assert model(x, time, labels).shape == x.shape
    tokens, condition, output = seen[0]
    length = 9 + 3 * (conditioning == "in_context")  # time, and two labels, among the patches
    assert tokens.shape == output.shape == (5, length, d) and condition.shape == (5, 3, d)
    assert count(model.blocks[0]) == of_a_block(d)
    whole = (2 * patch * d + d + patch) + (d * d + 258 * d) + d * (5 + 6) + 2 * of_a_block(d) + of_the_norm(d)
    assert count(model) == whole


def test_a_block_whose_gates_are_zero_is_the_identity():
    for block in transformer("adaln_zero").blocks:
        x = torch.randn(4, 9, 24)
        assert torch.equal(block(x, torch.randn(4, 3, 24)), x)
        torch.nn.init.normal_(block.modulation[1].weight)
        assert not torch.allclose(block(x, torch.randn(4, 3, 24)), x, atol=0.1)


@pytest.mark.parametrize("conditioning", BLOCKS)
def test_training_begins_with_zero_and_every_input_counts(conditioning):
    model = transformer(conditioning)
    x, time, labels = torch.randn(2, 3, 6, 6), torch.rand(2), torch.tensor([[0, 1], [3, 4]])
    assert not model(x, time, labels).any()
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.2)
    one = model(x, time, labels)
    assert torch.allclose(one[1:], model(x[1:], time[1:], labels[1:]), atol=1e-5), "samples do not mix"
    for changed in (
        (x, time + 0.3, labels),
        (x, time, torch.tensor([[1, 1], [2, 4]])),
        (x, time, torch.tensor([[0, 2], [3, 3]])),
        (x, time, None),
    ):
        assert (model(*changed) - one).abs().amax((1, 2, 3)).min() > 1e-3
    assert torch.equal(model(x, time, None), model(x, time, torch.tensor([[4, 5], [4, 5]])))


def test_attention_written_out_is_the_fused_one():
    q, k, v = (torch.randn(2, 3, n, 8, requires_grad=True) for n in (9, 4, 4))
    assert torch.allclose(attend(q, k, v), F.scaled_dot_product_attention(q, k, v), atol=1e-6)
    assert torch.allclose(attend(q, k, v), attend(q.detach(), k, v), atol=1e-6)


def test_positions_are_sines_and_cosines_of_rows_and_columns():
    places = transformer(patch_size=1, in_channels=12, sample_size=3).positions  # [9, 24]
    frequencies = 10000 ** (-torch.arange(6) / 6)
    for token in range(9):
        row, column = divmod(token, 3)
        expected = torch.cat([f(n * frequencies) for n in (column, row) for f in (torch.sin, torch.cos)])
        assert torch.allclose(places[token], expected, atol=1e-5)


def test_a_patch_is_seen_by_its_own_token():
    model = transformer(depth=0)
    torch.nn.init.normal_(model.out.weight)
    x = torch.randn(1, 3, 6, 6)
    changed = x.clone()
    changed[0, :, 2:4, 4:6] += 1
    where = (model(changed, torch.zeros(1)) - model(x, torch.zeros(1))).abs().amax(1)[0] > 1e-6
    assert where[2:4, 4:6].all() and where.sum() == 4


def test_wrong_sizes_are_refused():
    for wrong in ({"conditioning": "adaln"}, {"sample_size": 5}, {"num_heads": 5}, {"width": 30}):
        with pytest.raises(ValueError, match=r"conditioning|patches"):
            transformer(**wrong)


# ---- Gaussian latents ----

MEAN, STD = torch.linspace(-0.4, 0.4, 16).reshape(1, 4, 4), torch.linspace(0.4, 1.2, 16).reshape(1, 4, 4)


def gaussian_network(target):
    """What the perfect network says of latents N(MEAN, STD^2): z and e given x_t are linear in x_t."""

    def network(x, t, labels=None):
        t = t.reshape(-1, 1, 1, 1).to(x.dtype)
        a, s = 1 - t, t
        if target != "flow_matching":
            a, s = torch.cos(t * math.pi / 2), torch.sin(t * math.pi / 2)
        centred = (x - a * MEAN) / (a**2 * STD**2 + s**2)
        z, e = MEAN + a * STD**2 * centred, s * centred
        return {"flow_matching": e - z, "v_prediction": a * e - s * z, "epsilon": e}[target]

    return network


def gaussian_pipeline(target="flow_matching", **options):
    """8x8 images whose latents [4, 4, 4] are their pixels in another order, and a perfect network."""
    pipeline = tiny(
        sample_size=8, latent_channels=4, block_out_channels=[8], patch_size=2, **TARGETS[target], **options
    )
    pipeline.autoencoder.encode = lambda x: (F.pixel_unshuffle(x, 2), torch.full((len(x), 4, 4, 4), -30.0))
    pipeline.autoencoder.decode = lambda z: F.pixel_shuffle(z, 2)
    pipeline._network = gaussian_network(target)
    return pipeline


def gaussian_images(number, seed=1, spread=1.0):
    noise = torch.randn(number, 4, 4, 4, generator=torch.Generator().manual_seed(seed))
    return F.pixel_shuffle(MEAN + spread * STD * noise, 2), noise


def carried(u, r, to=0.0):
    """Where the flow of this Gaussian takes u from r: the same number of standard deviations from the mean."""
    deviation = (u - (1 - r) * MEAN) / ((1 - r) ** 2 * STD**2 + r**2) ** 0.5
    return (1 - to) * MEAN + deviation * ((1 - to) ** 2 * STD**2 + to**2) ** 0.5


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_says_the_same_of_the_straight_path(target):
    u, r = torch.randn(6, 4, 4, 4), torch.tensor([0.0, 0.1, 0.4, 0.5, 0.8, 0.98])
    velocity = gaussian_pipeline(target)._velocity(u, r, None)
    assert torch.allclose(velocity, gaussian_network("flow_matching")(u, r), atol=1e-4)


@pytest.mark.parametrize(("sampler", "steps"), [("euler", 200), ("heun", 100), ("unipc", 30)])
@pytest.mark.parametrize("target", TARGETS)
def test_every_sampler_follows_the_known_flow_of_every_target(target, sampler, steps):
    pipeline = gaussian_pipeline(target)
    noise = torch.randn(64, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    found = pipeline._sample(noise, None, sampler, steps, 1.0, unheard(pipeline))
    expected = carried(noise, EPSILON_START if target == "epsilon" else 1.0)
    assert (found - expected).abs().max() < 0.03


@pytest.mark.parametrize("sampler", ["euler", "heun", "unipc"])
def test_equal_steps_ask_nothing_below_the_last(sampler):
    pipeline, asked = gaussian_pipeline(), []
    pipeline._network = lambda x, t, labels: asked.append(t[0].item()) or gaussian_network("flow_matching")(x, t)
    pipeline._sample(torch.randn(1, 4, 4, 4), None, sampler, 8, 1.0, unheard(pipeline))
    assert sorted({round(t, 4) for t in asked}) == pytest.approx([i / 8 for i in range(1, 9)])
    assert len(asked) == (15 if sampler == "heun" else 8)


def test_euler_is_ddim():
    """Song et al. 2020 eq. 12 without noise, on the cosine schedule of the training, over the same ratios."""
    pipeline = gaussian_pipeline("v_prediction")
    u = torch.randn(4, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    angles = torch.atan2(torch.linspace(1, 0, 11), torch.linspace(0, 1, 11)).double()
    x = u.double()  # r = 1: both scales agree
    for here, there in itertools.pairwise(angles):
        v = gaussian_network("v_prediction")(x, (here * 2 / math.pi).expand(4))
        z, e = torch.cos(here) * x - torch.sin(here) * v, torch.sin(here) * x + torch.cos(here) * v
        x = torch.cos(there) * z + torch.sin(there) * e
    assert torch.allclose(pipeline._sample(u, None, "euler", 10, 1.0, unheard(pipeline)).double(), x, atol=1e-4)


@pytest.mark.parametrize("target", TARGETS)
def test_encoding_finds_the_noise_and_the_way_back_meets_the_image(target):
    pipeline = gaussian_pipeline(target)
    images, _ = gaussian_images(8)
    z = pipeline.encode(images)
    assert torch.equal(z, F.pixel_unshuffle(images, 2))
    noise = pipeline._follow(z, 0.0, pipeline._start, None, 60, unheard(pipeline))
    assert (noise - carried(z, 0.0, pipeline._start)).abs().max() < 0.03
    images = images.clamp(-1, 1)
    back = pipeline.reconstruct(images, strength=1.0, num_inference_steps=60, output_type="pt").images * 2 - 1
    assert (back - images).abs().max() < 0.02


def test_interpolation_meets_both_ends():
    images = gaussian_images(2)[0].clamp(-1, 1)
    path = gaussian_pipeline().interpolate(*images, 5, num_inference_steps=60, output_type="pt").images * 2 - 1
    assert path.shape == (5, 1, 8, 8)
    assert (path[0] - images[0]).abs().max() < 0.02 and (path[-1] - images[1]).abs().max() < 0.02


def test_typicality_finds_the_likeliest_image_strange_and_noise_too():
    """The mean is the likeliest latent of all, and no sample looks like it (Nalisnick et al. 2019)."""
    pipeline = gaussian_pipeline()
    data = gaussian_images(600)[0]
    pipeline.fit({"images": data[i : i + 100]} for i in range(0, 600, 100))
    ordinary = pipeline.anomaly_score(gaussian_images(64, seed=2)[0]).scores
    assert 6 < ordinary.square().mean() < 15, "a Mahalanobis distance over fourteen features, two of them constant"
    mean = F.pixel_shuffle(MEAN.expand(2, 4, 4, 4), 2)
    for strange in (mean, 3 * torch.randn(8, 1, 8, 8)):
        assert pipeline.anomaly_score(strange.clamp(-9, 9)).scores.min() > ordinary.quantile(0.95)
    errors = pipeline.anomaly_score(mean, score="denoising").scores
    assert errors.max() < pipeline.anomaly_score(data[:64], score="denoising").scores.min(), "raw errors are fooled"
    assert pipeline.anomaly_score(data[:2], score="autoencoder").scores.max() < 1e-9


CENTRES = torch.stack([MEAN - 0.8, MEAN + 0.8])  # of two classes that overlap


def test_given_a_class_the_images_of_another_are_strange():
    pipeline = gaussian_pipeline(id2label={"0": "low", "1": "high"})
    velocity = two_class_velocity(CENTRES, STD)
    pipeline._network = lambda x, t, labels: velocity(x, t, None if labels is None else labels[:, 0])

    def data(number, seed):
        labels = torch.arange(number) % 2
        latents = F.pixel_unshuffle(gaussian_images(number, seed)[0], 2) - MEAN + CENTRES[labels]
        return F.pixel_shuffle(latents, 2), labels

    images, labels = data(600, seed=1)
    pipeline.fit({"images": images[i : i + 100], "class_labels": labels[i : i + 100]} for i in range(0, 600, 100))
    known = pipeline.config.typicality["class_mismatch"]
    assert known["mean"] < 0 < known["std"], "the right class helps"
    x, labels = data(64, seed=2)
    unconditional, right, wrong = (pipeline.anomaly_score(x, class_labels=y) for y in (None, labels, 1 - labels))
    assert (right.scores >= unconditional.scores).all()
    assert wrong.scores.quantile(0.05) > right.scores.quantile(0.95)
    assert wrong.maps.mean() > right.maps.mean()
    generators = [torch.Generator().manual_seed(0) for _ in range(64)]
    mismatch = pipeline._features(x, (1 - labels)[:, None], generators, 8, unheard(pipeline))[1]
    above = ((mismatch - known["mean"]) / known["std"]).clamp(min=0).float()
    assert torch.allclose(wrong.scores, (unconditional.scores.square() + 14 * above.square()).sqrt(), rtol=1e-3)
    right, wrong = (pipeline.anomaly_score(x, class_labels=y, score="denoising").scores for y in (labels, 1 - labels))
    assert wrong.mean() > right.mean() + right.std()
    same = (pipeline.anomaly_score(x, class_labels=y, score="autoencoder").scores for y in (labels, 1 - labels))
    assert torch.equal(*same), "it knows no classes"
    units = pipeline.config.typicality["map_units"]
    pipeline.fit({"images": images[i : i + 100]} for i in range(0, 600, 100))
    assert "class_mismatch" not in pipeline.config.typicality
    assert pipeline.config.typicality["map_units"] == pytest.approx(units), "of the unconditional network"


# ---- guidance and labels ----


def test_guidance_is_the_paper_s_formula_and_1_or_no_labels_cost_one_evaluation():
    pipeline, asked = tiny(conditions=STYLES), []
    network = pipeline._network

    def watched(x, t, labels):
        asked.append((len(x), None if labels is None else labels.tolist()))
        return network(x, t, labels)

    u, r, labels = torch.randn(2, 2, 7, 7), torch.rand(2), torch.tensor([[3, 1], [7, 2]])
    conditional, unconditional = network(u, r, labels), network(u, r, None)
    pipeline._network = watched
    for g in (0.0, 1.0, 2.5):
        assert torch.allclose(pipeline._velocity(u, r, labels, g), (1 - g) * unconditional + g * conditional, atol=1e-5)
    assert asked[1] == (2, labels.tolist()) and asked[2] == (4, [[3, 1], [7, 2], [10, 3], [10, 3]])
    pipeline._velocity(u, r, None, 2.5)
    assert asked[3] == (2, None)


def test_what_is_not_given_becomes_none():
    pipeline = tiny(conditions=STYLES)
    both = pipeline._labels(2, torch.tensor([4, -1]), torch.tensor([0, 2]))
    assert both.tolist() == [[4, 0], [10, 2]]
    assert pipeline._labels(2, None, torch.tensor([0, 2])).tolist() == [[10, 0], [10, 2]]
    assert pipeline._labels(2, None, None) is None
    only = tiny(conditions=STYLES, class_conditional=False)
    assert only.transformer.config.num_labels == (3,) and only._labels(1, None, torch.tensor([1])).tolist() == [[1]]
    alone = tiny(id2label=None)
    assert alone.transformer.config.num_labels == () and alone(1, output_type="pt").images.shape == (1, 1, 28, 28)


def test_labels_are_forgotten_together_and_one_by_one():
    pipeline = tiny(conditions=STYLES, label_dropout=0.2)
    labels = torch.tensor([[1, 1]]).expand(20000, 2)
    kept = pipeline._forget(labels, torch.Generator().manual_seed(0)) == 1
    p, q = 0.2, 0.8
    for expected, found in (
        (q**3, kept.all(1)),
        (p + q * p**2, ~kept.any(1)),
        (q * q * p, kept[:, 0] & ~kept[:, 1]),
        (q * q * p, kept[:, 1] & ~kept[:, 0]),
    ):
        assert found.float().mean().item() == pytest.approx(expected, abs=0.015)
    one = tiny(label_dropout=0.2)._forget(torch.ones(20000, 1, dtype=torch.int64), torch.Generator().manual_seed(0))
    assert (one == 10).float().mean().item() == pytest.approx(0.2, abs=0.01)


def test_a_style_changes_the_drawing_and_not_the_noise():
    pipeline, noises = with_styles(), []
    sample = pipeline._sample
    pipeline._sample = lambda noise, *rest: noises.append(noise) or sample(noise, *rest)
    options = {"num_inference_steps": 3, "output_type": "pt", "class_labels": [1, 1]}
    images = {s: pipeline(2, generators(3, 4), style=s, **options).images for s in ("noto", "twemoji", "any")}
    assert all(torch.equal(noises[0], noise) for noise in noises)
    assert not torch.allclose(images["noto"], images["twemoji"], atol=1e-3)
    alone = pipeline(1, generators(4), style="any", num_inference_steps=3, output_type="pt", class_labels=1).images
    assert torch.allclose(alone[0], images["any"][1], atol=1e-4)
    with pytest.raises(ValueError, match="style: choose"):
        pipeline(style="wingdings")


def test_an_image_is_redrawn_in_a_style_on_the_way_back():
    pipeline, x = with_styles(), pictures(2)
    same = pipeline.reconstruct(x, output_type="pt").images
    redrawn = pipeline.reconstruct(x, style="noto", guidance_scale=4.0, output_type="pt").images
    assert (redrawn - same).abs().max() > 0.01
    restored = pipeline.decode(pipeline.encode(x), output_type="pt").images
    assert torch.equal(pipeline.reconstruct(x, method="autoencoder", output_type="pt").images, restored)
    assert (same - restored).abs().max() < 0.02, "the way into noise and back adds next to nothing"
    noisy = [
        pipeline.reconstruct(x, generators(0, 1), method="noise", strength=s, output_type="pt").images
        for s in (0.05, 0.9)
    ]
    assert (noisy[0] - restored).abs().mean() < (noisy[1] - restored).abs().mean()


def test_wrong_options_are_refused():
    for wrong, says in (
        ({"objective": "score"}, "objective"),
        ({"objective": "ddpm", "prediction_type": "x0"}, "objective"),
        ({"label_dropout": 1.5}, "label_dropout"),
        ({"conditions": {"font": {"0": "a"}}}, "style"),
        ({"block_out_channels": [8, 8, 8]}, "sample_size"),
    ):
        with pytest.raises(ValueError, match=says):
            tiny(**wrong)
    with pytest.raises(ValueError, match="stage"):
        tiny().trainable("discriminator")


# ---- the stages ----


def test_the_scale_of_the_latents_is_measured():
    pipeline = tiny()
    images = pictures(40)
    assert pipeline.prepare("autoencoder", [{"images": images}]) is None and pipeline.config.latents_mean is None
    encoded = pipeline.prepare("transformer", [{"images": images[:30]}, {"images": images[30:]}])
    mean, std = encoded["latent_mean"], encoded["latent_std"]
    assert mean.shape == std.shape == (40, 2, 7, 7)
    noise = torch.randn(500, *mean.shape, generator=torch.Generator().manual_seed(0))
    drawn = mean + std * noise  # [500, 40, 2, 7, 7]
    assert pipeline.config.latents_mean == pytest.approx(drawn.mean((0, 1, 3, 4)).tolist(), abs=5e-3)
    assert pipeline.config.latents_std == pytest.approx(drawn.std((0, 1, 3, 4)).tolist(), rel=5e-3)
    z = pipeline._normalised(drawn[0])
    assert z.mean((0, 2, 3)).abs().max() < 0.1 and (z.std((0, 2, 3)) - 1).abs().max() < 0.1
    assert torch.allclose(pipeline._decoded(z), pipeline.autoencoder.decode(drawn[0]), atol=1e-4)


def test_images_and_what_prepare_made_of_them_give_the_same_loss():
    pipeline, images, labels = tiny(conditions=STYLES), pictures(6), torch.arange(6)
    encoded = pipeline.prepare("transformer", [{"images": images}])
    given = {"class_labels": labels, "conditions": {"style": labels % 3}}
    a, b = (
        pipeline.loss({**batch, **given}, torch.Generator().manual_seed(1)) for batch in ({"images": images}, encoded)
    )
    assert torch.allclose(a[0], b[0], atol=1e-5) and a[1].keys() == {"mse"}
    other, _ = pipeline.loss({**encoded, **given, "class_labels": None}, torch.Generator().manual_seed(1))
    assert not torch.allclose(a[0], other, atol=1e-5)


@pytest.mark.parametrize("target", TARGETS)
def test_the_loss_of_a_perfect_network_is_what_cannot_be_known(target):
    """With the expectations given x_t, the remaining error is the variance of the target given x_t."""
    pipeline = gaussian_pipeline(target)
    pipeline.transformer.forward = pipeline._network
    images = gaussian_images(4000)[0]
    loss, _ = pipeline.loss({"images": images}, torch.Generator().manual_seed(0))
    t = pipeline._path.times(4000, torch.Generator().manual_seed(5), "cpu").reshape(-1, 1, 1, 1)
    a, s = (1 - t, t) if target == "flow_matching" else (torch.cos(t * math.pi / 2), torch.sin(t * math.pi / 2))
    # the target is A z + B e, and (z, e) given x_t = a z + s e lies along (s, -a) with this variance
    weights = {"flow_matching": (-1, 1), "v_prediction": (-s, a), "epsilon": (0, 1)}[target]
    spread = STD**2 / (a**2 * STD**2 + s**2)
    expected = ((weights[0] * s - weights[1] * a) ** 2 * spread).mean()
    assert loss.item() == pytest.approx(expected.item(), rel=0.05)


def test_reconstruction_loss_is_zero_for_equals_and_sees_blur():
    x = pictures(4)
    assert reconstruction_loss(x, x) == 0
    shifted = reconstruction_loss(x + 0.1, x)
    assert shifted.item() == pytest.approx(0.1, abs=1e-5), "a wrong tone has no edges"
    checkers = 0.1 * (-1.0) ** (torch.arange(28)[:, None] + torch.arange(28))
    assert reconstruction_loss(x + checkers, x) > 2 * shifted, "fine texture is seen by pixels and edges"


@pytest.mark.parametrize(("stage", "part", "steps"), [("autoencoder", "l1", 150), ("transformer", "mse", 200)])
def test_each_stage_overfits_a_few_images(stage, part, steps):
    pipeline = tiny(label_dropout=0.0)
    images, batch = pictures(4), None
    module = pipeline.trainable(stage)[stage].train().requires_grad_(True)
    assert set(pipeline.trainable(stage)) == {stage}
    batch = {"images": images, "class_labels": torch.arange(4)}
    if stage == "transformer":
        encoded = pipeline.prepare(stage, [batch])
        encoded["latent_std"] = torch.zeros_like(encoded["latent_std"])
        batch = {**encoded, "class_labels": batch["class_labels"]}
    batch = {k: torch.cat([v] * 8) for k, v in batch.items()}
    optimizer = torch.optim.Adam(module.parameters(), 4e-3)
    values = []
    for step in range(steps):
        loss, parts = pipeline.loss(batch, torch.Generator().manual_seed(step), stage=stage)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(parts[part].item())
    assert sum(values[-10:]) < 0.45 * sum(values[:10])


def recipe_in_stages(**training):
    recipe = find_recipe("dit-fashion-mnist")
    stages = (
        StageSpec(STAGES[0], images=96, samples="reconstruct"),
        StageSpec(STAGES[1], images=96, learning_rate=2e-3, sample_every=12),
    )
    settings = {"batch_size": 16, "warmup_steps": 2, "compile": False, "precision": "fp32", "save_every": 5}
    return dataclasses.replace(
        recipe,
        name="tiny-dit",
        architecture=TINY["dit"],
        training=dataclasses.replace(recipe.training, stages=stages, **settings, **training),
    )


def test_a_recipe_trains_both_stages_and_goes_on_where_it_was_stopped(tmp_path):
    images = ((pictures(48) + 1) * 127.5).to(torch.uint8)
    names = {"style": torch.arange(48) % 3}
    data = ImageData(images, torch.arange(48) % 10, ID2LABEL, conditions=names, condition_names=STYLES)
    whole, parts = {}, {}
    run = {"data": data, "output": tmp_path / "whole"}
    output = train(recipe_in_stages(), FAMILY, **run, run_folder=tmp_path / "a", on_step=whole.__setitem__)
    for steps in (4, 4, None):  # stopped within each of the stages
        run = {"data": data, "output": tmp_path / "parts", "max_steps": steps}
        train(recipe_in_stages(), FAMILY, **run, run_folder=tmp_path / "b", on_step=parts.__setitem__)
    assert len(whole) == 12 and whole == pytest.approx(parts, rel=1e-4)

    pipeline = load_pipeline(open_checkpoint(output, discover(installed=False)))
    assert len(pipeline.config.latents_mean) == len(pipeline.config.latents_std) == 2
    assert pipeline.config.typicality["mean"] and dict(pipeline.config.conditions) == STYLES
    fresh = build_pipeline(recipe_in_stages(), FAMILY, ID2LABEL, STYLES)
    fresh.autoencoder.load_state_dict(pipeline.autoencoder.state_dict())
    z = fresh.prepare("transformer", data.batches(48))["latent_mean"]
    assert pipeline.config.latents_mean == pytest.approx(z.mean((0, 2, 3)).tolist(), abs=2e-3)
    index = json.loads((output / "model_index.json").read_text())
    assert index["autoencoder"] == ["modeling_kl_autoencoder", "KLAutoencoder"]
    assert pipeline(2, class_labels=[0, 1], style="noto", output_type="np").images.shape == (2, 28, 28, 1)


def test_conditions_that_the_family_does_not_offer_are_refused():
    with pytest.raises(RecipeError, match="offers 'style'"):
        build_pipeline(recipe_in_stages(), FAMILY, ID2LABEL, {"font": {"0": "a"}})


@pytest.mark.parametrize("name", ["dit-fashion-mnist", "dit-emoji"])
def test_the_recipes_networks_fit_into_16_megabytes(name):
    recipe = find_recipe(name)
    styles = {"style": {str(i): str(i) for i in range(9)}} if recipe.data.conditions else None
    pipeline = build_pipeline(recipe, FAMILY, {str(i): str(i) for i in range(10)}, styles)
    assert 2 * (count(pipeline.autoencoder) + count(pipeline.transformer)) < 15.9e6
    side = pipeline.transformer.config.sample_size // pipeline.transformer.config.patch_size
    assert 49 <= side**2 <= 64
    assert np.prod(pipeline.autoencoder.latent_shape) < recipe.data.channels * recipe.data.sample_size**2 / 3.9
