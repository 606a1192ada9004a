"""Score-SDE against closed forms: for Gaussian data the denoiser is known, so every solver has an answer."""

import math
import typing

import numpy as np
import pytest
import torch
from conftest import ID2LABEL, TINY, pictures, run_bare

from pipelines.denoiser import Denoiser
from pipelines.pipeline_score_sde import Sampler, ScoreSdePipeline
from pipelines.processes import views, x0_from_view
from pipelines.scheduling_score_sde import ScoreSdeScheduler
from pipelines.score_samplers import _transition, ncsn_step_size
from pipelines.score_typicality import FEATURE_SIGMAS

SIZE, MEAN = 4, 0.1
PROCESSES = ["edm", "ve", "vp", "sub-vp"]


def covariance() -> torch.Tensor:
    """Of the Gaussian data, float64 [16, 16]: deviations 0.05 to 0.2 along directions that are not the pixels'."""
    basis, _ = torch.linalg.qr(torch.randn(SIZE**2, SIZE**2, generator=torch.Generator().manual_seed(0)).double())
    return basis @ torch.diag(torch.linspace(0.05, 0.2, SIZE**2, dtype=torch.float64) ** 2) @ basis.T


COVARIANCE = covariance()


class GaussianUNet(torch.nn.Module):
    """Stands in for the UNet: F such that c_skip y + c_out F is the optimal denoiser of N(MEAN, COVARIANCE)."""

    dtype, device = torch.float32, torch.device("cpu")

    def __init__(self, scheduler, num_class_embeds=None):
        super().__init__()
        self.scheduler = scheduler
        self.config = type("Config", (), {"num_class_embeds": num_class_embeds})
        values, self.vectors = torch.linalg.eigh(COVARIANCE)
        self.values = values[:, None]

    def forward(self, x, timestep, class_labels=None):
        sigma = torch.exp(4 * timestep.double() / 100)
        c_skip, c_out, c_in, _ = self.scheduler.preconditioning(sigma)
        y = (x.flatten(1).double() / c_in[:, None]).T - MEAN  # [16, N]
        x0 = MEAN + self.vectors @ (self.values / (self.values + sigma**2) * (self.vectors.T @ y))
        f = (x0.T - c_skip[:, None] * (y.T + MEAN)) / c_out[:, None]
        return type("Output", (), {"sample": f.reshape(x.shape).float()})


def gaussian_pipeline(**noise_levels):
    options = {"sigma_max": 5.0, "sigma_data": 0.3, **noise_levels}
    pipeline = ScoreSdePipeline.build(
        SIZE, 1, block_out_channels=[8], norm_num_groups=8, attention_head_dim=8, layers_per_block=1, **options
    )
    pipeline.unet = GaussianUNet(pipeline.scheduler)
    return pipeline


def gaussian_data(number: int, seed: int = 1) -> torch.Tensor:
    z = torch.randn(number, SIZE**2, generator=torch.Generator().manual_seed(seed)).double()
    return (MEAN + z @ torch.linalg.cholesky(COVARIANCE).T).float().reshape(-1, 1, SIZE, SIZE)


def ignore(*_):
    """Take a report."""


def tiny_pipeline(**options):
    torch.manual_seed(0)
    return ScoreSdePipeline.build(28, 1, **{"id2label": ID2LABEL, **TINY["score-sde"], **options})


# ---- formulas ----


def test_preconditioning_and_loss_are_table_1():
    scheduler = ScoreSdeScheduler(sigma_data=0.5)
    for sigma in (0.01, 0.5, 3.0):
        c_skip, c_out, c_in, c_noise = (float(c) for c in scheduler.preconditioning(torch.tensor(sigma)))
        assert c_skip == pytest.approx(0.5**2 / (sigma**2 + 0.5**2))
        assert c_out == pytest.approx(sigma * 0.5 / math.sqrt(0.5**2 + sigma**2))
        assert c_in == pytest.approx(1 / math.sqrt(sigma**2 + 0.5**2))
        assert c_noise == pytest.approx(math.log(sigma) / 4)
        weight = scheduler.loss_weight(torch.tensor(sigma)).item()
        assert weight == pytest.approx((sigma**2 + 0.5**2) / (sigma * 0.5) ** 2) == pytest.approx(c_out**-2)


