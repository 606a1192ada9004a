"""DDPM / DDIM against closed forms: for Gaussian data the optimal denoiser is known, so every sampler has an answer."""

import json
import math
import typing

import pytest
import torch
from conftest import ID2LABEL, TINY, pictures, run_bare
from diffusers import DDIMPipeline, DDPMPipeline

from pipelines.family import Report
from pipelines.pipeline_ddpm import DenoisingDiffusionPipeline, Sampler

MEAN, STD = 0.2, 0.1  # of the Gaussian data, pixel by pixel; clipping to [-1, 1] is then never felt


def gaussian_pipeline(prediction_type="v_prediction", beta_schedule="squaredcos_cap_v2"):
    """A pipeline whose network is the optimal denoiser of N(MEAN, STD^2): E[x_0 | x_t] is linear in x_t."""
    pipeline = DenoisingDiffusionPipeline.build(
        8,
        1,
        block_out_channels=[8, 16],
        norm_num_groups=8,
        attention_head_dim=16,
        layers_per_block=1,
        prediction_type=prediction_type,
        beta_schedule=beta_schedule,
    )

    def network(x, timestep, labels):
        t = (
            torch.as_tensor(timestep)
            .float()
            .reshape(-1, *([1] * (x.ndim - 1)) if torch.as_tensor(timestep).ndim else ())
        )
        levels = pipeline.scheduler.alphas_cumprod
        low, high = t.floor().long().clamp(0, 999), t.ceil().long().clamp(0, 999)
        # between two integers the schedulers interpolate log sigma
        log_sigma = 0.5 * torch.log((1 - levels) / levels)
        sigma2 = torch.exp(2 * (log_sigma[low] + (t - low) * (log_sigma[high] - log_sigma[low])))
        a = 1 / (1 + sigma2)
        x0 = MEAN + STD**2 * a.sqrt() / (a * STD**2 + 1 - a) * (x - a.sqrt() * MEAN)  # [N, C, H, W]
        eps = (x - a.sqrt() * x0) / (1 - a).sqrt()
        return {"epsilon": eps, "v_prediction": a.sqrt() * eps - (1 - a).sqrt() * x0}[prediction_type]

    pipeline._network = network
    return pipeline


@pytest.mark.parametrize(
    ("prediction_type", "beta_schedule"),
    [("epsilon", "squaredcos_cap_v2"), ("v_prediction", "squaredcos_cap_v2"), ("v_prediction", "linear")],
)
@pytest.mark.parametrize(
    ("sampler", "steps", "tolerance"),
    [("ddpm", 1000, 0.05), ("ddim", 250, 0.05), ("dpm-solver++", 25, 0.03), ("unipc", 25, 0.03), ("heun", 25, 0.05)],
)
def test_every_sampler_reaches_the_known_mean_and_deviation(sampler, steps, tolerance, prediction_type, beta_schedule):
    """The last step returns E[x_0 | x_t], whose deviation is that of the data times sqrt(a S^2 / (a S^2 + 1 - a))."""
    pipeline = gaussian_pipeline(prediction_type, beta_schedule)
    images = pipeline(
        64, torch.Generator().manual_seed(0), sampler=sampler, num_inference_steps=steps, output_type="pt"
    ).images
    x = images * 2 - 1
    a = pipeline.scheduler.alphas_cumprod[int(pipeline._sampler(sampler, steps).timesteps[-1])].item()
    shrunk = STD * math.sqrt(a * STD**2 / (a * STD**2 + 1 - a))
    assert x.mean().item() == pytest.approx(MEAN, abs=0.01)
    assert x.std().item() == pytest.approx(shrunk, rel=tolerance)


