"""Normalizing flows: log-determinants against autograd's Jacobian, inverses, known densities, causality and guidance."""

import math

import pytest
import torch
from conftest import ID2LABEL, pictures
from torch import nn

from pipelines.flow_layers import (
    LEVEL,
    ActNorm,
    EdgeSpline,
    Invertible1x1,
    bounded,
    guided_affine,
    known_labels,
    log_normal_map,
    squeeze,
    unsqueeze,
)
from pipelines.modeling_normalizing_flow import AffineCoupling, CouplingFlowModel
from pipelines.modeling_tarflow import CausalBlock, TarFlowModel
from pipelines.pipeline_normalizing_flow import NormalizingFlowPipeline
from plugins.normalizing_flow.plane import PointFlow

COUPLING = {"steps": (2, 2), "hidden": 8}
TARFLOW = {"patch_size": 2, "width": 8, "num_blocks": 3, "layers_per_block": 2, "num_heads": 2}
CLASSES = {str(i): f"class {i}" for i in range(3)}
NETWORKS = {"coupling": COUPLING, "tarflow": TARFLOW}


def disturbed(module, std=0.15, seed=0):
    """A module none of whose parts is the identity that it starts as."""
    generator = torch.Generator().manual_seed(seed)
    for p in module.parameters():
        p.data += std * torch.randn(p.shape, generator=generator)
    return module.eval().requires_grad_(False)


def model(network, size=4, channels=1, num_classes=3, **options):
    torch.manual_seed(0)
    kind = {"coupling": CouplingFlowModel, "tarflow": TarFlowModel}[network]
    return disturbed(kind(size, channels, num_classes, **(NETWORKS[network] | options)))


def tiny(network, **options):
    torch.manual_seed(0)
    pipeline = NormalizingFlowPipeline.build(8, 1, CLASSES, network=network, **NETWORKS[network], **options)
    disturbed(pipeline.flow)
    return pipeline


def small_pictures(number, size=8, seed=0):
    return pictures(number, seed)[:, :, 10 : 10 + size, 10 : 10 + size].contiguous()


def log_det_of(function, x):
    """log |det df/dx| of one image x [1, ...], by autograd's Jacobian."""
    jacobian = torch.autograd.functional.jacobian(function, x)
    return torch.linalg.slogdet(jacobian.reshape(x.numel(), x.numel()).double()).logabsdet.item()


# ---- log-determinants and inverses ----


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("spline", [False, True])
def test_the_log_determinant_is_that_of_the_jacobian(network, spline):
    flow, x = model(network, edge_spline=spline), small_pictures(3, 4)
    labels = torch.tensor([0, 2, -1])
    z, maps = flow(x, labels)
    assert z.shape == x.shape and maps.shape[1:] == x.shape
    for i in range(3):
        expected = log_det_of(lambda x, i=i: flow(x, labels[i : i + 1])[0], x[i : i + 1])
        assert maps[:, i].sum().item() == pytest.approx(expected, abs=2e-3)
        assert abs(expected) > 0.1, "a volume that does not change tests nothing"


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (lambda: ActNorm(3), (3, 2, 2)),
        (lambda: Invertible1x1(3), (3, 2, 2)),
        (lambda: EdgeSpline(), (1, 3, 3)),
    ],
)
def test_the_map_of_a_layer_sums_to_its_log_determinant(layer, shape):
    torch.manual_seed(0)
    layer = disturbed(layer())
    x = torch.rand(2, *shape) * 1.6 - 0.8
    z, found = layer(x)
    assert found.shape == x.shape and torch.allclose(layer.inverse(z), x, atol=1e-5)
    for i in range(2):
        expected = log_det_of(lambda x: layer(x)[0], x[i : i + 1])
        assert found[i].sum().item() == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("size", [4, 8])
def test_the_inverse_gives_the_images_back(network, size):
    flow, x = model(network, size), small_pictures(4, size)
    labels = torch.tensor([0, 1, 2, -1])
    z = flow(x, labels)[0]
    seen = []
    again = flow.inverse(z, labels, after_step=lambda step, picture: seen.append((step, picture())))
    assert torch.allclose(again, x, atol=1e-4)
    assert not torch.allclose(z, x, atol=0.1), "the identity tests nothing"
    assert [step for step, _ in seen] == list(range(flow.number_of_steps))
    assert torch.allclose(seen[-1][1], x, atol=1e-4) and not torch.allclose(seen[0][1], x, atol=1e-2)


