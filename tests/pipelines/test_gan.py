"""GANs: who gets which gradient, steps that move the losses, inversion, truncation and directions."""

import pytest
import torch
from conftest import ID2LABEL, pictures

from pipelines.adversarial import with_detached_weights
from pipelines.adversarial_objectives import OBJECTIVES, critic_loss, generator_loss, held_out, penalty
from pipelines.family import Report
from pipelines.inversion import descend
from pipelines.modeling_gan import GeneratorModel
from pipelines.pipeline_gan import GANPipeline

TINY = {"latent_dim": 8, "style_dim": 12, "block_out_channels": [8, 16], "feature_dim": 16, "encoder_channels": [8, 16]}


def tiny(**options):
    torch.manual_seed(0)
    pipeline = GANPipeline.build(28, 1, ID2LABEL, **TINY, **options)
    for module in (pipeline.generator, pipeline.critic):
        for p in module.parameters():
            if p.ndim > 1 and not p.any():  # what starts at zero hides what comes before it
                torch.nn.init.normal_(p, std=0.05)
    return pipeline


def batch(number=12, seed=0):
    """Pictures of which none is held out, and their classes."""
    x = pictures(3 * number, seed)
    x = ((x * 127.5).round() / 127.5)[~held_out((x * 127.5).round() / 127.5)][:number]
    return {"images": x, "class_labels": torch.arange(number) % 10}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def gradients(module):
    return [None if p.grad is None else p.grad.clone() for p in module.parameters()]


def same(found, expected):
    return all(
        (a is None or not a.any()) if b is None else torch.allclose(a, b, atol=1e-5)
        for a, b in zip(found, expected, strict=True)
    )


# ---- training ----


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_each_side_gets_the_gradient_of_its_own_loss_only(objective):
    pipeline, data = tiny(objective=objective, penalty_every=1, clip=0.5), batch()
    x, labels = data["images"], data["class_labels"]
    model, critic = pipeline.generator, pipeline.critic
    loss, parts = pipeline.loss(data, generator(), 0.0, stage="adversarial")
    loss.backward()
    found = gradients(model), gradients(critic)
    model.zero_grad()
    critic.zero_grad()

    source = generator()
    torch.rand(2, generator=source)  # whether the generator steps, and whether there is a penalty
    z = torch.randn(len(x), 8, generator=source)
    fake = model(z, labels)
    real = critic(x, labels).detach()
    seen = critic.coarse(fake, torch.randn(x.shape, generator=source))
    guess = with_detached_weights(critic.noise_head, seen)
    score = with_detached_weights(critic, fake, labels)
    (generator_loss(objective, real, score).mean() + 3 * (guess - z).square().mean()).backward()
    assert same(found[0], gradients(model)), "no gradient from the critic's step reaches the generator"
    assert all(p.grad is None for p in critic.parameters())

    theirs = critic_loss(objective, critic(x, labels), critic(fake.detach(), labels)).mean()
    assert parts["critic"].item() == pytest.approx(theirs.item(), abs=1e-5)
    theirs = theirs + 3 * (critic.noise_head(seen.detach()) - z).square().mean()
    rows = slice(0, 6)
    slope = penalty(
        objective, lambda x: critic(x, labels[rows]), x[rows], fake[rows].detach(), torch.rand(6, generator=source)
    )
    if slope is not None:
        theirs = theirs + pipeline.config.penalty_weights[0] * slope
    theirs.backward()
    assert same(found[1], gradients(critic)), "the generator's step moves no weight of the critic"


def descend_on(pipeline, module, name, data, steps=30):
    """Take steps with one side only; return the loss of that side before and after."""
    optimizer = torch.optim.Adam(module.parameters(), lr=2e-3, betas=(0.0, 0.9))
    values = []
    for _ in range(steps):
        loss, parts = pipeline.loss(data, generator(), 0.0, stage="adversarial")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(parts[name].item())
    return values[0], values[-1]


@pytest.mark.parametrize("objective", ["non_saturating", "wgan_gp", "relativistic"])
def test_thirty_steps_move_the_losses_the_right_way(objective):
    pipeline, data = tiny(objective=objective, penalty_every=1), batch()
    before, after = descend_on(pipeline, pipeline.critic, "critic", data)
    assert after < before - 0.05
    before, after = descend_on(pipeline, pipeline.generator, "generator", data)
    assert after < before - 0.05


def test_steps_of_the_decoder_lower_the_bound_and_measure_the_batch():
    pipeline, data = tiny(), batch()
    modules = pipeline.trainable("decoder")
    assert set(modules) == {"generator", "encoder"}
    optimizer = torch.optim.Adam([p for m in modules.values() for p in m.train().parameters()], lr=1e-2)
    values, parts = [], {}
    for seed in range(30):
        loss, parts = pipeline.loss(data, generator(seed), stage="decoder")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert values[-1] < 0.8 * values[0] and parts["divergence"] > 0
    assert loss.item() == pytest.approx(10 * parts["pixels"].item() + parts["divergence"].item() / 784, rel=1e-5)
    assert pipeline.generator.layers[0].norm.running_mean.any(), "what evaluation normalises by was measured"


