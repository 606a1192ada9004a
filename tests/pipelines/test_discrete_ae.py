"""Auto-encoders with a discrete code: their loss, priors and paths against enumeration, and what they learn."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from conftest import ID2LABEL, pictures

from pipelines.modeling_discrete_ae import BitPrior
from pipelines.pipeline_discrete_ae import DiscreteAutoencoderPipeline
from pipelines.tree import nodes_of

SMALL = {"network": "fully_connected", "hidden_sizes": [16]}


def tiny(code="binary", code_size=6, **options):
    torch.manual_seed(0)
    networks = {"encoder": {**SMALL, **options.pop("encoder", {})}, "decoder": {**SMALL, **options.pop("decoder", {})}}
    pipeline = DiscreteAutoencoderPipeline.build(
        28, 1, ID2LABEL, code=code, code_size=code_size, prior={"width": 24}, **networks, **options
    )
    for component in pipeline.components.values():
        if component is not None:
            component.eval()
    return pipeline


def tree(**options):
    return tiny("path", 3, depth=2, **options)


def clusters(**options):
    encoder = {"network": "normalised", "block_out_channels": [4, 4], "heads": 3, "over_clusters": 7}
    return tiny("one_hot", 4, encoder=encoder, objective="mutual_information", **options)


def fitted(pipeline, number=60):
    pipeline.fit([{"images": pictures(number), "class_labels": torch.arange(number) % 10}])
    return pipeline


def seeded(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


@torch.no_grad()
def test_the_prior_of_the_bits_is_a_distribution_over_all_codes():
    torch.manual_seed(0)
    prior = BitPrior(num_bits=5, width=16, num_layers=2, num_classes=3)
    codes = torch.tensor(list(itertools.product([0.0, 1.0], repeat=5)))
    for label in (None, 0, 2):
        labels = None if label is None else torch.full((32,), label)
        assert prior.log_probability(codes, labels).exp().sum().item() == pytest.approx(1, abs=1e-4)
    shown = prior(codes)
    for k in range(5):  # the logit of a bit must not depend on it or on those after it
        changed = codes.clone()
        changed[:, k:] = 1 - changed[:, k:]
        assert torch.equal(prior(changed)[:, k], shown[:, k])
    assert (prior(1 - codes)[:, 1:] - shown[:, 1:]).abs().amin() > 0, "later bits depend on earlier ones"


@torch.no_grad()
def test_bits_are_drawn_from_the_prior():
    torch.manual_seed(0)
    prior = BitPrior(num_bits=3, width=16)
    torch.nn.init.normal_(prior.layers[-1].weight, std=1.0)
    uniform = torch.rand(20000, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    steps = []
    drawn = prior.draw(uniform, None, 1.0, lambda k, bits: steps.append(k))
    codes = torch.tensor(list(itertools.product([0.0, 1.0], repeat=3)))
    shares = torch.stack([(drawn == code).all(1).float().mean() for code in codes])
    assert torch.allclose(shares, prior.log_probability(codes).exp(), atol=0.015) and steps == [0, 1, 2]
    likeliest = prior.draw(uniform[:2], None, 0.0, lambda k, bits: None)
    assert torch.equal(likeliest[0], likeliest[1])


def test_the_loss_of_bits_is_the_bound_of_the_variational_auto_encoder():
    pipeline, x = tiny(kl_weight=0.7, balance_weight=0.3), pictures(3)
    loss, parts = pipeline.loss({"images": x}, torch.Generator().manual_seed(0), 0.0, stage="autoencoder")
    logits = pipeline.encoder(x)
    u = torch.rand(logits.shape, generator=torch.Generator().manual_seed(0))
    bits = (logits + u.log() - (1 - u).log() > 0).float()
    nats = F.binary_cross_entropy_with_logits(pipeline.decoder(bits), x / 2 + 0.5, reduction="sum") / 3
    q = logits.sigmoid()
    kl = (q * (2 * q).log() + (1 - q) * (2 - 2 * q).log()).sum(1).mean()
    m = q.mean(0)
    balance = (m * (2 * m).log() + (1 - m) * (2 - 2 * m).log()).sum()
    assert loss.item() == pytest.approx((nats + 0.7 * kl + 0.3 * balance).item(), rel=1e-4)
    assert parts["nats"].item() == pytest.approx(nats.item(), rel=1e-4)


def test_the_loss_of_a_path_is_the_mean_over_its_nodes():
    pipeline, x = tree(kl_weight=0.5, balance_weight=2.0, temperatures=[0.5, 0.5]), pictures(4)
    loss, parts = pipeline.loss({"images": x}, torch.Generator().manual_seed(0))
    logits = pipeline.encoder(x)
    u = torch.rand(logits.shape, generator=torch.Generator().manual_seed(0))
    path = pipeline.encoder.likeliest(logits - (-u.log()).log())
    each = []
    for level in range(3):
        shown = pipeline.decoder(pipeline.decoder.vectors_of(path[:, :level])[:, -1])
        each.append(F.binary_cross_entropy_with_logits(shown, x / 2 + 0.5, reduction="sum") / 4)
    p = logits.softmax(-1)
    leaves = (p[:, 0, :, None] * p[:, 1:]).flatten(1)  # [4, 9]
    kl = (leaves * (9 * leaves).log()).sum(1).mean()
    first, last = p[:, 0].mean(0), leaves.mean(0)
    balance = (first * (3 * first).log()).sum() + (last * (9 * last).log()).sum()
    assert loss.item() == pytest.approx((sum(each) / 3 + 0.5 * kl + 2 * balance).item(), rel=1e-4)
    assert parts["nats"].item() == pytest.approx(each[-1].item(), rel=1e-4)


def test_relaxed_training_decodes_a_mixture():
    pipeline, x = tree(straight_through=False), pictures(4)
    exact = tree(straight_through=True)
    losses = [p.loss({"images": x}, torch.Generator().manual_seed(0))[0].item() for p in (pipeline, exact)]
    assert losses[0] != pytest.approx(losses[1], rel=1e-4)


@pytest.mark.parametrize("make", [tiny, tree])
def test_auto_encoders_learn(make):
    pipeline, x = make(encoder={"hidden_sizes": [64]}, decoder={"hidden_sizes": [64]}), pictures(8)
    before = (pipeline.reconstruct(x, output_type="pt").images * 2 - 1 - x).square().mean()
    modules = pipeline.trainable("autoencoder")
    optimizer = torch.optim.Adam([p for m in modules.values() for p in m.parameters()], 5e-3)
    generator = torch.Generator().manual_seed(0)
    for step in range(200):
        loss, _ = pipeline.loss({"images": x}, generator, step / 200, stage="autoencoder")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    restored = pipeline.reconstruct(x, output_type="pt").images * 2 - 1
    assert (restored - x).square().mean() < 0.4 * before
    codes = pipeline.encode(x)
    assert len(codes.unique(dim=0)) >= 6, "most of eight pictures have a code of their own"


def two_kinds(number, seed=0):
    """Return pictures with a bar that lies or stands, at any place, and which it does."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.full((number, 1, 28, 28), -1.0)
    for i in range(number):
        at = int(torch.randint(8, 17, (), generator=generator))
        if i % 2:
            x[i, :, at : at + 4, 4:24] = 1.0
        else:
            x[i, :, 4:24, at : at + 4] = 1.0
    return x, torch.arange(number) % 2


