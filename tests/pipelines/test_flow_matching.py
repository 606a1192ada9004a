"""Flow matching against closed forms: for Gaussian data the velocity field, the flow and the density are known."""

import math

import numpy as np
import pytest
import torch
from closed_forms import two_class_velocity
from conftest import ID2LABEL, TINY

from pipelines.family import Report
from pipelines.flow_density import RK45_REPORTS
from pipelines.pipeline_flow_matching import FlowMatchingPipeline, optimal_coupling
from pipelines.velocity import from_velocity, sample_times, to_velocity

SIZE = 4
MEAN = torch.linspace(-0.3, 0.3, SIZE * SIZE).reshape(1, SIZE, SIZE)  # of the Gaussian data, pixel by pixel
STD = torch.linspace(0.08, 0.2, SIZE * SIZE).reshape(1, SIZE, SIZE)
SMALL = {"block_out_channels": [8, 16], "norm_num_groups": 8, "attention_head_dim": 16, "layers_per_block": 1}
SAMPLERS = [("euler", 200), ("heun", 60), ("midpoint", 25), ("rk45", 1)]


def gaussian_velocity(x, t, labels=None):
    """E[x_1 - x_0 | x_t] for x_0 ~ N(MEAN, STD^2): both expectations are linear in x_t."""
    t = t.reshape(-1, 1, 1, 1).to(x.dtype)
    centred = (x - (1 - t) * MEAN) / ((1 - t) ** 2 * STD**2 + t**2)
    return t * centred - (MEAN + (1 - t) * STD**2 * centred)


def gaussian_pipeline(**options):
    pipeline = FlowMatchingPipeline.build(SIZE, 1, **SMALL, **options)
    pipeline._network = gaussian_velocity
    return pipeline


def gaussian_data(number, seed=1):
    noise = torch.randn(number, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))
    return MEAN + STD * noise, noise


def tiny(**options):
    torch.manual_seed(0)
    pipeline = FlowMatchingPipeline.build(28, 1, ID2LABEL, **{**TINY["flow-matching"], **options})
    pipeline.unet.eval()
    return pipeline


# ---- samplers ----