def test_squeezing_is_a_permutation():
    x = torch.arange(32.0).reshape(1, 2, 4, 4)
    assert torch.equal(unsqueeze(squeeze(x)), x) and squeeze(x).shape == (1, 8, 2, 2)
    assert squeeze(x)[0, :4, 0, 0].tolist() == [0, 1, 4, 5], "a square of the first channel at one place"


def test_half_of_the_channels_leaves_after_the_first_scale():
    """The last coupling of the first scale changes the half that leaves only, and no step of the second scale changes it."""
    flow, x = model("coupling", 8, edge_spline=False), torch.randn(1, 1, 8, 8)
    before = squeeze(flow(x)[0])
    for p in flow.scales[1].parameters():
        p.data += 0.1
    after = squeeze(flow(x)[0])
    assert torch.equal(before[:, 2:], after[:, 2:]), "what left knows nothing of the second scale"
    assert not torch.allclose(before[:, :2], after[:, :2], atol=1e-2)
    flow.scales[0][-1].coupling.last.bias.data += 0.3
    moved = squeeze(flow(x)[0])
    assert torch.equal(moved[:, :2], after[:, :2]) and not torch.allclose(moved[:, 2:], after[:, 2:], atol=1e-2)


def test_the_couplings_of_points_and_the_point_of_each_step():
    torch.manual_seed(0)
    flow, x = disturbed(PointFlow(3, 8), 0.3), torch.randn(2, 2, 1, 1)
    z, maps = flow(x)
    for i in range(2):
        expected = log_det_of(lambda x: flow(x)[0], x[i : i + 1])
        assert maps[:, i].sum().item() == pytest.approx(expected, abs=1e-4) and abs(expected) > 0.01
    seen = []
    assert torch.allclose(flow.inverse(z, after_step=lambda step, picture: seen.append(picture())), x, atol=1e-5)
    assert len(seen) == flow.number_of_steps == 3 and torch.allclose(seen[-1], x, atol=1e-5)
    first = flow.networks[0]
    shift, _ = flow._affine(first, x[:, 0, 0])
    assert torch.allclose(seen[1][:, 0], x[:, 0], atol=1e-5) and shift.any(), (
        "before the first coupling is undone, x_1 is there already"
    )


# ---- the spline ----


def test_the_spline_makes_about_a_gaussian_of_the_darkest_level():
    spline = EdgeSpline()
    x = -1 + (torch.rand(20000, generator=torch.Generator().manual_seed(0)) - 0.5) * LEVEL
    z, log_slope = spline(x)
    z = (z - z.mean()) / z.std()
    assert abs((z**3).mean()) < 0.15 and 2.3 < (z**4).mean() < 3.1, "skewness 0 and kurtosis 3; a box has 1.8"
    # the entropy of the box, and what a Gaussian with the variance of the result says of it
    gain = (log_slope.mean() - (spline(x)[0].std().log() + 0.5 * math.log(2 * math.pi * math.e))).item()
    box = -0.5 * math.log(2 * math.pi * math.e / 12) - math.log(LEVEL)
    assert gain > box + 0.08, "the cost of a box against a Gaussian is 0.18 nats"


def test_the_spline_is_monotone_and_goes_on_beyond_its_ends():
    spline = disturbed(EdgeSpline(), 0.5)
    x = torch.cat([torch.linspace(-4, 4, 4001), -1 + torch.linspace(-LEVEL, LEVEL, 401)]).sort().values
    z, log_slope = spline(x)
    assert (z.diff() >= 0).all() and torch.isfinite(log_slope).all()
    assert torch.allclose(spline.inverse(z), x, atol=1e-4)
    step = 1e-4
    middle = torch.linspace(-0.9, 0.9, 50)
    slope = (spline(middle.double() + step)[0] - spline(middle.double() - step)[0]) / (2 * step)
    assert torch.allclose(slope.log().float(), spline(middle)[1], atol=0.05)


