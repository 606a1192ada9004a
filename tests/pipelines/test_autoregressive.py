"""Autoregressive models: the chain rule by enumeration, who sees whom, sampling with kept features, completion."""

import itertools
import math

import pytest
import torch
from conftest import ID2LABEL, pictures

from pipelines.modeling_made import MADEModel, NADEModel
from pipelines.modeling_pixelcnn import PixelCNNModel
from pipelines.pipeline_autoregressive import AutoregressivePipeline
from pipelines.pixel_distributions import BlackOrWhite, LogisticMixture, NormalMixture, distribution_of
from pipelines.pixel_orders import SCANS, best_scan, known_after_missing, ranks_of, rectangle, scan

MODELS = {
    "made": {"kind": "made", "hidden_sizes": [288, 144]},
    "nade": {"kind": "nade", "hidden_size": 12},
    "pixelcnn": {"kind": "pixelcnn", "width": 8, "dilations": [1, 2], "head_width": 8, "patch_size": 1},
}
PATCHES = {"kind": "pixelcnn", "width": 8, "dilations": [1, 2], "head_width": 8, "patch_size": 2}


def build(size=6, std=0.5, **options):
    """Return a pipeline with large random weights, so that every connection shows."""
    torch.manual_seed(0)
    pipeline = AutoregressivePipeline.build(size, 1, ID2LABEL, **options)
    for p in pipeline.network.parameters():
        torch.nn.init.normal_(p, std=std)
    pipeline.network.eval().requires_grad_(False)
    return pipeline


def some_order(pipeline, seed=7):
    if isinstance(pipeline.network, PixelCNNModel):
        return pipeline.network.order
    if seed < len(SCANS):
        return scan(SCANS[seed], pipeline.config.sample_size, 1)
    return torch.randperm(pipeline.network.num_pixels, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("options", MODELS.values(), ids=MODELS)
def test_the_product_of_the_conditionals_sums_to_one_over_all_pictures(options):
    pipeline = build(3, **options)
    every = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=9)))
    for labels in (None, torch.full((512,), 4)):
        log_p = pipeline.log_likelihood(every.reshape(-1, 1, 3, 3), class_labels=labels)
        assert abs(log_p.double().exp().sum().item() - 1) < 1e-5
        assert log_p.std() > 0.3, "an even distribution tests nothing"
    of_mixture = pipeline.log_likelihood(every.reshape(-1, 1, 3, 3), num_orders=3)
    assert abs(of_mixture.double().exp().sum().item() - 1) < 1e-5
    order = some_order(pipeline)
    surprise, _ = pipeline._surprise(every, None, order)
    assert abs((-surprise.double().sum(1)).exp().sum().item() - 1) < 1e-5
    joint = (-surprise.double().sum(1)).exp()
    for step in (0, 3, 8):  # p(x_d | before) by marginalising the joint distribution
        before, d = order[:step], order[step]
        x = every[77]
        same = (every[:, before] == x[before]).all(1)
        conditional = joint[same & (every[:, d] == x[d])].sum() / joint[same].sum()
        assert abs(conditional.log() + surprise[77, d]) < 1e-4


@pytest.mark.parametrize("options", [*MODELS.values(), PATCHES], ids=[*MODELS, "patches"])
@pytest.mark.parametrize("levels", [2, 256])
def test_no_pixel_sees_itself_or_a_later_one_and_all_earlier_ones_are_seen(options, levels):
    pipeline = build(6, levels=levels, **options)
    for seed in (0, 1, 3, 7):
        order = some_order(pipeline, seed)
        ranks = ranks_of(order)
        if not isinstance(pipeline.network, PixelCNNModel):  # no rectified unit is off
            for p in pipeline.network.parameters():
                p.abs_()
        x = torch.rand(24, 36, generator=torch.Generator().manual_seed(seed)).requires_grad_()
        params = pipeline.network(x, None, order)
        seen = torch.stack(
            [torch.autograd.grad(params[:, d].sum(), x, retain_graph=True)[0].abs().sum(0) > 0 for d in range(36)]
        )
        earlier = ranks[None] < ranks[:, None]
        assert not (seen & ~earlier).any()
        assert (seen == earlier).all(), "a blind spot"


def test_a_pixelcnn_has_no_blind_spot_to_the_right():
    """The pixels above and far to the right are what the first PixelCNN did not see (van den Oord et al. 2016 sec. 2.2)."""
    network = build(12, **{**MODELS["pixelcnn"], "dilations": [1, 1, 1]}).network
    x = torch.zeros(1, 144).requires_grad_()
    network(x, None)[0, 8 * 12 + 3].sum().backward()
    seen = x.grad.reshape(12, 12) != 0
    assert seen[8, :3].all() and not seen[8, 3:].any() and not seen[9:].any()
    for above in range(
        1, 6
    ):  # the triangle reaches three columns at first, and one more for each layer that goes up a row
        assert seen[8 - above, 3 : 3 + 4].all()