@pytest.mark.parametrize(("sampler", "steps"), SAMPLERS)
def test_every_sampler_follows_the_known_flow(sampler, steps):
    """The flow of a Gaussian carries x_1 to MEAN + STD x_1: sample by sample, hence mean and covariance."""
    pipeline = gaussian_pipeline()
    x = pipeline(
        512, torch.Generator().manual_seed(0), sampler=sampler, num_inference_steps=steps, tolerance=1e-5, output_type="pt"
    ).images * 2 - 1  # fmt: skip
    noise = torch.randn(512, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    assert (x - (MEAN + STD * noise)).abs().max() < 0.012
    assert (x.mean(0) - MEAN).abs().max() < 0.03
    covariance = torch.cov(x.flatten(1).T)
    assert (covariance - torch.diag(STD.flatten() ** 2)).abs().max() < 0.006


@pytest.mark.parametrize(("sampler", "evaluations"), [("euler", 6), ("heun", 11), ("midpoint", 12), ("rk45", None)])
def test_evaluations_are_counted(sampler, evaluations):
    pipeline, calls, seen = gaussian_pipeline(), [], []
    pipeline._network = lambda x, t, labels: calls.append(len(x)) or gaussian_velocity(x, t)
    pipeline(
        3,
        sampler=sampler,
        num_inference_steps=6,
        callback_on_step_end=lambda pipe, step, t, values: seen.append((step, values)),
    )
    assert seen[-1][1]["num_function_evaluations"] == len(calls)
    assert evaluations is None or len(calls) == evaluations
    assert [step for step, _ in seen] == list(range(seen[0][1]["num_timesteps"]))
    assert sampler != "rk45" or len(seen) == RK45_REPORTS


@pytest.mark.parametrize("sampler", ["euler", "heun"])
def test_equal_steps_ask_nothing_below_the_last(sampler):
    """Near t = 0 logit-normal times leave the network untrained: a correction from there once doubled the distance."""
    pipeline, times = gaussian_pipeline(), []
    pipeline._network = lambda x, t, labels: times.append(t[0].item()) or gaussian_velocity(x, t)
    pipeline(1, sampler=sampler, num_inference_steps=8)
    assert sorted(set(times)) == pytest.approx([i / 8 for i in range(1, 9)])


@pytest.mark.parametrize("sampler", ["midpoint", "rk45"])
def test_a_network_of_its_own_draws_the_same_in_any_batch(sampler):
    pipeline = tiny()
    seeds = (3, 5, 7)
    options = {"sampler": sampler, "num_inference_steps": 3, "tolerance": 0.05, "output_type": "pt"}
    together = pipeline(3, [torch.Generator().manual_seed(s) for s in seeds], [1, 2, 3], **options).images
    alone = pipeline(1, [torch.Generator().manual_seed(5)], 2, **options).images
    assert torch.allclose(together[1:2], alone, atol=1e-4)


def test_stop_leaves_at_the_first_report():
    class Stop(Exception):
        pass

    def stop(*arguments):
        raise Stop

    for sampler, _ in SAMPLERS:
        calls = []
        pipeline = gaussian_pipeline()
        pipeline._network = lambda x, t, labels: calls.append(1) or gaussian_velocity(x, t)  # noqa: B023
        with pytest.raises(Stop):
            pipeline(1, sampler=sampler, num_inference_steps=50, callback_on_step_end=stop)
        assert len(calls) < 20


# ---- both ways ----


@pytest.mark.parametrize(("sampler", "steps"), [("midpoint", 60), ("rk45", 1)])
def test_encode_finds_the_noise_and_decode_returns_the_input(sampler, steps):
    pipeline = gaussian_pipeline()
    x, noise = gaussian_data(64)
    options = {"sampler": sampler, "num_inference_steps": steps, "tolerance": 1e-5}
    encoded = pipeline.encode(x, **options)
    assert (encoded - noise).abs().max() < 0.02
    assert (pipeline.decode(encoded, output_type="pt", **options).images * 2 - 1 - x).abs().max() < 1e-3
    there_and_back = pipeline.reconstruct(x, strength=1.0, output_type="pt", **options).images * 2 - 1
    assert (there_and_back - x).abs().max() < 1e-3


def test_noise_of_little_strength_changes_little():
    pipeline = gaussian_pipeline()
    x, _ = gaussian_data(16)

    def change(strength):
        generator = [torch.Generator().manual_seed(i) for i in range(16)]
        y = pipeline.reconstruct(x, generator, method="noise", strength=strength, output_type="pt").images * 2 - 1
        return (y - x).abs().mean()

    assert change(0.05) < 0.5 * change(0.9)


def test_interpolation_meets_both_ends():
    x, _ = gaussian_data(2)
    path = gaussian_pipeline().interpolate(x[0], x[1], 5, num_inference_steps=60, output_type="pt").images * 2 - 1
    assert path.shape == (5, 1, SIZE, SIZE)
    assert (path[0] - x[0]).abs().max() < 1e-3 and (path[-1] - x[1]).abs().max() < 1e-3


@pytest.mark.parametrize("kind", ["x0", "noise", "score"])
def test_views_of_one_velocity_agree(kind):
    x0, x1 = torch.randn(2, 3, 1, 8, 8, dtype=torch.float64)
    t = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)[:, None, None, None]
    x, v = (1 - t) * x0 + t * x1, x1 - x0
    expected = {"x0": x0, "noise": x1, "score": -(x - (1 - t) * x0) / t**2}[kind]  # of N((1 - t) x_0, t^2 I)
    assert torch.allclose(from_velocity(kind, v, x, t), expected)
    assert torch.allclose(to_velocity(kind, from_velocity(kind, v, x, t), x, t), v)


def test_the_score_of_the_gaussian_flow_is_that_of_its_marginals():
    x, t = torch.randn(5, 1, SIZE, SIZE), torch.full((5,), 0.4)
    score = from_velocity("score", gaussian_velocity(x, t), x, 0.4)
    assert torch.allclose(score, -(x - 0.6 * MEAN) / (0.36 * STD**2 + 0.16), atol=1e-5)


# ---- likelihood and typicality ----


@pytest.mark.parametrize(("sampler", "steps"), [("midpoint", 100), ("rk45", 1)])
@pytest.mark.parametrize("divergence", ["exact", "hutchinson"])
def test_likelihood_equals_the_closed_form(sampler, steps, divergence):
    """The Jacobian of this field is diagonal, so that random signs estimate its trace without error."""
    pipeline = gaussian_pipeline()
    x = gaussian_data(8)[0]
    expected = torch.distributions.Normal(MEAN, STD).log_prob(x).sum((1, 2, 3))
    options = {"sampler": sampler, "num_inference_steps": steps, "tolerance": 1e-5, "dequantize": False}
    found = pipeline.log_likelihood(x, divergence=divergence, **options)
    assert torch.allclose(found, expected, atol=0.05)