def test_classes_that_random_changes_leave_as_they_are():
    torch.manual_seed(0)
    encoder = {"network": "normalised", "block_out_channels": [8, 8], "hidden_sizes": [16], "heads": 2}
    still = {"degrees": 5.0, "shift": 0.25, "scale": 0.0, "shear": 0.0}
    pipeline = tiny("one_hot", 2, encoder=encoder, objective="mutual_information", augmentation=still)
    assert pipeline.stages == ("encoder", "decoder")
    pipeline.encoder.train()
    optimizer = torch.optim.Adam(pipeline.encoder.parameters(), 5e-3)
    generator = torch.Generator().manual_seed(0)
    x, kinds = two_kinds(64)
    for _ in range(60):
        loss, _ = pipeline.loss({"images": x}, generator, stage="encoder")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    pipeline.encoder.eval()
    assert pipeline.prepare("decoder", [{"images": x}]) is None
    losses, _ = pipeline._head_losses(x, torch.Generator().manual_seed(0))
    assert int(pipeline.encoder.chosen_head) == int(losses.argmin())
    test, kinds = two_kinds(40, seed=9)
    right = (pipeline.encode(test) == kinds).float().mean()
    assert max(right, 1 - right) > 0.95


def test_the_head_that_is_kept_has_the_lowest_loss():
    pipeline = clusters()
    last = pipeline.encoder.layers[-1]
    with torch.no_grad():  # head 2 says the same of all pictures, head 0 next to nothing
        last.weight[8:12].mul_(20)
        last.weight[:4].zero_()
    pipeline.prepare("decoder", [{"images": pictures(32)}])
    losses, over = pipeline._head_losses(pictures(32), torch.Generator().manual_seed(0))
    assert losses.shape == (3,) and over.ndim == 0
    assert int(pipeline.encoder.chosen_head) == int(losses.argmin())
    logits, _ = pipeline.encoder.all_heads(pictures(3))
    assert torch.equal(pipeline.encoder(pictures(3)), logits[:, int(losses.argmin())])