# ---- bounds ----


def test_no_log_scale_leaves_its_bound():
    values = torch.tensor([-1e9, -1.0, 0.0, 0.01, 1e9])
    found = bounded(values, 2.0)
    assert found.abs().max() <= 2.0 and found[3] == pytest.approx(0.01, abs=1e-5)
    for network in NETWORKS:
        flow = model(network, 4, edge_spline=False)
        for p in flow.parameters():
            if p.ndim > 1:
                p.data *= 20
        z = 3 * torch.randn(4, 1, 4, 4, generator=torch.Generator().manual_seed(0))
        x = flow.inverse(z, torch.tensor([0, 1, 2, -1]), 6.0)
        assert torch.isfinite(x).all()


def test_guidance_is_a_line_from_without_class_to_the_class():
    given, without = (torch.tensor([1.0, 2.0]), torch.tensor([0.5, -0.5])), (torch.zeros(2), torch.zeros(2))
    for scale in (0.0, 1.0, 2.0):
        shift, log_scale = guided_affine(given, without, scale, 4.0)
        assert torch.allclose(shift, scale * given[0]) and torch.allclose(log_scale, scale * given[1])
    assert guided_affine(given, without, 50.0, 4.0)[1].abs().max() == 4.0


@pytest.mark.parametrize("network", NETWORKS)
def test_guidance_of_one_is_the_class_and_of_nothing_is_no_class(network):
    flow, z = model(network, 4), torch.randn(3, 1, 4, 4)
    labels = torch.tensor([0, 1, 2])
    assert torch.allclose(flow.inverse(z, labels, 1.0), flow.inverse(z, labels), atol=1e-5)
    nothing = flow.inverse(z, None)
    assert torch.allclose(flow.inverse(z, labels, 1e-7), nothing, atol=1e-4)
    assert torch.allclose(nothing, flow.inverse(z, torch.full((3,), -1)), atol=1e-6)
    assert (flow.inverse(z, labels, 3.0) - nothing).abs().max() > 1e-3


# ---- TarFlow ----


@pytest.mark.parametrize("order", range(3))
def test_no_patch_sees_itself_or_a_later_one(order):
    flow = model("tarflow", 8)
    tokens = torch.randn(1, 16, 4)
    labels = torch.tensor([1])

    def log_scales(tokens):
        return flow.blocks[order](tokens, labels)[1]

    jacobian = torch.autograd.functional.jacobian(log_scales, tokens)[0, :, :, 0].abs().amax((1, 3))  # [T, T]
    assert not jacobian.triu().any(), "entry t, s: how patch s moves what is done to patch t"
    assert (jacobian[torch.tril_indices(16, 16, -1).unbind()] > 0).all(), "every earlier patch is seen"


def test_patches_of_every_second_block_are_reversed_and_shifted():
    flow, x = model("tarflow", 8), torch.arange(64.0).reshape(1, 1, 8, 8)
    first, second = flow._to_tokens(x, 0), flow._to_tokens(x, 1)
    assert first[0, 0].tolist() == [0, 1, 8, 9] and second[0, -1].tolist() == [9, 10, 17, 18]
    for index in range(2):
        assert torch.equal(flow._to_picture(flow._to_tokens(x, index), index), x)


def test_a_step_with_kept_keys_computes_what_all_at_once_computes():
    torch.manual_seed(0)
    block = disturbed(CausalBlock(4, (1, 2, 4), 9, 3, 8, 2, 2, 4, 3.0))
    x, labels = torch.randn(2, 9, 4), torch.tensor([0, 3])
    z = block(x, labels)[0]
    seen = []
    found = block.inverse(z, labels, 1.0, lambda t, x: seen.append((t, x.clone())))
    assert torch.allclose(found, x, atol=1e-4)
    assert [t for t, _ in seen] == list(range(9)) and torch.allclose(seen[4][1][:, :5], x[:, :5], atol=1e-4)
    assert not seen[4][1][:, 5:].any()


# ---- couplings ----