def test_nade_is_a_made_with_shared_weights():
    nade = build(3, **{**MODELS["nade"], "hidden_size": 5}).network
    made = MADEModel(3, 1, 1, (45,), 10)
    assert (made.degrees(0) == torch.arange(9).repeat_interleave(5)).all(), "five units of each degree"
    made.layers[0].weight.data = nade.layer.weight.repeat(9, 1)
    made.layers[0].bias.data = nade.layer.bias.repeat(9)
    made.shifts.weight.data = nade.shifts.weight.repeat(1, 9)
    x, labels = torch.rand(4, 9).round() * 2 - 1, torch.tensor([0, 3, 10, 9])
    for order in (torch.arange(9), torch.randperm(9)):
        # the output for rank r reads the units of degree r - 1 only
        made.head.weight.data = torch.zeros(9, 45)
        for d, rank in enumerate(ranks_of(order).tolist()):
            made.head.weight.data[d, 5 * (rank - 1) : 5 * rank] = nade.head.weight[d]
        made.head.bias.data = nade.head.bias
        assert torch.allclose(made(x, labels, order), nade(x, labels, order), atol=1e-5)


@pytest.mark.parametrize("levels", [2, 256])
@pytest.mark.parametrize("options", [*MODELS.values(), PATCHES], ids=[*MODELS, "patches"])
def test_step_by_step_gives_what_the_whole_picture_gives(options, levels):
    pipeline = build(6, std=0.3, levels=levels, **options)
    order, labels = some_order(pipeline), torch.tensor([2, 10, 7])
    x = pipeline._pixels(2 * torch.rand(3, 1, 6, 6) - 1, None)
    for classes in (None, labels):
        whole = pipeline.network(x, classes, order)
        state = pipeline.network.conditionals(3, classes, order)
        for step, d in enumerate(order.tolist()):
            assert torch.allclose(state.params(step), whole[:, d], atol=1e-5)
            state.reveal(step, x[:, d])
            if step == 17:  # in the middle of a row
                state.select(torch.tensor([2, 1, 1]))
                x, classes = x[[2, 1, 1]], None if classes is None else classes[[2, 1, 1]]
                whole = pipeline.network(x, classes, order)


@pytest.mark.parametrize("options", [*MODELS.values(), PATCHES], ids=[*MODELS, "patches"])
def test_samples_follow_the_probabilities_and_do_not_depend_on_their_batch(options):
    pipeline = build(2, std=0.2 if options["kind"] == "made" else 0.5, **options)
    every = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=4)))
    seeds = [torch.Generator().manual_seed(i) for i in range(3000)]
    images = pipeline(3000, generator=seeds, output_type="pt").images
    code = (images.flatten(1) * torch.tensor([8, 4, 2, 1])).sum(1).long()
    found = torch.bincount(code, minlength=16) / 3000
    expected = pipeline.log_likelihood(every.reshape(-1, 1, 2, 2)).exp()
    assert (found - expected).abs().max() < 4 * math.sqrt(0.25 / 3000)
    alone = pipeline(1, generator=torch.Generator().manual_seed(41), output_type="pt").images
    assert torch.equal(alone[0], images[41])
    cold = pipeline(300, generator=seeds[:300], temperature=0.1, output_type="pt").images
    assert pipeline.log_likelihood(cold * 2 - 1).mean() > pipeline.log_likelihood(images[:300] * 2 - 1).mean() + 0.5


@pytest.mark.parametrize("options", MODELS.values(), ids=MODELS)
def test_completions_follow_the_probabilities_given_the_known_pixels(options):
    """Given the lower row: exact for an order that begins there, and by a particle filter for a PixelCNN."""
    pipeline = build(2, std=0.4, **options)
    every = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=4)))
    x = torch.tensor([[[[-1.0, -1.0], [1.0, -1.0]]]]).expand(1500, -1, -1, -1)
    seeds = [torch.Generator().manual_seed(i) for i in range(1500)]
    output = pipeline.reconstruct(
        x, generator=seeds, keep="bottom half", num_answers=2, num_candidates=32, output_type="pt"
    )
    assert torch.equal(output.images[:, :, 1], x[:, :, 1] / 2 + 0.5), "the known part stays"
    assert output.answers.shape == (1500, 2, 1, 2, 2) and torch.equal(output.answers[:, 0], output.images)
    code = (output.answers[:, :, 0, 0] * torch.tensor([2, 1])).sum(-1).long().flatten()
    found = torch.bincount(code, minlength=4) / 3000
    order = pipeline.network.order_for(torch.tensor([False, False, True, True]))
    joint = (-pipeline._surprise(every, None, order)[0].sum(1)).exp()
    fits = (every[:, 2] == 1) & (every[:, 3] == -1)
    assert (found - joint[fits] / joint[fits].sum()).abs().max() < 0.05


