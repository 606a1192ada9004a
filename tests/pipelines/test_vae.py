"""VAE against closed forms: Gaussian divergences, and a linear-Gaussian model whose log p(x) is known exactly."""

import math

import pytest
import torch
from conftest import ID2LABEL, pictures, run_bare
from torch.distributions import (
    Bernoulli,
    Categorical,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    kl_divergence,
)

from pipelines.interpolation import slerp
from pipelines.modeling_vae import VAEModel
from pipelines.pipeline_vae import VAEPipeline

LATENT = 6


def tiny(num_classes=0, likelihood="learned_gaussian", seed=0, **options):
    """8x8 grey images, six latents, a few thousand weights."""
    torch.manual_seed(seed)
    id2label = {str(i): ID2LABEL[str(i)] for i in range(num_classes)} or None
    options = {"latent_dim": LATENT, "block_out_channels": [8, 8], "mixture_components": 2, **options}
    return VAEPipeline.build(8, 1, id2label, likelihood=likelihood, **options)


def seeded(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def images_8px(number, seed=0):
    return torch.nn.functional.interpolate(pictures(number, seed), size=8)


def fit_by_hand(vae, seed=0):
    """Random mixtures in place of fitted ones -> a torch distribution for each class."""
    generator = torch.Generator().manual_seed(seed)
    groups, k, d = vae.mixture_means.shape
    vae.mixture_weights.copy_(torch.rand(groups, k, generator=generator).softmax(1))
    vae.mixture_means.copy_(3 * torch.randn(groups, k, d, generator=generator))
    lower = 0.3 * torch.randn(groups, k, d, d, generator=generator).tril(-1)
    vae.mixture_cholesky.copy_(lower + torch.diag_embed(0.5 + torch.rand(groups, k, d, generator=generator)))
    return [
        MixtureSameFamily(Categorical(w), MultivariateNormal(m, scale_tril=c))
        for w, m, c in zip(vae.mixture_weights, vae.mixture_means, vae.mixture_cholesky, strict=True)
    ]


# ---- divergences and densities ----


def test_kl_to_the_mean_of_a_class():
    vae = tiny(num_classes=3).vae
    mean, logvar, labels = torch.randn(5, LATENT), torch.randn(5, LATENT), torch.tensor([0, 1, 2, 1, 0])
    q = Normal(mean, (0.5 * logvar).exp())
    exact = kl_divergence(q, Normal(vae.class_means[labels], 1.0)).sum(1)
    assert torch.allclose(vae.kl(mean, logvar, labels), exact, rtol=1e-5)


def test_kl_without_a_class_bounds_the_divergence_to_the_marginal_prior():
    vae = tiny(num_classes=3).vae.requires_grad_(False)
    mean, logvar = torch.randn(4, LATENT), -1 + 0.3 * torch.randn(4, LATENT)
    bound = vae.kl(mean, logvar)
    by_class = torch.stack([vae.kl(mean, logvar, torch.full((4,), y)) for y in range(3)])
    # KL(q(y) || uniform) + sum_y q(y) KL_y at the best q(y)
    q_y = (-by_class).softmax(0)
    assert torch.allclose(bound, (q_y * (by_class + q_y.log() + math.log(3))).sum(0), rtol=1e-4)
    q = Normal(mean, (0.5 * logvar).exp())
    z = q.sample((20000,))  # [S, 4, d]
    log_p = vae.log_prior(z.reshape(-1, LATENT)).reshape(-1, 4)
    marginal = (q.log_prob(z).sum(2) - log_p).mean(0)
    assert (marginal <= bound + 0.05).all() and (by_class.min(0).values + math.log(3) >= bound).all()


def test_kl_without_classes_is_to_the_standard_normal():
    vae = tiny().vae
    mean, logvar = torch.randn(5, LATENT), torch.randn(5, LATENT)
    exact = kl_divergence(Normal(mean, (0.5 * logvar).exp()), Normal(0.0, 1.0)).sum(1)
    assert torch.allclose(vae.kl(mean, logvar), exact, rtol=1e-5)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian", "learned_gaussian"])
def test_log_likelihood_of_pixels(likelihood):
    vae = tiny(likelihood=likelihood, sigma=0.3).vae
    x, z = images_8px(3), torch.randn(3, LATENT)
    out = vae.decode_logits(z)
    if likelihood == "bernoulli":
        exact = Bernoulli(logits=out, validate_args=False).log_prob((x + 1) / 2)
        assert torch.allclose(vae.decode(z), 2 * out.sigmoid() - 1)
    else:
        exact = Normal(out, 0.3).log_prob(x)
        assert torch.equal(vae.decode(z), out)
    assert torch.allclose(vae.log_likelihood_map(x, z), exact, rtol=1e-4, atol=1e-5)
    assert ("log_sigma" in dict(vae.named_parameters())) == (likelihood == "learned_gaussian")


def test_sigma_stops_at_one_grey_level():
    vae = tiny(sigma=1e-6).vae
    assert vae.gaussian_log_sigma().exp().item() == pytest.approx(1 / 127.5)


@pytest.mark.parametrize("mixture", [False, True])
def test_log_prior(mixture):
    vae = tiny(num_classes=3).vae.requires_grad_(False)
    z, labels = torch.randn(5, LATENT), torch.tensor([0, 1, 2, 1, 0])
    if mixture:
        exact = torch.stack([p.log_prob(z) for p in fit_by_hand(vae)], dim=1)
    else:
        exact = Normal(vae.class_means, 1.0).log_prob(z[:, None]).sum(2)
    assert torch.allclose(vae.log_prior(z, labels, mixture), exact.gather(1, labels[:, None])[:, 0], rtol=1e-4)
    assert torch.allclose(vae.log_prior(z, None, mixture), exact.logsumexp(1) - math.log(3), rtol=1e-4)


# ---- the bound against the truth ----


def linear_gaussian(sigma=0.5):
    """x = W z + b + sigma eps with z ~ N(0, I), and the encoder a little off the true posterior."""
    torch.manual_seed(1)
    pipeline = tiny(likelihood="gaussian", sigma=sigma)
    weight, bias = 0.4 * torch.randn(64, LATENT), 0.1 * torch.randn(64)
    decoder = torch.nn.Linear(LATENT, 64)
    decoder.weight.data, decoder.bias.data = weight, bias
    pipeline.vae.decoder = torch.nn.Sequential(decoder, torch.nn.Unflatten(1, (1, 8, 8)))
    precision = torch.eye(LATENT) + weight.T @ weight / sigma**2
    gain = torch.linalg.solve(precision, weight.T) / sigma**2  # E[z | x] = gain (x - b)
    encoder = torch.nn.Linear(64, 2 * LATENT)
    encoder.weight.data = torch.cat([gain, torch.zeros_like(gain)])
    encoder.bias.data = torch.cat([-gain @ bias + 0.05, -precision.diagonal().log()])
    pipeline.vae.encoder = torch.nn.Sequential(torch.nn.Flatten(), encoder)
    exact = MultivariateNormal(bias, weight @ weight.T + sigma**2 * torch.eye(64))
    x = exact.sample((16,))
    return pipeline.to(torch.float32), x.reshape(16, 1, 8, 8), exact.log_prob(x)


def test_elbo_below_iwae_below_log_p():
    pipeline, x, exact = linear_gaussian()
    repeated = x.repeat_interleave(64, 0)
    generator = torch.Generator().manual_seed(0)
    elbo = pipeline.log_likelihood(repeated, generator, num_samples=1).reshape(16, 64).mean(1)
    iwae = pipeline.log_likelihood(repeated, generator, num_samples=8).reshape(16, 64).mean(1)
    many = pipeline.log_likelihood(x, generator, num_samples=3000)
    assert (elbo < iwae).all() and (iwae < exact + 0.05).all()
    assert torch.allclose(many, exact, atol=0.1), (many - exact).abs().max()
    score = -pipeline.anomaly_score(x, seeded(*range(16)), num_samples=64).scores
    assert torch.allclose(score, elbo, atol=1.0) and (score < exact + 0.5).all()


def test_given_a_class_the_score_counts_it_by_its_weight():
    pipeline = tiny(num_classes=10)
    x, labels = images_8px(6), torch.arange(6)
    pipeline.vae.class_means.data.normal_(generator=torch.Generator().manual_seed(0))
    mean, logvar = pipeline.vae.encode(x)
    with torch.no_grad():
        unconditional, conditional = pipeline.vae.kl(mean, logvar), pipeline.vae.kl(mean, logvar, labels)
    scores = pipeline.anomaly_score(x).scores
    for weight in (0.0, 1.0, 30.0):
        expected = scores + weight * (conditional - unconditional)
        assert torch.allclose(
            pipeline.anomaly_score(x, class_labels=labels, class_weight=weight).scores, expected, rtol=1e-4
        )
    best = (pipeline.vae.class_means[None] - mean[:, None]).square().sum(2).argmin(1)
    others = pipeline.anomaly_score(x, class_labels=(best + 1) % 10).scores
    assert (pipeline.anomaly_score(x, class_labels=best).scores < others).all()
    parts = (pipeline.anomaly_score(x, class_labels=y, score="reconstruction").scores for y in (None, labels))
    assert torch.equal(*parts), "it knows no class"


def test_training_loss_is_the_elbo():
    pipeline, x, _ = linear_gaussian()
    batch = {"images": x, "class_labels": None}
    loss, parts = pipeline.loss(batch, torch.Generator().manual_seed(0))
    assert loss.item() == pytest.approx((parts["reconstruction"] + parts["kl"]).item() / 64, rel=1e-5)
    draws = [pipeline.loss(batch, torch.Generator().manual_seed(s))[0].item() * 64 for s in range(64)]
    scores = pipeline.anomaly_score(x, seeded(*range(16)), num_samples=64).scores
    assert sum(draws) / 64 == pytest.approx(scores.mean().item(), abs=0.3)


def test_kl_is_annealed_and_weighted():
    pipeline = tiny(beta=0.5, kl_annealing=0.2)
    batch = {"images": images_8px(4), "class_labels": None}
    weights = [pipeline.loss(batch, progress=p)[1]["kl_weight"].item() for p in (0.0, 0.1, 0.2, 1.0)]
    assert weights == pytest.approx([0.0, 0.25, 0.5, 0.5])


def test_posterior_draws_have_its_moments():
    pipeline = tiny()
    x = images_8px(1)
    mean, logvar = pipeline.vae.encode(x)
    z = pipeline.encode(x.expand(20000, -1, -1, -1), torch.Generator().manual_seed(0), sample=True)
    assert torch.allclose(z.mean(0), mean[0], atol=0.05)
    assert torch.allclose(z.var(0).log(), logvar[0], atol=0.05)


# ---- priors ----


def test_mixture_sampler_has_the_mixture_s_moments():
    vae = tiny(num_classes=2).vae.requires_grad_(False)
    exact = fit_by_hand(vae)
    noise = torch.randn(50000, LATENT + 2, generator=torch.Generator().manual_seed(0))
    for y, p in enumerate(exact):
        z = vae.sample_prior(noise, torch.full((50000,), y), mixture=True)
        spread = (p.component_distribution.mean - p.mean)[:, :, None]
        weights = p.mixture_distribution.probs[:, None, None]
        covariance = (weights * (p.component_distribution.covariance_matrix + spread @ spread.mT)).sum(0)
        assert torch.allclose(z.mean(0), p.mean, atol=0.1)
        assert torch.allclose(z.T.cov(), covariance, atol=0.04 * covariance.abs().max())
    cold = vae.sample_prior(noise[:100], torch.zeros(100, dtype=torch.int64), mixture=True, scale=0.0)
    assert (torch.cdist(cold, vae.mixture_means[0]).min(1).values < 0.01).all(), "temperature 0 gives the means"


def test_fit_finds_the_latents_of_each_class():
    pipeline = tiny(num_classes=2)
    x = torch.cat([images_8px(60, 1), images_8px(60, 2).sign()])
    labels = torch.arange(2).repeat_interleave(60)
    assert not pipeline.vae.is_fitted
    pipeline.fit({"images": a, "class_labels": y} for a, y in zip(x.split(50), labels.split(50), strict=True))
    assert pipeline.vae.is_fitted
    assert torch.allclose(pipeline.vae.mixture_weights.sum(1), torch.ones(2))
    z = pipeline.encode(x, torch.Generator().manual_seed(0), sample=True)
    for y in range(2):
        mean = (pipeline.vae.mixture_weights[y][:, None] * pipeline.vae.mixture_means[y]).sum(0)
        assert torch.allclose(mean, z[labels == y].mean(0), atol=0.5)


@pytest.mark.parametrize("prior", ["standard", "mixture"])
def test_the_label_chooses_the_mean(prior):
    pipeline = tiny(num_classes=3)
    if prior == "mixture":
        fit_by_hand(pipeline.vae)
    cold = pipeline(3, seeded(0, 1, 2), [2, 0, 1], prior="standard", temperature=0.0, output_type="pt").images
    assert torch.allclose(
        cold, pipeline.decode(pipeline.vae.class_means[[2, 0, 1]], output_type="pt").images, atol=1e-5
    )
    images = pipeline(4, seeded(0, 1, 2, 3), prior=prior, output_type="pt").images  # each draws its own class
    for i in range(4):
        alone = pipeline(1, seeded(i), prior=prior, output_type="pt").images
        assert torch.allclose(images[i : i + 1], alone, atol=1e-5)


def test_classes_drawn_by_the_generator_are_uniform():
    vae = tiny(num_classes=3).vae.requires_grad_(False)
    noise = torch.randn(6000, LATENT + 2, generator=torch.Generator().manual_seed(0))
    z = vae.sample_prior(noise, scale=0.0)
    counts = torch.bincount(torch.cdist(z, vae.class_means).argmin(1), minlength=3)
    assert (counts - 2000).abs().max() < 150


def test_an_unfitted_mixture_falls_back_to_the_standard_prior_but_has_no_density():
    pipeline = tiny(num_classes=3)
    a, b = (pipeline(2, seeded(0, 1), [0, 1], prior=p, output_type="pt").images for p in ("mixture", "standard"))
    assert torch.equal(a, b)
    with pytest.raises(ValueError, match="prior"):
        pipeline.log_likelihood(images_8px(1), prior="mixture")


# ---- the tasks ----


def test_slerp():
    a, b = torch.tensor([3.0, 0.0, 0.0]), torch.tensor([0.0, 3.0, 0.0])
    path = slerp(a, b, torch.linspace(0, 1, 5))
    assert torch.allclose(path[0], a, atol=1e-6) and torch.allclose(path[-1], b, atol=1e-6)
    assert torch.allclose(path.norm(dim=1), torch.full((5,), 3.0))
    assert torch.allclose(path[2], (a + b) / 2**0.5)
    assert torch.allclose(slerp(a, 2 * a, torch.tensor([0.5]))[0], 1.5 * a), "parallel: a line"


@pytest.mark.parametrize("mode", ["slerp", "lerp"])
def test_interpolation_begins_and_ends_with_the_reconstructions(mode):
    pipeline = tiny(num_classes=3)
    x = images_8px(2)
    frames = pipeline.interpolate(x[0], x[1], 5, mode=mode, output_type="pt").images
    ends = pipeline.reconstruct(x, output_type="pt").images
    assert frames.shape == (5, 1, 8, 8)
    assert torch.allclose(frames[[0, -1]], ends, atol=1e-5)


@pytest.mark.parametrize("likelihood", ["bernoulli", "learned_gaussian"])
def test_the_map_sums_to_the_score(likelihood):
    pipeline = tiny(num_classes=3, likelihood=likelihood)
    x = images_8px(4)
    restored = pipeline.anomaly_score(x, seeded(*range(4)), score="reconstruction")
    assert restored.maps.shape == (4, 8, 8) and (restored.maps >= 0).all() and restored.unit == "nats"
    assert torch.allclose(restored.maps.sum((1, 2)), restored.scores)
    elbo = pipeline.anomaly_score(x, seeded(*range(4)))
    constant = 0.0 if likelihood == "bernoulli" else 64 * (math.log(0.2) + 0.5 * math.log(2 * math.pi))
    kl = pipeline.vae.kl(*pipeline.vae.encode(x))
    assert torch.equal(elbo.maps, restored.maps)
    assert torch.allclose(elbo.scores, restored.scores + constant + kl, rtol=1e-4)
    assert torch.equal(pipeline.anomaly_score(x).scores, pipeline.anomaly_score(x).scores), "a measurement"
    with pytest.raises(ValueError, match="score"):
        pipeline.anomaly_score(x, score="default")


def test_build_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="multiple of 8"):
        VAEModel(sample_size=28, block_out_channels=(8, 8, 8))
    with pytest.raises(ValueError, match="likelihood"):
        VAEModel(likelihood="laplace")
    with pytest.raises(TypeError):
        VAEPipeline.build(28, 1, latent_size=3)