def test_training_noise_levels_are_log_normal():
    scheduler = ScoreSdeScheduler(log_sigma_mean=-1.0, log_sigma_std=1.5)
    generator = torch.Generator().manual_seed(0)
    logs = torch.cat([scheduler.training_sigmas(64, generator, "cpu").log() for _ in range(50)])
    assert logs.mean().item() == pytest.approx(-1.0, abs=0.02) and logs.std().item() == pytest.approx(1.5, abs=0.03)
    assert ((logs + 1).abs() < 1.5).double().mean().item() == pytest.approx(0.6827, abs=0.01)


def test_marginals_are_the_papers():
    """Song et al. 2021 eq. 29 (as they use it, sigma(0) = sigma_min): mean and variance of x(t) given x(0)."""
    scheduler = ScoreSdeScheduler(sigma_min=0.01, sigma_max=50.0, beta_min=0.1, beta_max=20.0)
    for t in (0.05, 0.3, 0.8):
        mean = math.exp(-(t**2) * (20.0 - 0.1) / 4 - t * 0.1 / 2)
        expected = {
            "ve": (1, (0.01 * (50 / 0.01) ** t) ** 2),
            "vp": (mean, 1 - mean**2),
            "sub-vp": (mean, (1 - mean**2) ** 2),
            "edm": (1, t**2),
        }
        for name, (scale, variance) in expected.items():
            process = scheduler.process(name)
            assert process.scale(t) == pytest.approx(scale)
            assert (process.scale(t) * process.sigma(t)) ** 2 == pytest.approx(variance)


def test_drift_and_diffusion_are_the_papers():
    """Song et al. 2021 eq. 30, 32 and 33; EDM: Karras et al. 2022 sec. 3."""
    scheduler = ScoreSdeScheduler(sigma_min=0.01, sigma_max=50.0, beta_min=0.1, beta_max=20.0)
    for t in (0.05, 0.3, 0.8):
        beta = 0.1 + t * 19.9
        integral = 0.1 * t + 19.9 * t**2 / 2
        ve = 0.01 * (50 / 0.01) ** t * math.sqrt(2 * math.log(50 / 0.01))
        expected = {
            "ve": (0, ve),
            "vp": (-beta / 2, math.sqrt(beta)),
            "sub-vp": (-beta / 2, math.sqrt(beta * (1 - math.exp(-2 * integral)))),
            "edm": (0, math.sqrt(2 * t)),
        }
        for name, (f, g) in expected.items():
            process = scheduler.process(name)
            assert process.drift(t) == pytest.approx(f) and process.diffusion(t) == pytest.approx(g)


@pytest.mark.parametrize("name", PROCESSES)
def test_scale_and_noise_level_solve_the_sde(name):
    """s = exp int f and d sigma^2 / dt = g^2 / s^2 (Karras et al. 2022 eq. 12), so y = x / s is one Brownian motion."""
    process = ScoreSdeScheduler().process(name)
    h = 1e-5
    for t in np.linspace(process.stop, process.start, 7)[1:-1]:
        slope = (math.log(process.scale(t + h)) - math.log(process.scale(t - h))) / (2 * h)
        assert slope == pytest.approx(process.drift(t), abs=1e-5)
        growth = (process.sigma(t + h) ** 2 - process.sigma(t - h) ** 2) / (2 * h)
        assert growth == pytest.approx(process.diffusion(t) ** 2 / process.scale(t) ** 2, rel=1e-4)
        assert process.time(process.sigma(t)) == pytest.approx(t)
    assert process.sigma(process.stop) == pytest.approx(0.002)
    times = process.times(12)
    assert times == sorted(times, reverse=True) and len(times) == 12 and times[0] == pytest.approx(process.start)