def test_heun_takes_the_steps_of_edm_and_begins_where_they_are_safe():
    """Karras et al. 2022 eq. 5 from sigma 80; the end of a cosine schedule, 2e4, would throw few steps far off."""
    pipeline = gaussian_pipeline()
    sigmas = pipeline._sampler("heun", 8).sigmas[::2]
    assert sigmas[0] == pytest.approx(80, rel=1e-3)
    assert torch.allclose(sigmas[:8], torch.linspace(80 ** (1 / 7), sigmas[7] ** (1 / 7), 8) ** 7, rtol=1e-3)
    spread = gaussian_pipeline()
    network, generator = spread._network, torch.Generator().manual_seed(0)
    # an error of the network that a real one has too: it does not know the mean exactly where all is noise
    spread._network = lambda x, t, labels: network(x, t, labels) + 0.05 * torch.randn(x.shape, generator=generator)
    x = (
        spread(64, torch.Generator().manual_seed(0), sampler="heun", num_inference_steps=8, output_type="pt").images * 2
        - 1
    )
    assert x.mean().item() == pytest.approx(MEAN, abs=0.02) and x.std() < 0.3


def test_inversion_returns_the_input_and_finds_gaussian_noise():
    pipeline = gaussian_pipeline()
    x = MEAN + STD * torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    back = pipeline.reconstruct(x, num_inference_steps=30, num_refinements=5, output_type="pt").images * 2 - 1
    assert (back - x).abs().max() < 1e-3
    coarse = pipeline.reconstruct(x, num_inference_steps=30, num_refinements=0, output_type="pt").images * 2 - 1
    assert (coarse - x).abs().max() > (back - x).abs().max(), "refinement is what closes the loop"
    timesteps = pipeline._inversion_timesteps(200, 1.0)
    noise = pipeline._invert(x, None, timesteps, 3, Report(pipeline, None))
    assert noise.mean().abs() < 0.05 and noise.std().item() == pytest.approx(1, abs=0.05)