def test_a_few_steps_of_training_lower_the_loss():
    pipeline = tiny(num_classes=2)
    batch = {"images": images_8px(16), "class_labels": torch.arange(16) % 2}
    optimizer = torch.optim.Adam(pipeline.vae.parameters(), lr=3e-3)
    losses = []
    for step in range(60):
        loss, _ = pipeline.loss(batch, torch.Generator().manual_seed(step))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert pipeline.vae.class_means.grad is None and pipeline.vae.log_sigma.exp() != 0.2


def test_a_fitted_checkpoint_loads_in_a_bare_diffusers_bit_for_bit(tmp_path):
    pipeline = tiny(num_classes=3)
    fit_by_hand(pipeline.vae)
    pipeline.save_pretrained(tmp_path / "vae")
    torch.save(pipeline(3, seeded(0, 1, 2), output_type="pt").images, tmp_path / "images.pt")
    program = f"""
import torch
from diffusers import DiffusionPipeline
torch.set_num_threads({torch.get_num_threads()})
pipe = DiffusionPipeline.from_pretrained("vae", trust_remote_code=True)
images = pipe(3, [torch.Generator().manual_seed(i) for i in range(3)], output_type="pt").images
assert pipe.vae.is_fitted and torch.equal(images, torch.load("images.pt"))
"""
    run_bare(program, tmp_path)
    half = pipeline.to(torch.bfloat16)
    assert half.vae.mixture_cholesky.dtype == torch.bfloat16 and half.vae.is_fitted
    assert torch.isfinite(half(3, seeded(0, 1, 2), output_type="pt").images).all()
    assert torch.isfinite(half.anomaly_score(images_8px(2)).scores).all()


