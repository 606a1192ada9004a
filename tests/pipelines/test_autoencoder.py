"""Auto-encoders against closed forms: a linear one finds the principal components, noise has its known moments."""

import math

import pytest
import torch
from conftest import ID2LABEL, pictures

from pipelines.corruption import KINDS, corrupt
from pipelines.modeling_autoencoder import AutoencoderModel
from pipelines.pipeline_autoencoder import AutoencoderPipeline


def tiny(**options):
    torch.manual_seed(0)
    sizes = {"code_dim": 3, "block_out_channels": [4, 4], "mixture_components": 2}
    return AutoencoderPipeline.build(28, 1, options.pop("id2label", ID2LABEL), **{**sizes, **options})


def fitted(number=40, **options):
    pipeline = tiny(**options)
    pipeline.fit([{"images": pictures(number), "class_labels": torch.arange(number) % 10}])
    return pipeline


def seeded(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def test_a_linear_auto_encoder_finds_the_subspace_of_the_principal_components():
    torch.manual_seed(0)
    scales = torch.tensor([3.0, 2.0, 1.5, *[0.1] * 13]) / 10
    basis = torch.linalg.qr(torch.randn(16, 16)).Q
    x = (torch.randn(2000, 16) * scales) @ basis.T
    x = x - x.mean(0)
    pipeline = AutoencoderPipeline.build(
        4, 1, network="fully_connected", hidden_sizes=[], code_dim=3, bounded=False, mixture_components=0
    )
    optimizer = torch.optim.LBFGS(
        pipeline.autoencoder.parameters(), max_iter=400, tolerance_change=1e-12, line_search_fn="strong_wolfe"
    )

    def closure():
        optimizer.zero_grad()
        loss = 1000 * pipeline.loss({"images": x.reshape(-1, 1, 4, 4)})[0]
        loss.backward()
        return loss

    optimizer.step(closure)
    loss = closure() / 1000
    axes = torch.linalg.svd(x, full_matrices=False).Vh[:3]  # [3, 16]
    rest = ((x - x @ axes.T @ axes) / 2).square().mean()  # what three principal components leave
    assert loss.item() == pytest.approx(rest.item(), rel=0.02)
    found = torch.linalg.qr(pipeline.autoencoder.decoder[0].weight.detach()).Q  # [16, 3]
    assert torch.linalg.svdvals(axes @ found).min() > 0.99  # cosines of the angles between the two subspaces


@pytest.mark.parametrize("level", [0.1, 0.4])
def test_noise_has_its_moments(level):
    torch.manual_seed(0)
    x, normal = torch.full((4, 1, 100, 100), 0.2), torch.randn(4, 1, 100, 100)
    gaussian = corrupt(x, "gaussian", level, normal) - x
    assert gaussian.mean().abs() < 0.02 and gaussian.std().item() == pytest.approx(2 * level, rel=0.02)
    masked = corrupt(x, "masking", level, normal)
    assert (masked == -1).float().mean().item() == pytest.approx(level, abs=0.01)
    assert ((masked == -1) | (masked == x)).all()
    salted = corrupt(x, "salt_and_pepper", level, normal)
    for value in (-1, 1):
        assert (salted == value).float().mean().item() == pytest.approx(level / 2, abs=0.01)
    for kind in KINDS:
        assert torch.equal(corrupt(x, kind, 0.0, normal), x)
    with pytest.raises(ValueError, match="noise: choose 'gaussian'"):
        corrupt(x, "rain", level, normal)


def test_the_loss_is_the_distance_to_the_clean_picture():
    pipeline = tiny(noise=["masking"], noise_levels=[1.0, 1.0])
    x = pictures(4)
    black = pipeline.autoencoder.decode(pipeline.autoencoder.encode(torch.full_like(x, -1.0)))
    loss, parts = pipeline.loss({"images": x}, torch.Generator().manual_seed(0))
    assert torch.allclose(loss, ((x - black) / 2).square().mean(), atol=1e-6)
    assert parts["squared_error"].item() == pytest.approx(784 * loss.item(), rel=1e-4)
    cross = tiny(reconstruction_loss="cross_entropy", noise=["masking"], noise_levels=[1.0, 1.0])
    p, q = (x / 2 + 0.5).double(), (black / 2 + 0.5).double()
    expected = -(p * q.log() + (1 - p) * (1 - q).log()).mean()
    loss, _ = cross.loss({"images": x}, torch.Generator().manual_seed(0))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)


def test_the_distance_of_codes_is_mahalanobis():
    torch.manual_seed(0)
    model = AutoencoderModel(28, 1, code_dim=3, block_out_channels=(4, 4), num_classes=1)
    z = torch.randn(5000, 3, dtype=torch.float64) @ torch.tensor([[2.0, 0, 0], [1, 1, 0], [0, 0.5, 3]]).double() + 5
    model.set_gaussian(-1, z)
    rows = torch.full((len(z),), 1)
    assert model.code_distance(z, rows).mean().item() == pytest.approx(1, abs=0.06)  # the covariance is shrunk a little
    covariance = model.code_cholesky[1].double() @ model.code_cholesky[1].double().T
    diff = z[:7] - z.mean(0)
    exact = (diff @ torch.linalg.inv(covariance) * diff).sum(1) / 3
    assert torch.allclose(model.code_distance(z[:7], rows[:7]).double(), exact, rtol=1e-4)