def test_the_cosine_schedule_is_the_papers():
    """Nichol and Dhariwal 2021 eq. 17: a_t = f(t) / f(0), f(t) = cos((t/T + s) / (1 + s) pi/2)^2, s = 0.008."""
    levels = gaussian_pipeline().scheduler.alphas_cumprod

    def f(t):
        return math.cos((t / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2

    for t in (0, 1, 250, 500, 900):
        assert levels[t].item() == pytest.approx(f(t + 1) / f(0), rel=1e-3)


def test_the_linear_schedule_is_the_papers():
    """Ho et al. 2020 sec. 4: beta from 1e-4 to 0.02 in 1000 steps."""
    scheduler = gaussian_pipeline(beta_schedule="linear").scheduler
    betas = torch.linspace(1e-4, 0.02, 1000)
    assert torch.allclose(scheduler.alphas_cumprod, torch.cumprod(1 - betas, 0))


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_views_recover_image_and_noise(prediction_type):
    pipeline = gaussian_pipeline(prediction_type)
    x0, eps = torch.randn(2, 2, 1, 8, 8)
    a = pipeline.scheduler.alphas_cumprod[400]
    x = a.sqrt() * x0 + (1 - a).sqrt() * eps
    t = torch.tensor([400])
    output = eps if prediction_type == "epsilon" else pipeline.scheduler.get_velocity(x0, eps, t)
    got_x0, got_eps = pipeline._views(output, x, a)
    assert torch.allclose(got_x0, x0, atol=1e-4) and torch.allclose(got_eps, eps, atol=1e-4)
    clipped, x0_clipped = pipeline._clip(output, x, a)
    assert torch.allclose(pipeline._views(clipped, x, a)[0], x0.clamp(-1, 1), atol=1e-4)
    assert x0_clipped.abs().max() <= 1


def test_strangers_score_higher_than_the_data():
    pipeline = gaussian_pipeline()
    generator = torch.Generator().manual_seed(0)
    data = MEAN + STD * torch.randn(32, 1, 8, 8, generator=generator)
    strange = -MEAN + 3 * STD * torch.randn(32, 1, 8, 8, generator=generator)
    ordinary, other = pipeline.anomaly_score(data), pipeline.anomaly_score(strange)
    assert other.scores.min() > ordinary.scores.max()
    assert torch.allclose(ordinary.maps.mean(dim=(1, 2)), ordinary.scores, atol=1e-6)
    assert torch.equal(pipeline.anomaly_score(data).scores, ordinary.scores), "a measurement is repeatable"


def test_conditional_on_a_class_the_images_of_another_are_strange():
    """Class y is MEAN + y; without a class the network knows class 0 only."""
    pipeline = gaussian_pipeline()
    pipeline.register_to_config(id2label={"0": "low", "1": "high"})
    low = pipeline._network

    def network(x, t, labels):
        a = pipeline.scheduler.alphas_cumprod[t]
        shift = 0.0 if labels is None else 0.5 * labels.float().reshape(-1, 1, 1, 1)
        # v of x_0 + shift is v of x_0 where x_t is moved back, less the shift's own part
        return low(x - a**0.5 * shift, t, None) - (1 - a) ** 0.5 * shift

    pipeline._network = network
    labels = torch.arange(16) % 2
    data = (
        MEAN
        + 0.5 * labels[:, None, None, None]
        + STD * torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    )
    right, wrong = (pipeline.anomaly_score(data, class_labels=y).scores for y in (labels, 1 - labels))
    assert wrong.min() > right.max()
    unconditional = pipeline.anomaly_score(data).scores
    plain, ignored = (pipeline.anomaly_score(data, class_labels=labels, class_weight=w).scores for w in (1.0, 0.0))
    assert torch.allclose(ignored, unconditional) and torch.allclose(
        right, unconditional + 8 * (plain - unconditional), atol=1e-5
    )
    alone = gaussian_pipeline()
    alone._network = lambda x, t, _: network(x, t, labels)
    assert torch.allclose(plain, alone.anomaly_score(data).scores), "the error of the conditional network"
    assert torch.allclose(pipeline.anomaly_score(data).scores[::2], right[::2])
    with pytest.raises(ValueError, match="class_labels"):
        pipeline.anomaly_score(data, class_labels=2)


@pytest.mark.parametrize("strength", [0.05, 0.3, 1.0])
def test_noising_and_denoising_spreads_as_the_closed_form_says(strength):
    """x = MEAN + noise of level sigma is carried by DDIM to MEAN + S sigma / sqrt(S^2 + sigma^2) N(0, 1)."""
    pipeline = gaussian_pipeline()
    x = torch.full((64, 1, 8, 8), MEAN)
    noise = [torch.Generator().manual_seed(i) for i in range(64)]
    options = {"method": "noise", "strength": strength, "num_inference_steps": 200, "output_type": "pt"}
    back = pipeline.reconstruct(x, noise, **options).images * 2 - 1
    a = pipeline.scheduler.alphas_cumprod[round(strength * 999)].item()
    expected = STD * math.sqrt((1 - a) / a / (STD**2 + (1 - a) / a))
    assert back.mean().item() == pytest.approx(MEAN, abs=0.01)
    assert back.std().item() == pytest.approx(expected, rel=0.05)
    assert not torch.equal(back[0], back[1])


@pytest.mark.parametrize("stock", [DDPMPipeline, DDIMPipeline])
def test_unconditional_weights_load_in_stock_diffusers(stock, tmp_path):
    torch.manual_seed(0)
    pipeline = DenoisingDiffusionPipeline.build(8, 1, **{**TINY["ddpm"], "patch_size": 1})
    pipeline.save_pretrained(tmp_path)
    loaded = stock.from_pretrained(tmp_path)
    assert type(loaded) is stock
    for a, b in zip(pipeline.unet.parameters(), loaded.unet.parameters(), strict=True):
        assert torch.equal(a, b)
    loaded.set_progress_bar_config(disable=True)
    images = loaded(2, generator=torch.Generator().manual_seed(0), num_inference_steps=2, output_type="np").images
    assert images.shape == (2, 8, 8, 1)


@pytest.mark.parametrize("patch_size", [1, 2])
def test_a_bare_diffusers_loads_all_tasks_by_the_advice_of_save_config(patch_size, tmp_path):
    """Of an unconditional checkpoint on plain pixels, which names a stock class, and of one that no stock class runs."""
    pipeline = DenoisingDiffusionPipeline.build(8, 1, **{**TINY["ddpm"], "patch_size": patch_size})
    pipeline.save_pretrained(tmp_path / "saved")
    expected = pipeline.reconstruct(torch.zeros(1, 1, 8, 8), num_inference_steps=2, output_type="pt").images
    program = """
import torch
from diffusers import DiffusionPipeline
pipe = DiffusionPipeline.from_pretrained("saved", custom_pipeline="pipeline_ddpm", trust_remote_code=True)
images = pipe.reconstruct(torch.zeros(1, 1, 8, 8), num_inference_steps=2, output_type="pt").images
print(type(pipe).__name__, images.flatten().tolist())
"""
    name, values = run_bare(program, tmp_path).split(maxsplit=1)
    assert name == "DenoisingDiffusionPipeline"
    assert torch.allclose(torch.tensor(json.loads(values)), expected.flatten(), atol=1e-6)


@pytest.fixture
def float64_by_default():
    """Set torch's default dtype to float64, in which a network in float32 gives what it gives otherwise."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


TASKS = {
    **{
        sampler: lambda pipe, x, noise, sampler=sampler: (
            pipe(2, noise, [1, 2], sampler, num_inference_steps=4, output_type="pt").images
        )
        for sampler in typing.get_args(Sampler)
    },
    "inversion": lambda pipe, x, noise: pipe.reconstruct(x, num_inference_steps=4, output_type="pt").images,
    "noise": lambda pipe, x, noise: (
        pipe.reconstruct(x, noise, method="noise", num_inference_steps=4, output_type="pt").images
    ),
    "interpolate": lambda pipe, x, noise: (
        pipe.interpolate(x[:1], x[1:], 3, num_inference_steps=4, output_type="pt").images
    ),
    "anomaly_score": lambda pipe, x, noise: pipe.anomaly_score(x, noise, [1, 2]).scores,
    "loss": lambda pipe, x, noise: pipe.loss({"images": x, "class_labels": torch.tensor([1, 2])}, noise[0])[0],
}


@pytest.mark.parametrize("name", TASKS)
def test_the_default_dtype_of_torch_changes_nothing(name, request):
    torch.manual_seed(0)
    pipeline = DenoisingDiffusionPipeline.build(28, 1, ID2LABEL, **TINY["ddpm"])
    pipeline.unet.eval().requires_grad_(False)
    x = pictures(2)

    def run():
        return TASKS[name](pipeline, x, [torch.Generator().manual_seed(i) for i in range(2)])

    expected = run()
    request.getfixturevalue("float64_by_default")
    result = run()
    assert result.dtype == torch.float32 and torch.allclose(result, expected, atol=1e-5)


def test_the_host_adopts_a_stock_checkpoint(tmp_path, families):
    from genarium.checkpoints import load_pipeline, open_checkpoint

    pipeline = DenoisingDiffusionPipeline.build(8, 1, **{**TINY["ddpm"], "patch_size": 1})
    DDPMPipeline(pipeline.unet, pipeline.scheduler).save_pretrained(tmp_path)
    adopted = load_pipeline(open_checkpoint(tmp_path, families))
    assert isinstance(adopted, DenoisingDiffusionPipeline) and adopted.config.sample_size == 8
    assert adopted.reconstruct(torch.zeros(1, 1, 8, 8), num_inference_steps=2, output_type="np").images.shape == (
        1,
        8,
        8,
        1,
    )


def test_sizes_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="multiple"):
        DenoisingDiffusionPipeline.build(30, 1, patch_size=2, block_out_channels=[8, 8, 8])


def test_step_counts_out_of_range_are_refused():
    with pytest.raises(ValueError, match="num_inference_steps"):
        gaussian_pipeline()(1, num_inference_steps=0)


def test_a_tiny_network_learns_one_picture():
    torch.manual_seed(0)
    pipeline = DenoisingDiffusionPipeline.build(8, 1, **{**TINY["ddpm"], "patch_size": 1})
    x = torch.full((16, 1, 8, 8), -0.5)
    x[:, :, 2:6, 2:6] = 0.5
    optimizer = torch.optim.AdamW(pipeline.unet.parameters(), lr=3e-3)
    losses = []
    for step in range(80):
        loss, _ = pipeline.loss({"images": x, "class_labels": None}, torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-10:]) < 0.3 * sum(losses[:10])
    pipeline.unet.eval()
    image = pipeline(1, torch.Generator().manual_seed(0), num_inference_steps=10, output_type="pt").images * 2 - 1
    assert (image - x[:1]).abs().mean() < 0.25
