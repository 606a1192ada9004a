"""RBM and DBN pipelines against enumeration of all pictures, on pictures of 3 x 3 pixels."""

import itertools

import pytest
import torch

from pipelines.gibbs import contrastive_loss
from pipelines.modeling_autoencoder import AutoencoderModel
from pipelines.modeling_rbm import RBMModel
from pipelines.pipeline_dbn import DBNPipeline
from pipelines.pipeline_rbm import RBMPipeline
from pipelines.unrolling import unroll

CLASSES = {"0": "a", "1": "b"}
EVERY = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=9))).reshape(-1, 1, 3, 3)  # all 512 pictures
QUICK = {"partition_chains": 200, "partition_temperatures": 300}


def data(number=64):
    """Bars: one row or one column is white."""
    generator = torch.Generator().manual_seed(0)
    x = torch.full((number, 1, 3, 3), -1.0)
    labels = torch.randint(2, (number,), generator=generator)
    for image, label, place in zip(x, labels, torch.randint(3, (number,), generator=generator), strict=True):
        image[0].select(int(label), int(place)).fill_(1.0)
    return {"images": x, "class_labels": labels}


def rbm(fitted=True, id2label=CLASSES, **options):
    torch.manual_seed(0)
    pipeline = RBMPipeline.build(3, 1, id2label, num_hidden=6, initial_std=0.7, **QUICK, **options)
    if fitted:
        pipeline.prepare("rbm", [data()])
        pipeline.fit([data()])
    return pipeline


def dbn(fitted=True, **options):
    torch.manual_seed(0)
    pipeline = DBNPipeline.build(3, 1, CLASSES, hidden_sizes=[5, 4, 6], initial_std=0.7, **QUICK, **options)
    if fitted:
        for stage in ("rbm1", "rbm2", "rbm3"):
            pipeline.prepare(stage, [data()])
        pipeline.fit([data()])
    return pipeline


def bits(number):
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=number)))