def test_edm_noise_levels_are_equation_5():
    levels = ScoreSdeScheduler(sigma_min=0.002, sigma_max=80.0, rho=7.0).levels(18)
    for i, sigma in enumerate(levels):
        assert sigma == pytest.approx((80 ** (1 / 7) + i / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7)


def test_ncsn_is_ve_at_equal_times():
    """Song and Ermon 2019 sec. 5: ten geometric levels from 1 to 0.01."""
    process = ScoreSdeScheduler(sigma_min=0.01, sigma_max=1.0).process("ve")
    levels = [process.sigma(t) for t in process.times(10)]
    assert levels == pytest.approx(np.geomspace(1, 0.01, 10).tolist())


def test_ncsn_step_size_is_the_papers():
    """Song and Ermon 2020 tab. 3, CIFAR-10: sigma from 50 to 0.01 in 232 levels, T = 5, found epsilon 6.2e-6."""
    step = ncsn_step_size((50 / 0.01) ** (1 / 231), 5)
    assert step * 0.01**2 == pytest.approx(6.2e-6, rel=0.03)


def test_vp_is_ddpm_in_the_limit():
    """Song et al. 2021 app. B: with beta(i / N) / N, the steps of `reverse_diffusion` are DDPM's sqrt(1 - beta_i), beta_i."""
    process = ScoreSdeScheduler().process("vp")
    a, b = _transition(process, 0.5, 0.499)
    beta = process.beta(0.4995) / 1000
    assert a == pytest.approx(math.sqrt(1 - beta), rel=1e-4) and b == pytest.approx(beta, rel=1e-2)


@pytest.mark.parametrize("name", PROCESSES)
def test_the_four_views_agree(name):
    process = ScoreSdeScheduler().process(name)
    t = process.time(0.7)
    scale, sigma = process.scale(t), process.sigma(t)
    x0, eps = torch.randn(2, 3, 1, 8, 8)
    x = scale * (x0 + sigma * eps)
    seen = views(x, x0, scale, sigma)
    assert torch.allclose(seen["epsilon"], eps, atol=1e-5)
    # grad log N(x; s x_0, s^2 sigma^2)
    assert torch.allclose(seen["score"], -(x - scale * x0) / (scale * sigma) ** 2, atol=1e-4)
    alpha, sigma_vp = 1 / math.sqrt(1 + sigma**2), sigma / math.sqrt(1 + sigma**2)
    assert torch.allclose(seen["v"], alpha * eps - sigma_vp * x0, atol=1e-5)
    for view, value in seen.items():
        assert torch.allclose(x0_from_view(view, value, x, scale, sigma), x0, atol=1e-5), view
    with pytest.raises(ValueError, match="view"):
        x0_from_view("noise", x0, x, scale, sigma)


def test_one_network_gives_the_same_answer_under_every_process():
    pipeline = gaussian_pipeline()
    y = gaussian_data(4) + 0.7 * torch.randn(4, 1, SIZE, SIZE)
    inverse = torch.linalg.inv(COVARIANCE + 0.7**2 * torch.eye(SIZE**2))
    score = -((y.flatten(1).double() - MEAN) @ inverse).float().reshape(y.shape)  # of N(MEAN, COVARIANCE + sigma^2 I)
    for name in PROCESSES:
        process = pipeline.scheduler.process(name)
        s = process.scale(process.time(0.7))
        seen = pipeline.predict(s * y, 0.7, s)
        assert torch.allclose(seen["score"], score / s, atol=1e-4)


# ---- samplers ----


# Numbers of steps where the solvers' own errors are small, and the excess of the variance that is left nevertheless:
# ancestral steps leave out the variance of x_0 given x_t; per-sample corrector steps are longest where the score is
# shortest, which only many dimensions average out; Langevin dynamics stops while the data still carry some noise.
@pytest.mark.parametrize(
    ("sampler", "process", "steps", "options", "excess"),
    [
        ("heun", "edm", 40, {}, 0.0),
        ("heun", "edm", 60, {"churn": 10.0}, 0.0),
        ("heun", "ve", 60, {}, 0.0),
        ("heun", "vp", 60, {}, 0.02),
        ("heun", "sub-vp", 60, {}, 0.0),
        ("rk45", "edm", 2, {"tolerance": 1e-4}, 0.0),
        ("ancestral", "edm", 200, {}, -0.04),
        ("ancestral", "vp", 200, {}, -0.17),
        ("reverse diffusion", "ve", 200, {}, 0.04),
        ("reverse diffusion", "vp", 200, {}, 0.08),
        ("reverse diffusion", "sub-vp", 200, {}, 0.06),
        ("euler-maruyama", "edm", 200, {}, 0.0),
        ("euler-maruyama", "vp", 200, {}, 0.0),
        ("euler-maruyama", "sub-vp", 200, {}, 0.0),
        ("predictor-corrector", "ve", 100, {"num_corrector_steps": 1, "snr": 0.1}, 0.18),
        ("predictor-corrector", "vp", 100, {"num_corrector_steps": 1, "snr": 0.1}, 0.2),
        ("annealed langevin", "ve", 100, {"num_corrector_steps": 4}, 0.2),
    ],
)
def test_every_sampler_reaches_the_known_mean_and_covariance(sampler, process, steps, options, excess):
    """Of N = 1000 samples the trace errs by 1.4 % and the covariance by |C| sqrt((1 + tr^2 / |C|^2) / N), 11 %."""
    pipeline = gaussian_pipeline()
    images = pipeline(
        1000,
        torch.Generator().manual_seed(0),
        sampler=sampler,
        process=process,
        num_inference_steps=steps,
        output_type="pt",
        **options,
    ).images
    x = (images * 2 - 1).flatten(1).double()
    assert (x.mean(0) - MEAN).abs().max() < 4 * 0.2 / math.sqrt(1000)
    error = torch.cov(x.T) - COVARIANCE
    assert error.norm() < (0.15 + abs(excess)) * COVARIANCE.norm()
    assert torch.trace(error) / torch.trace(COVARIANCE) == pytest.approx(excess, abs=0.05)


def test_the_corrector_is_unbiased_in_many_dimensions():
    """1024 independent pixels, half of deviation 0.05 and half of 0.2: the norms now hardly differ between samples."""
    pipeline = gaussian_pipeline()
    variance = torch.full((1, 32, 32), 0.05**2)
    variance[:, 16:] = 0.2**2
    pipeline.denoise = lambda y, sigma, labels: MEAN + variance / (variance + sigma[0] ** 2) * (y - MEAN)
    pipeline.register_to_config(sample_size=32)
    options = {"sampler": "predictor-corrector", "process": "ve", "num_corrector_steps": 1, "snr": 0.1}
    images = pipeline(16, torch.Generator().manual_seed(0), num_inference_steps=150, output_type="pt", **options).images
    x = images * 2 - 1
    assert x.mean().item() == pytest.approx(MEAN, abs=0.01)
    assert x[:, :, :16].std().item() == pytest.approx(0.05, rel=0.06)
    assert x[:, :, 16:].std().item() == pytest.approx(0.2, rel=0.06)


def test_vp_and_sub_vp_paths_are_the_edm_path():
    """The probability-flow ODE of y = x / s knows no process: from one noise, all come to one image."""
    pipeline = gaussian_pipeline()
    noise = torch.randn(8, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    ends = []
    for name in PROCESSES:
        process = pipeline.scheduler.process(name)
        times = [process.time(sigma) for sigma in pipeline.scheduler.levels(100)]
        ends.append(pipeline._sample(Denoiser(pipeline), 5.0 * noise, "heun", process, times, None, ignore))
    for end in ends[1:]:
        assert torch.allclose(end, ends[0], atol=1e-3)


def test_evaluations_are_counted():
    pipeline = gaussian_pipeline()

    def count(**options):
        return pipeline(3, torch.Generator().manual_seed(0), output_type="pt", **options).num_function_evaluations

    assert count(sampler="heun", num_inference_steps=18) == [35, 35, 35], "Karras et al. 2022: 2 n - 1"
    assert count(sampler="ancestral", num_inference_steps=18) == [18] * 3
    assert count(sampler="predictor-corrector", num_inference_steps=18, num_corrector_steps=1) == [35] * 3
    assert count(sampler="annealed langevin", num_inference_steps=6, num_corrector_steps=4) == [25] * 3
    loose, tight = count(sampler="rk45", tolerance=1e-2), count(sampler="rk45", tolerance=1e-5)
    assert all(10 < a < b < 600 for a, b in zip(loose, tight))


@pytest.mark.parametrize("sampler", ["rk45", "predictor-corrector", "annealed langevin"])
def test_a_sample_depends_on_its_own_generator_only(sampler):
    pipeline = gaussian_pipeline()

    def make(*seeds):
        noise = [torch.Generator().manual_seed(s) for s in seeds]
        return pipeline(len(seeds), noise, sampler=sampler, num_inference_steps=8, output_type="pt").images

    assert torch.allclose(make(1, 2, 3)[1], make(2)[0], atol=1e-5)


def test_rk45_reports_and_stops():
    seen = []

    def watch(pipe, step, sigma, values):
        assert values["num_timesteps"] == 100 and values["pred_original_sample"].shape == (2, 1, SIZE, SIZE)
        seen.append(step)

    gaussian_pipeline()(2, sampler="rk45", callback_on_step_end=watch)
    assert seen == sorted(seen) and seen[-1] == 99

    def stop(*_):
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        gaussian_pipeline()(2, sampler="rk45", callback_on_step_end=stop)


# ---- likelihood, encoding, conditions ----


@pytest.mark.parametrize(("solver", "options"), [("heun", {"num_inference_steps": 150}), ("rk45", {"tolerance": 1e-4})])
def test_likelihood_is_the_closed_form(solver, options):
    """The model's density is N(MEAN, COVARIANCE + sigma_min^2 I); the prior leaves out MEAN, y MEAN / sigma_max^2: 0.005 nats."""
    pipeline = gaussian_pipeline(sigma_max=80.0)
    x = gaussian_data(8)
    total = COVARIANCE + 0.002**2 * torch.eye(SIZE**2)
    exact = torch.distributions.MultivariateNormal(torch.full((SIZE**2,), MEAN).double(), total)
    expected = exact.log_prob(x.flatten(1).double()).float()  # 5 to 17 nats
    got = pipeline.log_likelihood(x, solver=solver, num_probes=0, dequantize=False, **options)
    assert got.shape == (8,) and (got - expected).abs().max() < 0.05


def test_hutchinsons_estimator_is_unbiased():
    pipeline = gaussian_pipeline()
    x = gaussian_data(4)
    exact = pipeline.log_likelihood(x, num_probes=0, dequantize=False)
    estimate = pipeline.log_likelihood(x, num_probes=64, dequantize=False)
    assert (estimate - exact).mean().abs() < 0.5 and not torch.equal(estimate, exact)
    assert not torch.equal(pipeline.log_likelihood(x), pipeline.log_likelihood(x, dequantize=False))
    assert torch.equal(pipeline.log_likelihood(x), pipeline.log_likelihood(x)), "a measurement is repeatable"


def test_encoding_finds_noise_and_decoding_returns_the_input():
    pipeline = gaussian_pipeline()
    x = gaussian_data(500)
    output = pipeline.reconstruct(x, num_inference_steps=40, output_type="pt")
    assert (output.images * 2 - 1 - x).abs().max() < 1e-3
    assert output.num_function_evaluations[0] == 4 * 39
    y = pipeline._follow(Denoiser(pipeline), x, pipeline.scheduler.levels(40)[::-1], ignore)
    assert y.std().item() == pytest.approx(5, rel=0.02)
    assert torch.corrcoef(y.flatten(1).T).fill_diagonal_(0).abs().max() < 0.2


def test_interpolation_begins_and_ends_at_its_images():
    pipeline = gaussian_pipeline()
    x = gaussian_data(2)
    frames = pipeline.interpolate(x[:1], x[1:], 5, num_inference_steps=40, output_type="pt").images * 2 - 1
    assert (frames[0] - x[0]).abs().max() < 1e-3 and (frames[-1] - x[1]).abs().max() < 1e-3
    deviations = torch.linalg.solve(COVARIANCE, (frames.flatten(1).double() - MEAN).T).T
    distances = (
        (deviations * (frames.flatten(1) - MEAN)).sum(1).sqrt()
    )  # Mahalanobis: frames are as typical as the ends
    assert distances[2] > 0.7 * distances[[0, -1]].min()


@pytest.mark.parametrize(
    ("keep", "known"),
    [
        ("left half", lambda x: x[..., :2]),
        ("right half", lambda x: x[..., 2:]),
        ("top half", lambda x: x[..., :2, :]),
        ("bottom half", lambda x: x[..., 2:, :]),
        ("centre", lambda x: x[..., 1:3, 1:3]),
        ("border", lambda x: torch.cat([x[..., 0, :], x[..., -1, :]], -1)),
        ("structure", lambda x: torch.nn.functional.avg_pool2d(x, 2)),
        ("brightness", lambda x: x),
    ],
)
def test_what_is_kept_stays_and_the_rest_is_generated(keep, known):
    pipeline = gaussian_pipeline()
    x = gaussian_data(4)
    generators = [torch.Generator().manual_seed(i) for i in range(4)]
    new = pipeline.reconstruct(x, generators, keep=keep, output_type="pt").images * 2 - 1
    assert torch.allclose(known(new), known(x), atol=1e-5)
    if keep != "brightness":  # of a grey image that is everything
        assert (new - x).abs().max() > 0.02


def test_a_condition_moves_the_mean_as_the_gaussian_says():
    """E[open | known] = m + C_ok C_kk^-1 (known - m); replacement is exact where noise has not mixed the two, so roughly."""
    pipeline = gaussian_pipeline()
    x = gaussian_data(1).expand(600, -1, -1, -1)
    new = pipeline.reconstruct(
        x, torch.Generator().manual_seed(0), keep="left half", num_inference_steps=40, churn=40.0, output_type="pt"
    ).images
    columns = torch.arange(SIZE**2).reshape(SIZE, SIZE)
    known, unknown = columns[:, :2].flatten(), columns[:, 2:].flatten()
    flat = x[0].flatten().double() - MEAN
    expected = COVARIANCE[unknown][:, known] @ torch.linalg.solve(COVARIANCE[known][:, known], flat[known])
    got = (new * 2 - 1).mean(0).flatten().double()[unknown] - MEAN
    assert torch.nn.functional.cosine_similarity(got, expected, dim=0) > 0.8


def test_noise_of_little_strength_changes_little():
    pipeline = gaussian_pipeline()
    x = gaussian_data(8)

    def change(strength):
        noise = [torch.Generator().manual_seed(i) for i in range(8)]
        new = pipeline.reconstruct(x, noise, method="noise", strength=strength, output_type="pt").images * 2 - 1
        return (new - x).abs().mean()

    assert change(0.1) < 0.3 * change(1.0)


# ---- anomalies ----


def calibrated(number=600):
    pipeline = gaussian_pipeline()
    pipeline.fit({"images": part, "class_labels": None} for part in gaussian_data(number, seed=2).split(100))
    return pipeline


def test_calibrated_typicality_finds_what_is_too_likely_and_too_unlikely():
    pipeline = calibrated()
    ordinary = pipeline.anomaly_score(gaussian_data(100))
    too_likely = pipeline.anomaly_score(torch.full((4, 1, SIZE, SIZE), MEAN))  # the mode
    noise = pipeline.anomaly_score(torch.rand(4, 1, SIZE, SIZE) * 2 - 1)
    assert too_likely.scores.min() > ordinary.scores.quantile(0.95) and noise.scores.min() > ordinary.scores.max()
    likelihood = {"score": "likelihood", "num_inference_steps": 20}
    fooled = pipeline.anomaly_score(torch.full((4, 1, SIZE, SIZE), MEAN), **likelihood).scores
    assert fooled.max() < pipeline.anomaly_score(gaussian_data(20), **likelihood).scores.min(), "the known failure"
    assert ordinary.maps.shape == (100, SIZE, SIZE) and (ordinary.maps >= 0).all()
    assert torch.equal(ordinary.scores, pipeline.anomaly_score(gaussian_data(100)).scores), (
        "a measurement is repeatable"
    )


def test_conditional_on_a_class_the_images_of_another_are_strange():
    """Two Gaussians that overlap; without a class the network denoises their even mixture."""
    pipeline = ScoreSdePipeline.build(
        SIZE, 1, {"0": "low", "1": "high"}, block_out_channels=[8], norm_num_groups=8, attention_head_dim=8
    )
    centres, std = torch.tensor([-0.3, 0.3]), 0.2

    def denoise(y, sigma, labels=None):
        sigma = sigma.reshape(-1, 1, 1, 1)
        each = torch.stack([c + std**2 / (std**2 + sigma**2) * (y - c) for c in centres])
        density = torch.stack([(-0.5 * (y - c).square() / (std**2 + sigma**2)).sum((1, 2, 3)) for c in centres])
        even = (each * density.softmax(0)[..., None, None, None]).sum(0)
        return even if labels is None else each[labels, torch.arange(len(y))]

    def data(number, seed):
        labels = torch.arange(number) % 2
        noise = torch.randn(number, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))
        return centres[labels][:, None, None, None] + std * noise, labels

    pipeline.denoise = denoise
    images, labels = data(600, seed=1)
    pipeline.fit({"images": images[i : i + 100], "class_labels": labels[i : i + 100]} for i in range(0, 600, 100))
    known = pipeline.config.calibration["class_mismatch"]
    assert known["mean"] < 0 < known["std"], "the right class helps"

    x, labels = data(64, seed=2)
    unconditional, right, wrong = (pipeline.anomaly_score(x, class_labels=y) for y in (None, labels, 1 - labels))
    assert (right.scores >= unconditional.scores).all()
    assert wrong.scores.quantile(0.05) > right.scores.quantile(0.95)
    assert wrong.maps.shape == (64, SIZE, SIZE) and wrong.maps.mean() > right.maps.mean()
    above = ((pipeline.class_mismatch(x, 1 - labels)[0] - known["mean"]) / known["std"]).clamp(min=0)
    expected = (unconditional.scores.square() + len(FEATURE_SIGMAS) * above.square()).sqrt()
    assert torch.allclose(wrong.scores, expected, rtol=1e-4)
    for score in ("score norms", "likelihood"):
        right, wrong = (pipeline.anomaly_score(x, class_labels=y, score=score).scores for y in (labels, 1 - labels))
        assert wrong.mean() > right.mean() + right.std()

    steps = []
    pipeline.anomaly_score(
        x[:1],
        class_labels=0,
        callback_on_step_end=lambda _, step, __, values: steps.append((step, values["num_timesteps"])),
    )
    assert steps == [(i, 13) for i in range(13)]
    pipeline.fit([{"images": images, "class_labels": None}])
    assert "class_mismatch" not in pipeline.config.calibration


def test_calibration_is_the_mahalanobis_distance_and_survives_saving():
    import json

    pipeline = calibrated()
    stored = json.loads(json.dumps(pipeline.config.calibration))
    mean, cov = (torch.tensor(stored[k], dtype=torch.float64) for k in ("mean", "covariance"))
    x = gaussian_data(3)
    features, _ = pipeline.score_features(x)
    off = features.double() - mean
    expected = (off * torch.linalg.solve(cov, off.T).T).sum(1).sqrt().float()
    assert torch.allclose(pipeline.anomaly_score(x).scores, expected, rtol=1e-4)
    # over the data of the fit, the mean of the squared distance is the number of features, less what the ridge takes
    fitted = pipeline.anomaly_score(gaussian_data(600, seed=2)).scores.square().mean()
    assert 1 < fitted < 1.01 * len(mean)


# ---- the network ----


def test_guidance_is_linear_and_one_is_plain():
    pipeline = tiny_pipeline()
    y, labels, sigma = torch.randn(2, 1, 28, 28), torch.tensor([1, 2]), 0.5
    with torch.no_grad():
        conditional = Denoiser(pipeline, labels)(y, sigma)
        unconditional = Denoiser(pipeline, labels, 0.0)(y, sigma)
        assert torch.allclose(unconditional, Denoiser(pipeline, None, 3.0)(y, sigma), atol=1e-5)
        guided = Denoiser(pipeline, labels, 3.0)(y, sigma)
    assert torch.allclose(guided, unconditional + 3 * (conditional - unconditional), atol=1e-4)


def test_the_loss_of_a_silent_network_is_known():
    """With F = 0, lambda |D - x_0|^2 is the mean of (x_0 sigma / sigma_data - eps sigma_data)^2 / (sigma^2 + sigma_data^2)."""
    pipeline = tiny_pipeline(sigma_data=0.5)
    pipeline.unet.forward = lambda x, t, class_labels=None: type("Output", (), {"sample": torch.zeros_like(x)})
    x = 0.5 * torch.randn(256, 1, 28, 28)
    loss, parts = pipeline.loss({"images": x, "class_labels": None}, torch.Generator().manual_seed(0))
    assert loss.item() == pytest.approx(1, rel=0.02) and parts["mse"] > 0


def test_a_tiny_network_learns_one_picture():
    torch.manual_seed(0)
    pipeline = ScoreSdePipeline.build(8, 1, **{**TINY["score-sde"], "block_out_channels": [16], "patch_size": 1})
    x = torch.full((16, 1, 8, 8), -0.5)
    x[:, :, 2:6, 2:6] = 0.5
    optimizer = torch.optim.AdamW(pipeline.unet.parameters(), lr=3e-3)
    losses = []
    for step in range(60):
        loss, _ = pipeline.loss({"images": x, "class_labels": None}, torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-10:]) < 0.3 * sum(losses[:10])
    pipeline.unet.eval()
    image = pipeline(1, torch.Generator().manual_seed(0), num_inference_steps=10, output_type="pt").images * 2 - 1
    assert (image - x[:1]).abs().mean() < 0.25


