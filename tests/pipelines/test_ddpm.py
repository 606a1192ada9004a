"""DDPM / DDIM against closed forms: for Gaussian data the optimal denoiser is known, so every sampler has an answer."""

import math

import pytest
import torch
from conftest import ID2LABEL, TINY
from diffusers import DDIMPipeline, DDPMPipeline

from pipelines.pipeline_ddpm import DenoisingDiffusionPipeline, slerp

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
    noise = pipeline._invert(x, None, timesteps, 3, None, len(timesteps))
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


def test_guidance_is_linear_and_one_is_plain():
    torch.manual_seed(0)
    pipeline = DenoisingDiffusionPipeline.build(28, 1, ID2LABEL, **TINY["ddpm"])
    x, labels = torch.randn(2, 1, 28, 28), torch.tensor([1, 2])
    t = torch.tensor(500)
    with torch.no_grad():
        conditional = pipeline._predict(x, t, labels, 1.0)
        unconditional = pipeline._predict(x, t, labels, 0.0)
        assert torch.allclose(unconditional, pipeline._predict(x, t, None, 3.0), atol=1e-5)
        guided = pipeline._predict(x, t, labels, 3.0)
    assert torch.allclose(guided, unconditional + 3 * (conditional - unconditional), atol=1e-4)


def test_strangers_score_higher_than_the_data():
    pipeline = gaussian_pipeline()
    generator = torch.Generator().manual_seed(0)
    data = MEAN + STD * torch.randn(32, 1, 8, 8, generator=generator)
    strange = -MEAN + 3 * STD * torch.randn(32, 1, 8, 8, generator=generator)
    ordinary, other = pipeline.anomaly_score(data), pipeline.anomaly_score(strange)
    assert other.scores.min() > ordinary.scores.max()
    assert torch.allclose(ordinary.maps.mean(dim=(1, 2)), ordinary.scores, atol=1e-6)
    assert torch.equal(pipeline.anomaly_score(data).scores, ordinary.scores), "a measurement is repeatable"


def test_told_a_class_the_images_of_another_are_strange():
    """Class y is MEAN + y; a network that is told nothing knows the class 0 only."""
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
    untold = pipeline.anomaly_score(data).scores
    plain, ignored = (pipeline.anomaly_score(data, class_labels=labels, class_weight=w).scores for w in (1.0, 0.0))
    assert torch.allclose(ignored, untold) and torch.allclose(right, untold + 8 * (plain - untold), atol=1e-5)
    alone = gaussian_pipeline()
    alone._network = lambda x, t, _: network(x, t, labels)
    assert torch.allclose(plain, alone.anomaly_score(data).scores), "the error of the network that is told"
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


def test_slerp_keeps_ends_and_norm():
    a, b = torch.randn(2, 1, 3, 16, 16)
    path = slerp(a, b, torch.linspace(0, 1, 5))
    assert torch.allclose(path[0], a[0], atol=1e-5) and torch.allclose(path[-1], b[0], atol=1e-5)
    a, b = a / a.norm(), b / b.norm()
    assert torch.allclose(slerp(a, b, torch.linspace(0, 1, 5)).flatten(1).norm(dim=1), torch.ones(5), atol=1e-5)
    assert torch.allclose(slerp(a, a, torch.tensor([0.5])), a, atol=1e-6)


def test_space_to_depth_is_the_same_diffusion():
    """patch_size only permutes pixels: noise and schedules act alike on both forms."""
    plain = DenoisingDiffusionPipeline.build(
        8, 1, block_out_channels=[8, 16], norm_num_groups=8, attention_head_dim=16, layers_per_block=1, patch_size=2
    )
    seen = []
    plain.unet.forward = lambda x, t, class_labels=None: type("Output", (), {"sample": seen.append(x) or x})
    x = torch.randn(2, 1, 8, 8)
    assert torch.equal(plain._network(x, 0, None), x) and seen[0].shape == (2, 4, 4, 4)


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