def test_an_image_depends_on_its_batch_only_in_training():
    pipeline = tiny()
    z = torch.randn(4, 8, generator=generator())
    assert torch.allclose(pipeline.generator(z)[:1], pipeline.generator(z[:1]), atol=1e-6)
    pipeline.generator.train()
    assert not torch.allclose(pipeline.generator(z)[:2], pipeline.generator(z[:2]), atol=1e-3)


def test_thirty_steps_of_the_encoder():
    pipeline, data = tiny(), batch()
    pipeline.generator.layers[-1].up.weight.data *= 20  # or its pictures would all look alike
    pipeline.prepare("encoder", [])
    assert pipeline.generator.style_std.std() > 0, "the styles are measured before its stage"
    optimizer = torch.optim.Adam(pipeline.encoder.parameters(), lr=1e-2)
    values = []
    for _ in range(30):
        loss, parts = pipeline.loss(data, generator(), 0.0, stage="encoder")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert values[-1] < 0.9 * values[0]
    assert set(parts) == {"style", "noise", "pixels", "class"}


def test_the_critic_learns_nothing_from_what_is_held_out():
    pipeline, source = tiny(penalty_every=1, information_weight=0.0), (pictures(600, 1) * 127.5).round() / 127.5
    held = source[held_out(source)][:6]
    assert len(held) == 6
    loss, parts = pipeline.loss({"images": held, "class_labels": torch.arange(6)}, generator(), stage="adversarial")
    loss.backward()
    assert all(p.grad is None or not p.grad.any() for p in pipeline.critic.parameters())
    assert torch.isfinite(loss) and "penalty" not in parts
    assert pipeline.critic.running_scores[0] == 0 and pipeline.critic.running_scores[1] != 0


def test_the_gap_is_that_of_the_two_running_means():
    pipeline = tiny()
    for _ in range(400):
        gap = pipeline.critic.score_gap(torch.tensor([3.0, 3.0, 1.0]), torch.tensor([False, False, True]))
    assert gap.item() == pytest.approx(2.0, abs=0.1)


def test_a_generator_that_rests_between_the_critics_steps():
    pipeline, data = tiny(objective="wgan_gp", critic_steps=2), batch()
    found = []
    for seed in range(12):
        pipeline.generator.zero_grad()
        loss, parts = pipeline.loss(data, generator(seed), stage="adversarial")
        loss.backward()
        found.append(any(p.grad is not None for p in pipeline.generator.parameters()))
        assert found[-1] == ("generator" in parts)
    assert 2 < sum(found) < 10


def test_clipping_and_the_schedule_of_the_penalty():
    pipeline, data = tiny(objective="wgan_clip", clip=0.02), batch()
    pipeline.loss(data, generator(), stage="adversarial")
    assert max(p.abs().max().item() for p in pipeline.critic.parameters()) <= 0.02
    pipeline = tiny(objective="non_saturating", penalty_every=1, penalty_weights=[4.0, 1.0])
    for progress, weight in ((0.0, 4.0), (0.5, 2.0), (1.0, 1.0)):
        loss, parts = pipeline.loss(data, generator(), progress, stage="adversarial")
        expected = (
            parts["critic"]
            + parts["generator"]
            + weight * parts["penalty"]
            + 2 * 3 * (1 - 0.9 * progress) * parts["information"]
        )
        assert loss.item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"objective": "least_squares"}, "objective: choose 'non_saturating'"),
        ({"augmentations": ["blur"]}, "augmentations: choose from translation"),
        ({"penalty_weights": [1.0, 0.0]}, "penalty_weights: must be above 0"),
        ({"block_out_channels": [8, 16, 32]}, "sample_size: 28 is not a multiple of 8"),
    ],
)
def test_recipes_that_do_not_fit_are_refused(options, says):
    with pytest.raises(ValueError, match=says):
        GANPipeline.build(28, 1, ID2LABEL, **{**TINY, **options})
    with pytest.raises(ValueError, match="stage: choose 'decoder' or 'adversarial' or 'encoder'"):
        tiny().loss(batch(), stage="mapping")


# ---- critic and generator ----


def test_projection_and_images_without_class():
    critic, x = tiny().critic, pictures(10)
    labels = torch.arange(10)
    scores = critic(x, labels)
    phi = critic.trunk(x)
    assert torch.allclose(scores - critic(x), (phi * critic.class_embedding.weight[labels]).sum(1), atol=1e-5)
    assert torch.equal(critic(x, torch.full((10,), -1)), critic(x))
    each = torch.stack([critic(x, torch.full((10,), k)) for k in range(10)])
    assert torch.allclose(critic.best_class(x), each.amax(0), atol=1e-5)