def test_the_prior_learns_from_prepared_codes_and_may_miss_the_class():
    pipeline = tiny(class_dropout=1.0)
    x, labels = pictures(6), torch.arange(6)
    codes = pipeline.prepare("prior", [{"images": x[:3]}, {"images": x[3:]}])["codes"]
    assert codes.dtype == torch.uint8 and torch.equal(codes.float(), pipeline.encode(x))
    loss, _ = pipeline.loss({"codes": codes, "class_labels": labels}, torch.Generator().manual_seed(0), stage="prior")
    assert loss.item() == pytest.approx(-pipeline.prior.log_probability(codes).mean().item(), rel=1e-5)
    assert pipeline.trainable("prior") == {"prior": pipeline.prior}
    with pytest.raises(ValueError, match="stage: choose 'autoencoder' or 'prior'"):
        pipeline.loss({"images": x}, stage="decoder")


@torch.no_grad()
def test_frequencies_are_those_of_the_training_images():
    pipeline = fitted(tree())
    leaves = nodes_of(pipeline.encode(pictures(60)), 3)[:, -1]
    counts = pipeline.config.code_counts
    assert counts == [*torch.bincount(leaves, minlength=9).tolist(), 60]
    bits = fitted(tiny())
    assert bits.config.code_counts == [*bits.encode(pictures(60)).sum(0).long().tolist(), 60]
    score = pipeline.anomaly_score(pictures(60)[:3], score="code").scores
    table = torch.tensor(counts[:-1]).reshape(3, 3).double()
    first = (table.sum(1) + 1) / (table.sum() + 3)
    both = first[:, None] * (table + 1) / (table.sum(1, keepdim=True) + 3)
    assert torch.allclose(score.double(), -both.flatten()[leaves[:3]].log(), atol=1e-5)
    drawn = pipeline(300, seeded(*range(300)), output_type="pt").codes[:, 0]
    share = torch.bincount(nodes_of(drawn, 3)[:, -1], minlength=9) / 300
    assert (share - both.flatten()).abs().max() < 4 * math.sqrt(0.25 / 300)


@torch.no_grad()
def test_every_node_has_a_picture_and_a_path_shows_them():
    pipeline = tree()
    levels = pipeline.node_images()
    assert [len(level) for level in levels] == [1, 3, 9]
    x = pictures(2)
    output = pipeline.reconstruct(x)
    path = pipeline.encode(x)
    assert output.coarse_to_fine.shape == (2, 3, 28, 28, 1) and torch.equal(output.codes, path[:, None])
    for i, nodes in enumerate(nodes_of(path, 3).tolist()):
        for level, node in enumerate(nodes):
            shown = torch.frombuffer(bytearray(levels[level][node].tobytes()), dtype=torch.uint8).reshape(28, 28, 1)
            assert (shown.int() - output.coarse_to_fine[i, level].int()).abs().max() <= 1
    assert [len(level) for level in tiny("one_hot", 4).node_images()] == [1, 4]
    with pytest.raises(ValueError, match="bits have no picture"):
        tiny().node_images()


@torch.no_grad()
def test_bits_flip_one_after_another_the_least_change_first():
    pipeline, x = tiny(code_size=8), pictures(30)
    codes = pipeline.encode(x)
    a, b = x[0], x[int((codes != codes[0]).sum(1).argmax())]  # as many bits apart as there are
    ca, cb = pipeline.encode(torch.stack([a, b]))
    different = int((ca != cb).sum())
    assert different >= 2, "the test needs codes that differ"
    frames = pipeline.interpolate(a, b, different + 1, output_type="pt").images
    shown = pipeline.decode(torch.stack([ca, cb]), output_type="pt").images
    assert torch.allclose(frames[[0, -1]], shown, atol=1e-5)
    options = []
    for k in (ca != cb).nonzero()[:, 0]:
        code = ca.clone()
        code[k] = cb[k]
        options.append((pipeline.decode(code, output_type="pt").images[0] - frames[0]).square().mean())
    assert (frames[1] - frames[0]).square().mean().item() == pytest.approx(min(options).item(), rel=1e-4)