def test_a_calibrated_checkpoint_loads_without_a_warning(tmp_path):
    pipeline = tiny_pipeline()
    pipeline.fit([{"images": pictures(12), "class_labels": torch.arange(12) % 10}])
    assert "class_mismatch" in pipeline.config.calibration
    pipeline.save_pretrained(tmp_path / "saved")
    program = """
import contextlib, io
with contextlib.redirect_stderr(io.StringIO()) as said:
    from diffusers import DiffusionPipeline
    from diffusers.utils import logging
    logging.disable_progress_bar()
    pipe = DiffusionPipeline.from_pretrained("saved", trust_remote_code=True)
print(type(pipe).__name__, len(pipe.config.calibration["mean"]), repr(said.getvalue()))
"""
    assert run_bare(program, tmp_path).split() == ["ScoreSdePipeline", str(len(FEATURE_SIGMAS)), "''"]


def test_an_unknown_class_counts_for_nothing_in_the_fit():
    pipeline = tiny_pipeline()
    x, labels = pictures(12), torch.arange(12) % 10
    pipeline.fit([{"images": x, "class_labels": torch.where(labels < 5, labels, -1)}])
    known = pipeline.config.calibration["class_mismatch"]
    pipeline.fit([{"images": x, "class_labels": torch.full((12,), -1)}])
    assert math.isfinite(known["mean"]) and "class_mismatch" not in pipeline.config.calibration