@torch.no_grad()
def test_priors_follow_what_fit_measured():
    pipeline = fitted()
    model, codes = pipeline.autoencoder, pipeline.encode(pictures(40))
    drawn = pipeline._draw_codes("box", 1.0, None, 200, torch.Generator().manual_seed(0))
    assert (drawn >= codes.amin(0) - 1e-5).all() and (drawn <= codes.amax(0) + 1e-5).all()
    wide = (drawn.amax(0) - drawn.amin(0)) / (codes.amax(0) - codes.amin(0))
    assert (wide > 0.9).all()
    labels = torch.full((4000,), 3)
    drawn = pipeline._draw_codes("gaussian", 1.0, labels, 4000, torch.Generator().manual_seed(0))
    error = (drawn.mean(0) - model.code_means[3]).abs() / drawn.std(0)
    assert (error < 5 / math.sqrt(4000)).all()
    still = pipeline._draw_codes("gaussian", 0.0, labels[:2], 2, seeded(0, 1))
    assert torch.equal(still, model.code_means[[3, 3]])


@torch.no_grad()
def test_before_fit_the_codes_are_standard():
    pipeline = tiny()
    drawn = pipeline._draw_codes("mixture", 1.0, None, 4000, torch.Generator().manual_seed(0))
    assert torch.allclose(drawn.mean(0), torch.zeros(3), atol=0.1) and torch.allclose(
        drawn.std(0), torch.ones(3), atol=0.1
    )
    drawn = pipeline._draw_codes("box", 1.0, None, 400, torch.Generator().manual_seed(0))
    assert drawn.abs().max() <= 1 and drawn.abs().max() > 0.9


@torch.no_grad()
def test_the_score_is_that_of_its_parts():
    pipeline = fitted()
    x = pictures(4)
    both = pipeline.anomaly_score(x)
    error = pipeline.anomaly_score(x, score="reconstruction").scores.log()
    code = pipeline.anomaly_score(x, score="code").scores.log()
    (mean_e, std_e), (mean_c, std_c) = pipeline.config.calibration["error"], pipeline.config.calibration["code"]
    assert torch.allclose(both.scores, (error - mean_e) / std_e + (code - mean_c) / std_c, atol=1e-4)
    assert both.unit == "standard deviations"
    own = pipeline.anomaly_score(x, class_labels=2, score="code", class_weight=1.0).scores
    rows = torch.full((4,), 2)
    assert torch.allclose(own, pipeline.autoencoder.code_distance(pipeline.encode(x), rows), rtol=1e-4)
    assert torch.allclose(pipeline.anomaly_score(x, class_labels=2, class_weight=0.0).scores, both.scores, atol=1e-5)


@torch.no_grad()
def test_the_chain_reports_each_step_and_depends_on_its_own_seeds():
    pipeline, seen = fitted(), []
    options = {"prior": "chain", "num_inference_steps": 4, "output_type": "pt"}
    images = pipeline(2, seeded(1, 2), callback_on_step_end=lambda *a: seen.append(a[1:3]), **options).images
    assert seen == [(0, 0), (1, 1), (2, 2), (3, 3)]
    alone = pipeline(1, seeded(2), **options).images
    assert torch.allclose(images[1:], alone, atol=1e-5)


@torch.no_grad()
def test_a_denoising_auto_encoder_learns_to_restore():
    pipeline = tiny(noise=["masking"], noise_levels=[0.3, 0.3], code_dim=16, block_out_channels=[8, 16])
    x = pictures(8)
    optimizer = torch.optim.Adam(pipeline.autoencoder.parameters(), 3e-3)
    generator = torch.Generator().manual_seed(0)
    with torch.enable_grad():
        for _ in range(150):
            loss, _ = pipeline.loss({"images": x}, generator)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    noisy = corrupt(x, "masking", 0.3, torch.randn(x.shape, generator=generator))
    restored = pipeline.reconstruct(noisy, output_type="pt").images * 2 - 1
    assert (restored - x).square().mean() < 0.5 * (noisy - x).square().mean()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"noise": ["rain"]}, "noise: choose"),
        ({"network": "recurrent"}, "network: choose"),
        ({"network": "fully_connected", "activation": "step"}, "activation: choose"),
        ({"reconstruction_loss": "hinge"}, "reconstruction_loss: choose"),
        ({"reconstruction_loss": "cross_entropy", "bounded": False}, "needs a decoder with `bounded: true`"),
        ({"block_out_channels": [4, 4, 4]}, "not a multiple"),
    ],
)
def test_what_does_not_fit_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        tiny(**options)