def test_actnorm_normalises_its_first_batch_and_then_stays():
    norm = ActNorm(2).train()
    x = torch.randn(64, 2, 4, 4) * torch.tensor([3.0, 0.5])[:, None, None] + 2
    z, _ = norm(x)
    assert torch.allclose(z.mean((0, 2, 3)), torch.zeros(2), atol=1e-4)
    assert torch.allclose(z.std((0, 2, 3), correction=0), torch.ones(2), atol=1e-3)
    again = norm(x + 1)[0]
    assert again.mean() > 0.2, "the second batch sets nothing"
    untouched = ActNorm(2).eval()
    untouched(x)
    assert not untouched.is_set.any() and not untouched.shift.any()


def test_a_coupling_keeps_its_first_half():
    torch.manual_seed(0)
    coupling = disturbed(AffineCoupling(4, 3, 8, 3, 2.0))
    x = torch.randn(2, 4, 3, 3)
    z, found = coupling(x, torch.tensor([0, 1]))
    assert torch.equal(z[:, :2], x[:, :2]) and not torch.allclose(z[:, 2:], x[:, 2:])
    assert not found[:, :2].any()


def test_labels_below_zero_are_no_class():
    assert known_labels(torch.tensor([2, -1]), 2, 3, "cpu").tolist() == [2, 3]
    assert known_labels(None, 2, 3, "cpu").tolist() == [3, 3] and known_labels(None, 2, 0, "cpu") is None


# ---- densities ----


class Linear(nn.Module):
    """z = (x - m) / s: the flow of a Gaussian, whose density is known."""

    def __init__(self, mean, std):
        super().__init__()
        self.mean, self.std = mean, std

    def forward(self, x, labels=None):
        return (x - self.mean) / self.std, torch.full_like(x, -math.log(self.std))[None]


def test_the_likelihood_of_a_gaussian_is_its_closed_form():
    pipeline, x = tiny("coupling"), small_pictures(3)
    pipeline.flow.forward = Linear(0.2, 0.5).forward
    found = pipeline.log_likelihood(x, dequantize=False)
    expected = torch.distributions.Normal(0.2, 0.5).log_prob(x).sum((1, 2, 3))
    assert torch.allclose(found, expected, rtol=1e-5)
    assert torch.allclose(pipeline._score(x, None), (0.2 - x) / 0.25, atol=1e-4)


def test_a_trained_flow_finds_the_entropy_of_gaussian_data():
    """Correlated Gaussians of the plane: -E log p of the fitted flow is the entropy, log(2 pi e) + log det / 2."""
    torch.manual_seed(0)
    mix = torch.tensor([[0.6, 0.0], [0.5, 0.2]])
    options = {"steps": (3,), "hidden": 8, "kernel_size": 1, "edge_spline": False, "dequantize": False}
    pipeline = NormalizingFlowPipeline.build(1, 2, network="coupling", **options)
    optimizer = torch.optim.Adam(pipeline.flow.train().parameters(), lr=1e-2)
    for _ in range(200):
        x = (torch.randn(256, 2) @ mix.T)[:, :, None, None]
        loss, _ = pipeline.loss({"images": x})
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    pipeline.flow.eval()
    x = (torch.randn(4000, 2) @ mix.T)[:, :, None, None]
    entropy = math.log(2 * math.pi * math.e) + torch.linalg.slogdet(mix).logabsdet.item()
    assert -pipeline.log_likelihood(x, dequantize=False).mean().item() == pytest.approx(entropy, abs=0.06)
    exact = torch.distributions.MultivariateNormal(torch.zeros(2), mix @ mix.T).log_prob(x[:, :, 0, 0])
    assert (pipeline.log_likelihood(x, dequantize=False) - exact).abs().mean() < 0.1