@pytest.mark.parametrize("options", MODELS.values(), ids=MODELS)
def test_a_particle_filter_completes_a_hole_that_no_order_leaves_to_the_end(options):
    pipeline = build(3, std={"made": 0.2, "nade": 0.8, "pixelcnn": 0.5}[options["kind"]], **options)
    every = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=9)))
    known = torch.ones(9, dtype=torch.bool)
    known[4] = False
    order = pipeline.network.order_for(known)
    assert known_after_missing(known, order) > 0
    pairs = every.repeat_interleave(2, 0)
    pairs[::2, 4], pairs[1::2, 4] = -1, 1
    surprise = pipeline._surprise(pairs, None, order)[0].unflatten(0, (-1, 2))
    exact, alone = ((-part).softmax(1)[:, 1] for part in (surprise.sum(2), surprise[:, :, 4]))
    # a picture in which what comes before the hole leaves it open, and what comes later says most
    chosen = torch.where((alone - 0.5).abs() < 0.3, (exact - alone).abs(), 0.0).argmax()
    assert (exact - alone)[chosen].abs() > 0.08
    x = every[chosen].reshape(1, 1, 3, 3).expand(1500, -1, -1, -1)
    hole = {"hole_top": 34, "hole_left": 34, "hole_height": 33, "hole_width": 33}
    seeds = [torch.Generator().manual_seed(i) for i in range(1500)]
    settings = {"generator": seeds, "num_candidates": 32, "num_answers": 2, "output_type": "pt"}
    answers = pipeline.reconstruct(x, keep="all but a hole", **hole, **settings).answers
    assert (answers.flatten(2)[..., known] == (x / 2 + 0.5).flatten(1)[:, None, known]).all()
    assert abs(answers[:, :, 0, 1, 1].mean() - exact[chosen]) < 0.04


def test_the_hole_is_what_was_asked_for():
    pipeline, x = build(10, levels=256, **MODELS["made"]), 2 * torch.rand(2, 1, 10, 10) - 1
    for keep, inside in (("all but a hole", True), ("the inside of the hole", False)):
        hole = {"hole_top": 20, "hole_left": 40, "hole_height": 30, "hole_width": 50}
        images = pipeline.reconstruct(x, keep=keep, **hole, output_type="pt").images
        mask = torch.zeros(10, 10, dtype=torch.bool)
        mask[2:5, 4:9] = True
        changed = ((images - (x / 2 + 0.5)).abs() > 0.01).any(0)[0]
        assert not changed[~mask if inside else mask].any() and changed[mask if inside else ~mask].float().mean() > 0.8
    with pytest.raises(ValueError, match="hole"):
        pipeline.reconstruct(x, keep="all but a hole", hole_height=0)


def test_orders():
    assert ranks_of(torch.tensor([2, 0, 1])).tolist() == [2, 3, 1]
    inside = rectangle(4, 1, torch.tensor([0.1, 0.5, 0.9, 0.3])).reshape(4, 4)
    assert inside[:2, 1:4].all() and inside.sum() == 6
    assert scan("rows down", 2, 2).tolist() == [0, 4, 1, 5, 2, 6, 3, 7], "both channels of a place together"
    assert scan("columns right", 2, 1).tolist() == [0, 2, 1, 3] and scan("columns left", 2, 1).tolist() == [3, 1, 2, 0]
    assert PixelCNNModel(4, patch_size=2).order.tolist() == [0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15]
    halves = {
        "top half": "rows down",
        "bottom half": "rows up",
        "left half": "columns right",
        "right half": "columns left",
    }
    pipeline = build(4, **MODELS["made"])
    for keep, name in halves.items():
        known = pipeline._known(keep, 0, 0, 0, 0)
        assert known.sum() == 8 and torch.equal(best_scan(known, 4, 1), scan(name, 4, 1))
        assert known_after_missing(known, scan(name, 4, 1)) == 0
    drawn = [MADEModel(4, 1, natural_share=0.4).draw_order(torch.tensor([u])).tolist() for u in (0.3, 0.5, 0.7, 0.99)]
    assert drawn == [scan(name, 4, 1).tolist() for name in SCANS]
    assert MADEModel(4, 1, natural_share=1.0).draw_order(torch.tensor([0.999])).tolist() == list(range(16))