TASKS = {
    **{
        sampler: lambda pipe, x, noise, sampler=sampler: (
            pipe(2, noise, [1, 2], sampler, num_inference_steps=4, tolerance=0.1, output_type="pt").images
        )
        for sampler in typing.get_args(Sampler)
    },
    "reconstruct": lambda pipe, x, noise: pipe.reconstruct(x, num_inference_steps=4, output_type="pt").images,
    "keep": lambda pipe, x, noise: (
        pipe.reconstruct(x, noise, keep="centre", num_inference_steps=4, output_type="pt").images
    ),
    "interpolate": lambda pipe, x, noise: (
        pipe.interpolate(x[:1], x[1:], 3, num_inference_steps=4, output_type="pt").images
    ),
    "anomaly_score": lambda pipe, x, noise: pipe.anomaly_score(x, noise, [1, 2]).scores,
    "log_likelihood": lambda pipe, x, noise: pipe.log_likelihood(x, noise, num_inference_steps=3) / x[0].numel(),
    "loss": lambda pipe, x, noise: pipe.loss({"images": x, "class_labels": torch.tensor([1, 2])}, noise[0])[0],
}


@pytest.mark.parametrize("name", TASKS)
def test_the_default_dtype_of_torch_changes_nothing(name):
    pipeline, x = tiny_pipeline(), pictures(2)
    pipeline.unet.eval().requires_grad_(False)

    def run():
        return TASKS[name](pipeline, x, [torch.Generator().manual_seed(i) for i in range(2)])

    expected = run()
    torch.set_default_dtype(torch.float64)
    try:
        result = run()
    finally:
        torch.set_default_dtype(torch.float32)
    assert result.dtype == torch.float32 and torch.allclose(result, expected, atol=1e-5)


# ---- bad input ----


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda p, x: p(1, sampler="euler"), "sampler: choose"),
        (lambda p, x: p(1, process="cosine"), "process: choose"),
        (lambda p, x: p(1, num_inference_steps=1), "num_inference_steps"),
        (lambda p, x: p.reconstruct(x, method="svd"), "method: choose"),
        (lambda p, x: p.reconstruct(x, keep="hat"), "keep: choose"),
        (lambda p, x: p.reconstruct(x, strength=0.0), "strength"),
        (lambda p, x: p.interpolate(x, x, 1), "num_frames"),
        (lambda p, x: p.anomaly_score(x, score="elbo"), "score: choose"),
        (lambda p, x: p.log_likelihood(x, solver="euler"), "solver: choose"),
        (lambda p, x: ScoreSdePipeline.build(30, 1, patch_size=2, block_out_channels=[8, 8, 8]), "multiple"),
        (lambda p, x: ScoreSdePipeline.build(28, 1, sigma_min=3.0, sigma_max=2.0), "sigma_min"),
    ],
)
def test_what_does_not_fit_is_refused_with_words(call, says):
    with pytest.raises(ValueError, match=says):
        call(tiny_pipeline(), pictures(1))