@pytest.mark.parametrize("network", NETWORKS)
def test_the_density_integrates_to_one(network):
    """Of pictures of one pixel with two channels, over a grid of the plane."""
    options = {"coupling": {"steps": (3,), "hidden": 8, "kernel_size": 1}, "tarflow": TARFLOW | {"patch_size": 1}}
    torch.manual_seed(0)
    pipeline = NormalizingFlowPipeline.build(
        1, 2, network=network, edge_spline=False, dequantize=False, **options[network]
    )
    disturbed(pipeline.flow, 0.1)
    side = torch.linspace(-9, 9, 241)
    grid = torch.cartesian_prod(side, side)[:, :, None, None]
    log_p = pipeline.log_likelihood(grid, dequantize=False).double()
    assert (log_p.exp().sum() * (side[1] - side[0]) ** 2).item() == pytest.approx(1, abs=0.02)


# ---- the tasks ----


@pytest.mark.parametrize("network", NETWORKS)
def test_a_reconstruction_is_exact(network):
    pipeline, x = tiny(network), small_pictures(3)
    for labels in (None, [0, 1, 2]):
        found = pipeline.reconstruct(x, class_labels=labels, output_type="pt").images * 2 - 1
        assert 10 * torch.log10(4 / (found - x).square().mean()) > 60, "PSNR in dB"
    assert pipeline.likelihood_kind == "exact" and pipeline.likelihood_of == "density"


@pytest.mark.parametrize("network", NETWORKS)
def test_a_sample_depends_on_its_own_generator(network):
    pipeline = tiny(network)

    def drawn(seeds, **options):
        sources = [torch.Generator().manual_seed(seed) for seed in seeds]
        return pipeline(len(seeds), sources, class_labels=1, output_type="pt", **options).images

    together = drawn([1, 2, 3], guidance_scale=2.0)
    assert torch.allclose(drawn([2], guidance_scale=2.0), together[1:2], atol=1e-4)
    assert (together[0] - together[1]).abs().max() > 1e-3
    cold = drawn([1, 2, 3], temperature=0.0)
    assert torch.allclose(cold[0], cold[2], atol=1e-5), "without noise all of a class are one"


def test_the_steps_are_reported_and_the_last_one_is_the_result():
    pipeline, seen = tiny("tarflow"), []

    def callback(pipe, step, timestep, values):
        seen.append((step, values["num_timesteps"], values["pred_original_sample"]))

    for denoise in (False, True):
        seen.clear()
        found = pipeline(
            2, torch.Generator().manual_seed(0), denoise=denoise, callback_on_step_end=callback, output_type="pt"
        )
        total = pipeline.flow.number_of_steps + denoise
        assert [step for step, _, _ in seen] == list(range(total)) and {n for _, n, _ in seen} == {total}
        assert torch.allclose((seen[-1][2] / 2 + 0.5).clamp(0, 1), found.images, atol=1e-5)


def test_denoising_finds_the_clean_image_of_a_known_density():
    """Of N(0.2, 0.5^2) data under noise s, E[x_0 | x] = (s^2 0.2 + 0.25 x) / (0.25 + s^2)."""
    pipeline, noise = tiny("coupling", noise_std=0.1), 0.1
    pipeline.flow.forward = Linear(0.2, math.sqrt(0.25 + noise**2)).forward
    x = small_pictures(2)
    assert torch.allclose(pipeline._denoised(x, None), (noise**2 * 0.2 + 0.25 * x) / (0.25 + noise**2), atol=1e-4)


@pytest.mark.parametrize("mode", ["slerp", "lerp"])
def test_an_interpolation_ends_at_the_images(mode):
    pipeline, (a, b) = tiny("coupling"), small_pictures(2)
    frames = pipeline.interpolate(a, b, 5, mode=mode, output_type="pt").images * 2 - 1
    assert torch.allclose(frames[0], a, atol=1e-4) and torch.allclose(frames[-1], b, atol=1e-4)
    assert not torch.allclose(frames[2], (a + b) / 2, atol=1e-2)


def test_the_noise_of_a_likelihood_is_that_of_one_level_and_repeatable():
    pipeline, x = tiny("coupling"), small_pictures(4)
    noisy = pipeline._with_noise(x, [torch.Generator().manual_seed(i) for i in range(4)]) - x
    assert noisy.abs().max() <= LEVEL / 2 and noisy.std().item() == pytest.approx(LEVEL / math.sqrt(12), rel=0.1)
    assert torch.equal(pipeline.log_likelihood(x), pipeline.log_likelihood(x))
    assert torch.allclose(pipeline.log_likelihood(x)[1:2], pipeline.log_likelihood(x[1:2]), rtol=1e-4)
    assert not torch.equal(pipeline.log_likelihood(x), pipeline.log_likelihood(x, dequantize=False))
    own, other = (pipeline.log_likelihood(x, class_labels=k) for k in (0, 1))
    assert not torch.allclose(own, other)