@torch.no_grad()
@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_a_class_smaller_than_the_mixture_is_fitted_with_fewer_components(number):
    torch.manual_seed(0)
    pipeline = VAEPipeline.build(
        28, 1, {"0": "a", "1": "b"}, latent_dim=3, block_out_channels=[4, 4], mixture_components=4
    )
    labels = torch.tensor([0] * 12 + [1] * number + [-1] * 3)
    pipeline.fit([{"images": pictures(len(labels)), "class_labels": labels}])
    assert (pipeline.vae.mixture_weights[1] > 0).sum() == max(1, number)
    assert torch.allclose(pipeline.vae.mixture_weights.sum(1), torch.ones(2))
    of_class = {"class_labels": [1] * 8, "generator": torch.Generator().manual_seed(0)}
    assert torch.isfinite(pipeline(8, output_type="pt", **of_class).images).all()
    assert torch.isfinite(pipeline.log_likelihood(pictures(8), prior="mixture", num_samples=2, **of_class)).all()


def test_images_without_class_have_the_prior_of_any_class():
    torch.manual_seed(0)
    pipeline = VAEPipeline.build(28, 1, {"0": "a", "1": "b"}, latent_dim=3, block_out_channels=[4, 4])
    mean, logvar = torch.randn(3, 3), torch.randn(3, 3)
    mixed = pipeline.vae.kl(mean, logvar, torch.tensor([1, -1, 0]))
    assert torch.equal(mixed[1], pipeline.vae.kl(mean, logvar)[1])
    assert torch.equal(mixed[[0, 2]], pipeline.vae.kl(mean, logvar, torch.tensor([1, 0, 0]))[[0, 2]])