def test_distributions_of_a_pixel():
    params = 3 * torch.randn(50, 9, generator=torch.Generator().manual_seed(0))
    mixture = LogisticMixture(3)
    assert torch.allclose(mixture.log_probs(params).logsumexp(-1), torch.zeros(50), atol=1e-5)
    far = torch.tensor([0.0, 0, 0, 40, 40, 40, -9, -9, -9]).requires_grad_()  # as sure of white as can be
    mixture.log_prob(far, torch.tensor(-1.0)).backward()
    assert far.grad.isfinite().all() and mixture.log_prob(far, torch.tensor(1.0)) == 0
    uniform = (torch.arange(20000) + 0.5) / 20000
    for levels in (BlackOrWhite(), LogisticMixture(2, 16)):
        one = torch.randn(levels.num_params, generator=torch.Generator().manual_seed(1))
        drawn = levels.sample(one.expand(20000, -1), uniform)
        shares = (drawn[:, None] == levels.values(one)).float().mean(0)
        assert torch.allclose(shares, levels.log_probs(one).exp(), atol=1e-3)
        halved = levels.sample(one.expand(20000, -1), uniform, temperature=0.5)
        squared = levels.log_probs(one).exp().square()
        shares = (halved[:, None] == levels.values(one)).float().mean(0)
        assert torch.allclose(shares, squared / squared.sum(), atol=1e-3)
    normal, x = NormalMixture(3), torch.linspace(-30, 30, 60001)
    density = normal.log_prob(params[0].expand(60001, -1), x).exp()
    assert abs(torch.trapezoid(density, x) - 1) < 1e-3
    drawn = normal.sample(params[0].expand(20000, -1), uniform)
    mean, second = (torch.trapezoid(density * x**k, x) for k in (1, 2))
    assert abs(drawn.mean() - mean) < 2e-2 and abs(drawn.square().mean() - second) < 2e-2 * second
    for wrong in (1, -2):
        with pytest.raises(ValueError, match="levels"):
            distribution_of(wrong, 5)


def test_training_lowers_the_surprise_and_hides_classes():
    torch.manual_seed(0)
    pipeline = AutoregressivePipeline.build(28, 1, ID2LABEL, kind="made", hidden_sizes=[64])
    batch = {"images": pictures(16).sign(), "class_labels": torch.arange(16) % 11 - 1}
    optimizer = torch.optim.Adam(pipeline.network.parameters(), lr=0.01)
    source, losses = torch.Generator().manual_seed(0), []
    for _ in range(60):
        loss, parts = pipeline.loss(batch, source)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(parts["nats"].item())
    assert losses[0] == pytest.approx(784 * math.log(2), rel=0.02) and losses[-1] < 0.6 * losses[0]
    assert parts["bits"].item() == pytest.approx(losses[-1] / 784 / math.log(2))
    pipeline.network.shifts.weight.grad = None
    everyone = AutoregressivePipeline.build(28, 1, ID2LABEL, kind="made", hidden_sizes=[8], label_dropout=1.0)
    everyone.loss(batch, source)[0].backward()
    assert not everyone.network.shifts.weight.grad[:10].any() and everyone.network.shifts.weight.grad[10].any()


def test_typicality_is_calibrated_and_surprise_is_the_sum_of_its_map():
    pipeline = build(28, std=0.05, **MODELS["made"])
    data = [{"images": pictures(64, seed), "class_labels": torch.arange(64) % 10} for seed in range(3)]
    pipeline.fit(data)
    assert set(pipeline.config.typicality) == {"mean", "precision", "class_mismatch"}
    usual = pipeline.anomaly_score(pictures(40, 9)).scores
    for stranger in (-torch.ones(1, 1, 28, 28), torch.ones(1, 1, 28, 28)):
        assert pipeline.anomaly_score(stranger).scores > usual.max()
    found = pipeline.anomaly_score(pictures(3), score="surprise")
    assert torch.allclose(found.maps.sum((1, 2)), found.scores, rtol=1e-4) and found.unit == "nats"
    seeds = [torch.Generator().manual_seed(0) for _ in range(3)]
    assert torch.allclose(-pipeline.log_likelihood(pictures(3), generator=seeds), found.scores, rtol=1e-4)


def test_what_likelihoods_are_of():
    kinds = {levels: build(4, levels=levels, **MODELS["made"]).likelihood_of for levels in (0, 2, 256)}
    assert kinds == {0: "density", 2: "binary", 256: "mass"}
    assert AutoregressivePipeline.likelihood_kind == "exact"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"kind": "pixelrnn"}, "kind"),
        ({"kind": "pixelcnn", "patch_size": 3}, "patch_size"),
        ({"levels": 1}, "levels"),
    ],
)
def test_recipes_that_do_not_fit_are_refused(options, says):
    with pytest.raises(ValueError, match=says):
        AutoregressivePipeline.build(28, 1, ID2LABEL, **options)
    with pytest.raises(ValueError, match="channels"):
        AutoregressivePipeline.build(28, 3, ID2LABEL, kind="pixelcnn")
    with pytest.raises(ValueError, match="network"):
        AutoregressivePipeline(NADEModel(4), 4, 1, levels=256)