def test_hutchinsons_estimate_meets_the_exact_trace_of_a_network():
    torch.manual_seed(0)
    pipeline = FlowMatchingPipeline.build(SIZE, 1, **SMALL)
    pipeline.unet.eval()
    x, options = gaussian_data(2)[0], {"num_inference_steps": 2, "dequantize": False}
    exact = pipeline.log_likelihood(x, divergence="exact", **options)
    few = pipeline.log_likelihood(x, num_samples=1, **options)
    many = pipeline.log_likelihood(x, num_samples=200, **options)
    assert (many - exact).abs().max() < 0.35 and (many - exact).abs().sum() < (few - exact).abs().sum() + 0.1


def test_dequantization_is_an_option():
    pipeline, x = gaussian_pipeline(), torch.zeros(1, 1, SIZE, SIZE)
    assert not torch.equal(pipeline.log_likelihood(x), pipeline.log_likelihood(x, dequantize=False))


@pytest.fixture(scope="module")
def calibrated():
    pipeline = gaussian_pipeline()
    data = gaussian_data(600)[0]
    pipeline.fit({"images": data[i : i + 100], "class_labels": None} for i in range(0, 600, 100))
    return pipeline


def test_typicality_finds_strangers_that_are_more_likely_than_the_data(calibrated):
    """The mean is the likeliest image of all, and no sample of a Gaussian looks like it (Nalisnick et al. 2019)."""
    data, likeliest = gaussian_data(64, seed=2)[0], MEAN.expand(8, 1, SIZE, SIZE).clone()
    noise = torch.rand(8, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) * 2 - 1
    nll = {k: calibrated.anomaly_score(x, score="likelihood").scores for k, x in (("data", data), ("mean", likeliest))}
    assert nll["mean"].max() < nll["data"].min(), "raw likelihood is fooled"
    scores = calibrated.anomaly_score(data).scores
    assert calibrated.anomaly_score(likeliest).scores.min() > scores.quantile(0.9)
    assert calibrated.anomaly_score(noise).scores.min() > scores.max()
    assert 5 < scores.square().mean() < 13, (
        "a Mahalanobis distance over twelve features, shrunk and one of them constant"
    )


CENTRES = torch.stack([MEAN - 0.3, MEAN + 0.3])  # of two classes that overlap
two_classes = two_class_velocity(CENTRES, STD)


def two_class_data(number, seed):
    labels = torch.arange(number) % 2
    return CENTRES[labels] + gaussian_data(number, seed)[0] - MEAN, labels


@pytest.fixture(scope="module")
def with_classes():
    pipeline = FlowMatchingPipeline.build(SIZE, 1, {"0": "low", "1": "high"}, **SMALL)
    pipeline._network = two_classes
    images, labels = two_class_data(600, seed=1)
    pipeline.fit({"images": images[i : i + 100], "class_labels": labels[i : i + 100]} for i in range(0, 600, 100))
    return pipeline


def test_given_a_class_the_images_of_another_are_strange(with_classes):
    x, labels = two_class_data(64, seed=2)
    unconditional, right, wrong = (
        with_classes.anomaly_score(x, class_labels=y).scores for y in (None, labels, 1 - labels)
    )
    assert (right >= unconditional).all() and wrong.quantile(0.05) > right.quantile(0.95)
    known = with_classes.config.typicality["class_mismatch"]
    assert known["mean"] < 0 < known["std"], "the right class helps"
    for score in ("likelihood", "velocity"):
        right, wrong = (with_classes.anomaly_score(x, class_labels=y, score=score) for y in (labels, 1 - labels))
        assert wrong.scores.mean() > right.scores.mean() + right.scores.std()
    nats = with_classes.log_likelihood(x, class_labels=labels, num_inference_steps=8)
    assert torch.equal(with_classes.anomaly_score(x, class_labels=labels, score="likelihood").scores, -nats)