def test_truncation_goes_to_the_mean_of_the_class():
    pipeline = tiny()
    pipeline.generator.measure_styles()
    centre = pipeline.decode(pipeline.generator.style_means[3], output_type="pt").images
    none, half, whole = (
        pipeline(2, [generator(1), generator(2)], class_labels=3, truncation=t, output_type="pt").images
        for t in (0.0, 0.5, 1.0)
    )
    assert torch.allclose(none, centre.expand_as(none), atol=1e-5)
    assert (half - centre).abs().mean() < (whole - centre).abs().mean()


def test_directions_are_the_principal_components_of_a_known_generator():
    """With w almost N(0, diag(s^2)) and features A w, A orthogonal, the directions are the longest axes of w."""
    torch.manual_seed(0)
    model = GeneratorModel(8, 1, latent_dim=4, style_dim=4, num_classes=0, block_out_channels=(4,))
    scales = torch.tensor([0.5, 3.0, 1.0, 0.1])
    model.style = lambda z, embedding: z * scales
    model.first[0].weight.data = torch.linalg.qr(torch.randn(64, 4))[0]
    found, shares = model.directions(3, num_samples=4000)
    for direction, axis in zip(found, (1, 2, 0), strict=True):
        expected = torch.zeros(4)
        expected[axis] = scales[axis]
        assert torch.allclose(direction.abs(), expected, atol=0.15)
    assert torch.allclose(shares, scales.square()[[1, 2, 0]] / scales.square().sum(), atol=0.02)


# ---- inversion ----


def test_descent_on_a_linear_drawing_finds_its_least_squares():
    a = torch.linalg.qr(torch.randn(16, 4, generator=generator()))[0]
    truth = torch.randn(3, 4, generator=generator(1)) / 2
    x = (truth @ a.T).reshape(3, 1, 4, 4)
    reports = []
    found = descend(
        x,
        torch.zeros(3, 4),
        lambda u: (u @ a.T).reshape(-1, 1, 4, 4),
        200,
        Report(None, lambda pipe, i, t, v: reports.append((i, v["num_timesteps"]))),
    )
    assert torch.allclose(found, truth, atol=0.03)
    assert reports[0] == (0, 201) and len(reports) == 200


def test_gradient_steps_find_what_the_generator_drew():
    pipeline = tiny()
    pipeline.generator.layers[-1].up.weight.data *= 20  # or all of its pictures would be as good as one
    pipeline.generator.measure_styles()
    x = pipeline(3, [generator(i) for i in range(3)], class_labels=[0, 1, 2], output_type="pt").images * 2 - 1
    errors = [
        (pipeline.reconstruct(x, num_inference_steps=steps, output_type="pt").images * 2 - 1 - x).square().mean()
        for steps in (0, 60)
    ]
    assert errors[1] < 0.5 * errors[0]
    assert all(p.grad is None for p in pipeline.generator.parameters())


@pytest.mark.parametrize("mode", ["lerp", "slerp"])
def test_interpolation_ends(mode):
    pipeline, (a, b) = tiny(), pictures(2)
    pipeline.generator.measure_styles()
    frames = pipeline.interpolate(a, b, 5, mode=mode, num_inference_steps=3, output_type="pt").images
    assert frames.shape == (5, 1, 28, 28)
    if mode == "lerp":
        ends = pipeline.reconstruct(torch.stack([a, b]), num_inference_steps=3, output_type="pt").images
        assert torch.allclose(frames[[0, -1]], ends, atol=1e-5)


def test_anomaly_terms_are_calibrated():
    pipeline, data = tiny(), batch(40)
    pipeline.fit([data])
    x, labels = data["images"], data["class_labels"]
    for score in ("inversion", "critic"):
        key = "inversion" if score == "inversion" else "critic"
        terms = pipeline.anomaly_score(x, score=score).scores
        terms = terms.log() if score == "inversion" else terms
        mean, std = pipeline.config.calibration[key]
        assert terms.mean().item() == pytest.approx(mean, abs=1e-3) and terms.std().item() == pytest.approx(
            std, rel=1e-2
        )
    total = pipeline.anomaly_score(x)
    assert total.scores.mean().abs() < 1e-2 and total.maps.shape == (40, 28, 28)
    assert pipeline.anomaly_score(x, score="critic").maps is None
    own = pipeline.anomaly_score(x, class_labels=labels, score="critic").scores
    assert torch.allclose(own, -pipeline.realness(x, class_labels=labels)) and (own >= total.scores.min() - 1e9).all()
    assert (own >= pipeline.anomaly_score(x, score="critic").scores - 1e-6).all(), "no class suits better than the best"