def seeded(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def train(pipeline, stage, steps, rate=0.02):
    modules = pipeline.trainable(stage)
    modules[stage].train()
    optimizer = torch.optim.Adam(modules[stage].parameters(), rate)
    generator = torch.Generator().manual_seed(0)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate * (1 - step / steps)
        optimizer.zero_grad()
        pipeline.loss(data(), generator, step / steps, stage=stage)[0].backward()
        optimizer.step()
    modules[stage].eval()


def test_the_likelihood_sums_to_one():
    pipeline = rbm()
    known = pipeline.config.log_partition
    total = torch.logsumexp(pipeline.log_likelihood(EVERY).double(), 0).item()
    assert abs(total) < 0.05 and known["low"] - known["log_z"] <= -total <= known["high"] - known["log_z"]


def test_the_bound_of_a_stack_lies_below_its_likelihood():
    pipeline = dbn()
    one, many = (pipeline.log_likelihood(EVERY[::8], seeded(*range(64)), num_samples=n).double() for n in (1, 400))
    h1, h2 = bits(5), bits(4)
    with torch.no_grad():
        log_top = -pipeline.rbm3.free_energy(h2).double() - pipeline.config.log_partition["log_z"]  # [16]
        down2 = pipeline.rbm2.visible_logits(h2).double()
        log_h1 = (
            -torch.nn.functional.softplus(down2).sum(1)[:, None] + down2 @ h1.double().T
        )  # log p(h1 | h2), [16, 32]
        log_h1 = torch.logsumexp(log_h1 + log_top[:, None], 0)
        down1 = pipeline.rbm1.visible_logits(h1).double()
        v = (EVERY[::8].flatten(1).double() + 1) / 2
        log_v = -torch.nn.functional.softplus(down1).sum(1) + v @ down1.T  # [64, 32]
        exact = torch.logsumexp(log_v + log_h1, 1)
    assert torch.logsumexp(many, 0) < 1  # of a part of all pictures
    assert one.mean() < exact.mean() and (many - exact).abs().mean() < 0.1
    assert (many - exact).abs().mean() < (one - exact).abs().mean()


def test_the_map_is_the_surprise_of_each_pixel_given_the_others():
    pipeline = rbm(id2label=None)
    output = pipeline.anomaly_score(EVERY, score="pseudo_likelihood")
    log_p = pipeline.log_likelihood(EVERY).reshape([2] * 9).double()
    expected = torch.stack([-log_p.log_softmax(i).flatten() for i in range(9)], 1).reshape(-1, 3, 3)
    assert torch.allclose(output.maps.double(), expected, atol=1e-4)
    assert torch.allclose(output.scores.double(), expected.sum((1, 2)), atol=1e-4) and output.unit == "nats"


def test_the_free_energy_gives_likelihoods_of_pictures_and_of_their_classes():
    pipeline = rbm()
    plain = pipeline.anomaly_score(EVERY, score="free_energy").scores
    assert torch.allclose(
        plain + pipeline.log_likelihood(EVERY), torch.tensor(-pipeline.config.log_partition["log_z"]), atol=1e-3
    )
    of_class = [pipeline.anomaly_score(EVERY, class_labels=k, score="free_energy").scores for k in (0, 1)]
    assert torch.allclose(torch.logsumexp(-torch.stack(of_class), 0), -plain, atol=1e-4)


def test_typicality_is_high_in_either_direction():
    pipeline = rbm(fitted=False)
    pipeline.prepare("rbm", [data()])
    train(pipeline, "rbm", 150, 0.05)
    pipeline.fit([data()])
    score = lambda x, **options: pipeline.anomaly_score(x, **options).scores  # noqa: E731
    ordinary = score(data()["images"]).mean()
    assert score(EVERY[:1]) > ordinary and score(EVERY[-1:]) > ordinary
    labels = data()["class_labels"]
    right, wrong = (score(data()["images"], class_labels=y).mean() for y in (labels, 1 - labels))
    assert wrong > 1.3 * right


@pytest.mark.parametrize("build", [rbm, dbn])
def test_training_makes_bars_likelier(build):
    pipeline = build(fitted=False)
    before = build().log_likelihood(data()["images"], seeded(*range(64))).mean()
    stages = ("rbm",) if build is rbm else ("rbm1", "rbm2", "rbm3")
    for stage in stages:
        pipeline.prepare(stage, [data()])
        train(pipeline, stage, 120, 0.05)
    pipeline.fit([data()])
    after = pipeline.log_likelihood(data()["images"], seeded(*range(64))).mean()
    assert after > before + 1


def test_a_clamped_class_stays_and_draws_its_own_pictures():
    pipeline = rbm(fitted=False)
    pipeline.prepare("rbm", [data()])
    train(pipeline, "rbm", 200, 0.05)
    options = {"num_inference_steps": 60, "output_type": "pt", "pixels": "binary"}
    some = [pipeline(9, seeded(*range(9)), label, guidance_scale=0.0, **options).images for label in (0, 1)]
    assert torch.equal(*some)
    for label in (0, 1):
        x = pipeline(200, torch.Generator().manual_seed(0), label, **options).images[:, 0]
        assert set(x.unique().tolist()) <= {0.0, 1.0}
        along, across = (x.mean(axis).amax(1).mean() for axis in (2 - label, 1 + label))
        assert along > across + 0.1  # a white row, or a white column


def test_the_kept_half_stays():
    pipeline = rbm()
    x = data(4)["images"]
    for keep, part in (("left half", x[:, :, :, :1]), ("bottom half", x[:, :, 1:])):
        output = pipeline.reconstruct(x, seeded(*range(4)), keep=keep, completion_steps=5, output_type="pt")
        made = output.images * 2 - 1
        made = made[:, :, :, :1] if keep == "left half" else made[:, :, 1:]
        assert torch.allclose(made, part, atol=1e-5)
        assert output.codes.shape == (4, 2, 3) and set(output.codes.unique().tolist()) <= {0, 1}


def test_temperature_slows_the_chain():
    pipeline = rbm(id2label=None)
    spread = []
    for temperature in (0.2, 2.0):
        x = pipeline(200, torch.Generator().manual_seed(0), temperature=temperature, num_inference_steps=40,
                     output_type="pt", pixels="binary").images  # fmt: skip
        spread.append(len(x.flatten(1).unique(dim=0)))
    assert spread[0] < spread[1]


def test_a_chain_that_mixes_and_one_that_does_not():
    with torch.no_grad():
        loose, stuck = rbm(id2label=None), rbm(id2label=None)
        stuck.rbm.weight.mul_(8)
        times = [p.mixing(num_chains=8, num_steps=200, burn_in=50)["autocorrelation_time"] for p in (loose, stuck)]
    assert times[0] < 10 < times[1]


def test_receptive_fields_are_the_weights():
    pipeline = rbm()
    fields = pipeline.receptive_fields(output_type="pt").images.flatten(1) * 2 - 1
    weight = pipeline.rbm.weight.T
    assert torch.allclose(fields, weight / weight.abs().amax(1, keepdim=True), atol=1e-5)
    assert len(dbn().receptive_fields().images) == 6


def test_codes_are_bits_and_their_probabilities_reconstruct():
    pipeline = rbm()
    x = data(5)["images"]
    codes = pipeline.encode(x)
    assert codes.shape == (5, 6) and set(codes.unique().tolist()) <= {0.0, 1.0}
    drawn = torch.stack([pipeline.encode(x, generator=seeded(*range(5 * i, 5 * i + 5))) for i in range(300)]).mean(0)
    with torch.no_grad():
        p = pipeline.rbm.hidden_logits(x.flatten(1) / 2 + 0.5).sigmoid()
    assert torch.allclose(drawn, p, atol=0.12)
    restored = pipeline.reconstruct(x, output_type="pt").images
    assert torch.allclose(pipeline.decode(p, output_type="pt").images, restored, atol=1e-5)
    frames = pipeline.interpolate(x[0], x[1], num_frames=3, output_type="pt").images
    assert torch.allclose(frames[[0, 2]], restored[:2], atol=1e-5)


def test_training_goes_on_from_its_state():
    def run(pipeline, steps):
        optimizer = torch.optim.SGD(pipeline.rbm.parameters(), 0.1)
        for step in steps:
            optimizer.zero_grad()
            pipeline.loss(data(), torch.Generator().manual_seed(step), step / 6)[0].backward()
            optimizer.step()

    whole, first, second = (rbm(fitted=False, gibbs_steps=[1, 3]) for _ in range(3))
    for pipeline in (whole, first):
        pipeline.trainable("rbm")["rbm"].train()
        pipeline.prepare("rbm", [data()])
    run(whole, range(6))
    run(first, range(3))
    for name, module in second.trainable("rbm").items():
        module.load_state_dict(first.trainable("rbm")[name].state_dict())
        module.train()
    second.prepare("rbm", [data()])  # once more, as the trainer does
    run(second, range(3, 6))
    assert torch.equal(whole.rbm.weight, second.rbm.weight) and torch.equal(
        whole.rbm.hidden_mean, second.rbm.hidden_mean
    )
    assert torch.equal(whole.trainable("rbm")["rbm_chains"].visible, second.trainable("rbm")["rbm_chains"].visible)


def test_without_a_trainer_the_loss_moves_nothing():
    pipeline = rbm(fitted=False)
    pipeline.rbm.train()
    batch = data(8) | {"class_labels": torch.tensor([0, 1, -1, 0, 1, -1, 0, 1])}
    before = pipeline.rbm.hidden_mean.clone()
    first, second = (pipeline.loss(batch, torch.Generator().manual_seed(0))[0] for _ in range(2))
    assert torch.equal(first, second) and torch.equal(before, pipeline.rbm.hidden_mean)


def test_a_stack_unrolls_into_an_auto_encoder():
    torch.manual_seed(0)
    machines = [RBMModel(9, 7, initial_std=0.5), RBMModel(7, 2, initial_std=0.5)]
    machines[0].set_visible_mean(torch.rand(9))
    network = AutoencoderModel(3, 1, code_dim=2, network="fully_connected", hidden_sizes=(7,), activation="sigmoid")
    unroll(machines, network)
    x = data(4)["images"]
    with torch.no_grad():
        h = machines[0].hidden_logits(x.flatten(1) / 2 + 0.5).sigmoid()
        z = machines[1].hidden_logits(h)
        assert torch.allclose(network.encode(x), z, atol=1e-5)
        down = machines[0].visible_logits(machines[1].visible_logits(z).sigmoid())
        assert torch.allclose(network.decode_logits(z).flatten(1), down, atol=1e-5)
    with pytest.raises(ValueError, match="the stack has"):
        unroll(machines[:1], network)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"hidden_sizes": [5, 4]}, "three sizes")],
)
def test_what_does_not_fit_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        DBNPipeline.build(3, 1, CLASSES, **options)


def test_parts_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="10 visible units"):
        RBMPipeline(RBMModel(10, 4), 3, 1)
    with pytest.raises(ValueError, match="rbm2: has 5 visible units, but 4"):
        DBNPipeline(RBMModel(9, 4), RBMModel(5, 4), RBMModel(4, 4), 3, 1)
    with pytest.raises(ValueError, match="stage: choose"):
        rbm(fitted=False).trainable("rbm2")
    with pytest.raises(ValueError, match="call fit"):
        rbm(fitted=False).log_likelihood(EVERY[:2])


def test_the_gap_is_zero_where_chains_stay_at_the_data():
    gap, parts = contrastive_loss(rbm().rbm, EVERY.flatten(1) / 2 + 0.5, torch.eye(2)[[0]].expand(512, -1), 0, None)
    assert gap == 0 and parts["reconstruction_nats"] > 0