def test_the_typicality_of_a_class_is_as_documented(with_classes):
    x, labels = two_class_data(8, seed=3)
    claimed = 1 - labels
    log_ratios = []
    generator = [torch.Generator().manual_seed(0) for _ in range(8)]
    with_classes._randn(x.shape, generator), with_classes._randn(x.shape, generator)  # drawn before: levels, probes
    for time in (0.1, 0.3, 0.5, 0.7, 0.9):
        noise = torch.stack([torch.randn(1, SIZE, SIZE, generator=g) for g in generator])
        t = torch.full((8,), time)
        conditional, unconditional = (
            two_classes((1 - time) * x + time * noise, t, y) - (noise - x) for y in (claimed, None)
        )
        log_ratios.append((conditional.square().mean((1, 2, 3)) / unconditional.square().mean((1, 2, 3))).log())
    known = with_classes.config.typicality["class_mismatch"]
    m = ((torch.stack(log_ratios).mean(0) - known["mean"]) / known["std"]).clamp(min=0)
    expected = (with_classes.anomaly_score(x).scores.square() + 12 * m.square()).sqrt()
    assert torch.allclose(with_classes.anomaly_score(x, class_labels=claimed).scores, expected, rtol=1e-3)


def test_images_without_classes_calibrate_without(calibrated, with_classes):
    assert "class_mismatch" not in calibrated.config.typicality
    images, labels = two_class_data(20, seed=4)
    pipeline = FlowMatchingPipeline.build(SIZE, 1, {"0": "low", "1": "high"}, **SMALL)
    pipeline.fit([{"images": images[:10], "class_labels": labels[:10]}, {"images": images[10:], "class_labels": None}])
    assert "class_mismatch" not in pipeline.config.typicality
    generator = [torch.Generator().manual_seed(0) for _ in range(20)]
    mismatch = pipeline._features(images, labels, generator, 8, Report(pipeline, None))[1]
    expected = (pipeline.anomaly_score(images).scores.square() + 12 * mismatch.clamp(min=0).square()).sqrt()
    assert torch.allclose(pipeline.anomaly_score(images, class_labels=labels).scores, expected.float(), rtol=1e-3), (
        "nats"
    )


def test_calibration_travels_in_the_configuration(calibrated, tmp_path):
    tiny_pipeline = tiny()
    images = torch.rand(4, 1, 28, 28) * 2 - 1
    tiny_pipeline.fit([{"images": images, "class_labels": None}])
    tiny_pipeline.save_pretrained(tmp_path)
    index = FlowMatchingPipeline.load_config(tmp_path)
    assert index["typicality"]["mean"] == tiny_pipeline.config.typicality["mean"]
    assert torch.tensor(index["typicality"]["precision"]).shape == (12, 12)
    with pytest.raises(ValueError, match="two"):
        tiny_pipeline.fit([])


def test_velocity_score_and_maps():
    pipeline = gaussian_pipeline()
    output = pipeline.anomaly_score(gaussian_data(8)[0], score="velocity")
    strange = pipeline.anomaly_score(-3 * gaussian_data(8)[0], score="velocity")
    assert strange.scores.min() > output.scores.max() and output.maps.shape == (8, SIZE, SIZE)
    again = pipeline.anomaly_score(gaussian_data(8)[0], score="velocity")
    assert torch.equal(again.scores, output.scores), "a measurement is repeatable"


# ---- training ----


def test_times_have_the_papers_distributions():
    def draw(kind):
        return sample_times(kind, 40_000, torch.Generator().manual_seed(0), "cpu").double()

    uniform, normal, shaped = draw("uniform"), draw("logit_normal"), draw("u_shaped")
    levels = torch.linspace(0.05, 0.95, 19, dtype=torch.float64)

    def distribution(t):
        return (t[None] < levels[:, None]).double().mean(1)

    assert (distribution(uniform) - levels).abs().max() < 0.01
    expected = torch.special.ndtr(torch.logit(levels))
    assert (distribution(normal) - expected).abs().max() < 0.01
    rising = (torch.exp(4 * levels) - 1) / (math.exp(4) - 1)
    falling = 1 - (torch.exp(4 * (1 - levels)) - 1) / (math.exp(4) - 1)
    assert (distribution(shaped) - (rising + falling) / 2).abs().max() < 0.01
    with pytest.raises(ValueError, match="time_sampling"):
        draw("beta")