def test_typicality_is_calibrated_and_shows_the_likelihood_trap():
    """A flow of N(0, I): a grey picture is more likely than any of its own, and all the same not typical."""
    pipeline = tiny("coupling")
    pipeline.flow.forward = Linear(0.0, 1.0).forward
    own = torch.randn(300, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    pipeline.fit([{"images": own, "class_labels": torch.arange(300) % 3}])
    assert set(pipeline.config.typicality) == {"features", "mean", "precision", "class_mismatch"}
    assert len(pipeline.config.typicality["features"]) == len(pipeline.config.typicality["mean"])
    strange, usual = torch.zeros(2, 1, 8, 8), own[:50]
    found = {
        score: [pipeline.anomaly_score(x, score=score) for x in (usual, strange)]
        for score in ("likelihood", "typicality")
    }
    assert found["likelihood"][1].scores.max() < found["likelihood"][0].scores.min(), "the trap"
    assert found["typicality"][1].scores.min() > found["typicality"][0].scores.max()
    assert found["typicality"][0].maps.shape == (50, 8, 8) and found["typicality"][0].maps.min() >= 0
    given = pipeline.anomaly_score(usual, class_labels=1)
    assert (given.scores >= found["typicality"][0].scores - 1e-4).all(), "no class makes an image less strange"


@pytest.mark.parametrize("network", NETWORKS)
def test_thirty_steps_lower_the_loss(network):
    torch.manual_seed(0)
    pipeline = NormalizingFlowPipeline.build(8, 1, CLASSES, network=network, **NETWORKS[network])
    batch = {"images": small_pictures(16), "class_labels": torch.arange(16) % 3}
    optimizer = torch.optim.Adam(pipeline.flow.train().parameters(), lr=1e-2)
    values = []
    for seed in range(30):
        loss, parts = pipeline.loss(batch, torch.Generator().manual_seed(seed))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert values[-1] < values[0] - 0.3
    assert parts["bits_per_dim"].item() == pytest.approx((values[-1] - math.log(LEVEL)) / math.log(2), rel=1e-5)
    nats = log_normal_map(torch.zeros(1)).item()
    assert nats == pytest.approx(-0.5 * math.log(2 * math.pi))


def test_the_class_is_dropped_for_a_share_of_the_batch():
    pipeline, seen = tiny("coupling", class_dropout=0.5), []
    network = pipeline.flow.forward
    pipeline.flow.forward = lambda x, labels: (seen.append(labels), network(x, labels))[1]
    batch = {"images": small_pictures(1).expand(400, -1, -1, -1), "class_labels": torch.zeros(400, dtype=torch.int64)}
    pipeline.loss(batch, torch.Generator().manual_seed(0))
    assert 0.4 < (seen[0] == -1).float().mean() < 0.6


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"network": "spline"}, "network: choose 'coupling' or 'tarflow'"),
        ({"network": "tarflow", "patch_size": 3}, "patch_size: 28 pixels are no multiple of 3"),
        ({"network": "tarflow", "width": 10, "num_heads": 3}, "num_heads: a width of 10"),
        ({"network": "coupling", "steps": (1, 1, 1)}, "steps: 28 pixels cannot be halved 3 times"),
        ({"noise_std": -1.0}, "noise_std must be 0 or more"),
        ({"class_dropout": 1.0}, "class_dropout at least 0 and below 1"),
    ],
)
def test_recipes_that_do_not_fit_are_refused(options, says):
    with pytest.raises(ValueError, match=says):
        NormalizingFlowPipeline.build(28, 1, ID2LABEL, **options)


def test_points_need_two_channels():
    with pytest.raises(ValueError, match="one scale, and two channels"):
        CouplingFlowModel(1, 1)