@torch.no_grad()
def test_the_way_between_two_leaves_climbs_to_the_node_that_both_share():
    pipeline = tree()
    paths = torch.tensor([[0, 1], [0, 2], [2, 0]])
    same, near, far = (pipeline._climb(paths[0], path) for path in (paths[0], paths[1], paths[2]))
    decode = pipeline.decoder

    def node(*path):
        return decode.decode(decode.vectors_of(torch.tensor([path], dtype=torch.int64).reshape(1, -1))[:, -1])

    assert torch.allclose(same, node(0, 1))
    assert torch.allclose(near, torch.cat([node(0, 1), node(0), node(0, 2)]))
    assert torch.allclose(far, torch.cat([node(0, 1), node(0), node(), node(2), node(2, 0)]))
    classes = tiny("one_hot", 4)
    assert len(classes._climb(torch.tensor([0]), torch.tensor([3]))) == 2


@torch.no_grad()
@pytest.mark.parametrize("make", [tiny, tree, lambda: tiny("one_hot", 4)])
def test_the_relaxed_way_ends_at_the_reconstructions(make):
    pipeline = make()
    x = pictures(2)
    frames = pipeline.interpolate(x[0], x[1], 3, mode="relaxed", output_type="pt").images
    assert torch.allclose(frames[[0, 2]], pipeline.reconstruct(x, output_type="pt").images, atol=1e-5)


@torch.no_grad()
def test_the_score_is_that_of_its_parts():
    pipeline, x = fitted(tiny()), pictures(4)
    both, code = pipeline.anomaly_score(x), pipeline.anomaly_score(x, score="code").scores
    error = pipeline.anomaly_score(x, score="reconstruction").scores
    (mean_e, std_e), (mean_c, std_c) = pipeline.config.calibration["error"], pipeline.config.calibration["code"]
    assert torch.allclose(both.scores, (error.log() - mean_e) / std_e + (code - mean_c) / std_c, atol=1e-3)
    assert torch.allclose(code, -pipeline.prior.log_probability(pipeline.encode(x)), atol=1e-5)
    given = pipeline.anomaly_score(x, class_labels=3, score="code", class_weight=1.0).scores
    labels = torch.full((4,), 3)
    assert torch.allclose(given, -pipeline.prior.log_probability(pipeline.encode(x), labels), atol=1e-4)


@torch.no_grad()
def test_codes_are_drawn_by_their_own_seeds():
    pipeline, x = tiny(), pictures(3)
    drawn = pipeline.reconstruct(x, seeded(1, 2, 3), draw_code=True, output_type="pt")
    alone = pipeline.reconstruct(x[1:2], seeded(2), draw_code=True, output_type="pt")
    assert torch.allclose(drawn.images[1:2], alone.images, atol=1e-5)
    assert not torch.equal(drawn.codes, pipeline.reconstruct(x, output_type="pt").codes)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"code": "ternary"}, "code: choose 'binary'"),
        ({"code": "binary", "depth": 2}, "depth: only a path"),
        ({"code": "path", "encoder": {"heads": 2}}, "heads, over_clusters: only"),
        ({"code": "path", "code_size": 1}, "need at least 2, 1 and 1"),
        ({"encoder": {"network": "recurrent"}}, "network: choose"),
        ({"decoder": {"network": "normalised"}}, "network: choose"),
        ({"objective": "beauty"}, "objective: choose"),
        ({"objective": "mutual_information"}, "needs the code 'one_hot'"),
        ({"temperatures": [1.0, 0.0]}, "temperatures: must be above 0"),
    ],
)
def test_what_does_not_fit_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        tiny(**options)


def test_codes_that_there_are_not_are_refused():
    pipeline = tree()
    for codes in ([[0, 3]], [[0, 0, 0]], [[0.5, 0.5]]):
        with pytest.raises((TypeError, ValueError), match="codes"):
            pipeline.decode(codes)