def test_optimal_transport_lowers_the_cost_within_labels():
    generator = torch.Generator().manual_seed(0)
    x0, x1 = torch.randn(2, 32, 1, 4, 4, generator=generator)
    labels = torch.arange(32) % 4
    order = optimal_coupling(x0, x1, labels)
    assert sorted(order.tolist()) == list(range(32)) and torch.equal(labels[order], labels)
    free = optimal_coupling(x0, x1)

    def cost(order):
        return (x0 - x1[order]).square().sum()

    assert cost(free) < cost(order) < cost(torch.arange(32))
    shuffled = torch.randperm(32, generator=generator)
    assert torch.equal(optimal_coupling(x0[shuffled], x0), shuffled), "the cheapest way home is home"


def test_coupling_leaves_labels_with_their_images():
    pipeline = tiny(coupling="optimal_transport", dequantize=False, class_dropout=0.0)
    images = torch.linspace(-1, 1, 8)[:, None, None, None].expand(8, 1, 28, 28)
    labels = torch.arange(8) // 2
    seen = []

    def network(x, t, labels):
        seen.append((x, t, labels))
        return torch.zeros_like(x)

    pipeline._network = network
    pipeline.loss({"images": images, "class_labels": labels}, torch.Generator().manual_seed(0))
    x, t, network_labels = seen[0]
    assert torch.equal(network_labels, labels)
    assert torch.allclose(x.mean((1, 2, 3)), (1 - t) * images.mean((1, 2, 3)), atol=0.15)


def test_the_loss_of_the_optimal_field_is_the_least_there_is():
    """E Var[x_1 - x_0 | x_t], in closed form: STD^2 / ((1 - t)^2 STD^2 + t^2), mean over uniform t."""
    pipeline = gaussian_pipeline(time_sampling="uniform", dequantize=False)
    batch = {"images": gaussian_data(20_000)[0], "class_labels": None}
    loss, _ = pipeline.loss(batch, torch.Generator().manual_seed(0))
    t = torch.linspace(0.0005, 0.9995, 1000)[:, None, None, None]
    least = (STD**2 / ((1 - t) ** 2 * STD**2 + t**2)).mean()
    assert loss.item() == pytest.approx(least.item(), rel=0.02)


def test_guidance_is_linear_and_one_is_plain():
    pipeline = tiny()
    x, labels, t = torch.randn(2, 1, 28, 28), torch.tensor([1, 2]), torch.tensor([0.3, 0.7])
    with torch.no_grad():
        conditional = pipeline._velocity(x, t, labels, 1.0)
        unconditional = pipeline._velocity(x, t, labels, 0.0)
        assert torch.equal(conditional, pipeline._network(x, t, labels))
        assert torch.allclose(unconditional, pipeline._velocity(x, t, None, 3.0), atol=1e-5)
        guided = pipeline._velocity(x, t, labels, 3.0)
    assert torch.allclose(guided, unconditional + 3 * (conditional - unconditional), atol=1e-4)


def overfit(pipeline, batch, steps, parameters=None, lr=3e-3):
    optimizer = torch.optim.AdamW(parameters or pipeline.unet.parameters(), lr=lr)
    losses = []
    for step in range(steps):
        loss, _ = pipeline.loss(batch, torch.Generator().manual_seed(step), progress=step / steps)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    pipeline.unet.eval()
    return losses


def test_a_tiny_network_learns_one_picture():
    torch.manual_seed(0)
    pipeline = FlowMatchingPipeline.build(8, 1, **SMALL)
    x = torch.full((16, 1, 8, 8), -0.5)
    x[:, :, 2:6, 2:6] = 0.5
    losses = overfit(pipeline, {"images": x, "class_labels": None}, 80)
    assert sum(losses[-10:]) < 0.3 * sum(losses[:10])
    image = pipeline(1, torch.Generator().manual_seed(0), output_type="pt").images * 2 - 1
    assert (image - x[:1]).abs().mean() < 0.25


# ---- students ----


def test_a_seed_gives_back_the_noise_that_drew_the_image():
    pipeline, seen = tiny(), []
    pipeline._network = lambda x, t, labels: seen.append(x) or x
    pipeline(2, [torch.Generator().manual_seed(s) for s in (7, 9)], num_inference_steps=1)
    assert torch.equal(seen[0], torch.stack([pipeline.noise_of(7), pipeline.noise_of(9)]))


def test_reflow_is_exact_for_the_field_of_its_pairs():
    """The student sees the teacher's pairs: a network that knows them has no loss, whatever the time."""
    pipeline = tiny(dequantize=False, distilled_steps=2)
    images, seeds = torch.rand(4, 1, 28, 28) * 2 - 1, torch.tensor([11, 12, 13, 14])
    noise = torch.stack([pipeline.noise_of(s) for s in seeds.tolist()])
    seen = []

    def network(x, t, labels):
        seen.append((t, labels))
        assert torch.allclose(x, (1 - t[:, None, None, None]) * images + t[:, None, None, None] * noise, atol=1e-6)
        return noise - images

    pipeline._network = network
    batch = {"images": images, "class_labels": torch.tensor([0, -1, 2, 3]), "seeds": seeds}
    for step in range(20):
        loss, _ = pipeline.loss(batch, torch.Generator().manual_seed(step), progress=step / 20)
        assert loss == 0
        assert seen[-1][1].tolist() == [0, 10, 2, 3], "pairs keep their labels; -1 is no class"
    early, late = torch.cat([t for t, _ in seen[:10]]), torch.cat([t for t, _ in seen[10:]])
    on_grid = (late == 0.5) | (late == 1.0)
    assert not ((early == 0.5) | (early == 1.0)).any() and 0.55 < on_grid.float().mean() < 0.95
    with pytest.raises(ValueError, match="teacher"):
        pipeline.loss({"images": images, "class_labels": None})


def test_a_student_of_a_gaussian_does_it_in_one_step():
    """Reflow of the exact Gaussian flow: the pairs (x_1, MEAN + STD x_1) lie on straight lines that do not cross."""
    teacher = gaussian_pipeline()
    student = FlowMatchingPipeline.build(SIZE, 1, **SMALL, distilled_steps=1, distill_from=0.3, dequantize=False)
    weights = [torch.zeros(1, SIZE, SIZE, requires_grad=True) for _ in range(4)]

    def network(x, t, labels):
        t = t.reshape(-1, 1, 1, 1)
        return (weights[0] + t * weights[1]) * x + weights[2] + t * weights[3]

    student._network = network
    generators = [torch.Generator().manual_seed(s) for s in range(128)]
    images = teacher(128, generators, sampler="midpoint", num_inference_steps=20, output_type="pt").images * 2 - 1
    batch = {"images": images, "class_labels": None, "seeds": torch.arange(128)}
    losses = overfit(student, batch, 150, weights, lr=0.05)
    assert sum(losses[-10:]) < 0.2 * sum(losses[:10])

    def error(pipeline):
        generators = [torch.Generator().manual_seed(s) for s in range(1000, 1064)]
        x = pipeline(64, generators, sampler="euler", num_inference_steps=1, output_type="pt").images * 2 - 1
        noise = torch.stack([pipeline.noise_of(s) for s in range(1000, 1064)])
        return (x - (MEAN + STD * noise)).square().mean()

    assert error(student) < 0.1 * error(teacher), "one step of the teacher gives the mean image"


def test_a_student_begins_with_its_teachers_weights():
    teacher, student = tiny(), tiny(distilled_steps=2)
    torch.nn.init.normal_(teacher.unet.conv_out.weight)
    student.learn_from(teacher)
    for a, b in zip(teacher.unet.parameters(), student.unet.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_student_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="architecture"):
        tiny().learn_from(tiny(block_out_channels=[8, 16]))


# ---- bad input ----


def test_what_does_not_fit_is_refused_with_words():
    pipeline = gaussian_pipeline()
    with pytest.raises(ValueError, match="multiple"):
        FlowMatchingPipeline.build(30, 1, patch_size=2, block_out_channels=[8, 8, 8])
    with pytest.raises(ValueError, match="coupling"):
        FlowMatchingPipeline.build(SIZE, 1, **SMALL, coupling="best")
    with pytest.raises(ValueError, match="num_inference_steps"):
        pipeline(1, num_inference_steps=0)
    with pytest.raises(ValueError, match="sampler"):
        pipeline(1, sampler="ddim")
    x = np.zeros((1, SIZE, SIZE, 1), np.uint8)
    with pytest.raises(ValueError, match="sampler"):
        pipeline.reconstruct(x, sampler="euler")
    with pytest.raises(ValueError, match="strength"):
        pipeline.reconstruct(x, strength=0.0)
    with pytest.raises(ValueError, match="method"):
        pipeline.reconstruct(x, method="ddim")
    with pytest.raises(ValueError, match="score"):
        pipeline.anomaly_score(x, score="elbo")
    with pytest.raises(ValueError, match="divergence"):
        pipeline.log_likelihood(x, divergence="skilling")
