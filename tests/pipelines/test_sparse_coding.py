"""Sparse coding against closed forms: a lasso whose solution is known, theorem 4.4 of FISTA, atoms of norm 1, exact draws."""

import math

import pytest
import torch
from conftest import ID2LABEL, pictures

from pipelines.corruption import known_pixels
from pipelines.fista import fista, lasso, shrink
from pipelines.modeling_sparse_coding import SparseCodingModel, top_k
from pipelines.pipeline_sparse_coding import SparseCodingPipeline


def tiny(**options):
    torch.manual_seed(0)
    sizes = {"num_atoms": 60, "num_nonzeros": 6, "prior_dim": 4, "mixture_components": 2}
    pipeline = SparseCodingPipeline.build(28, 1, options.pop("id2label", ID2LABEL), **{**sizes, **options})
    pipeline.model.eval()
    return pipeline


@pytest.fixture(scope="module")
def fitted():
    pipeline = tiny()
    pipeline.fit([{"images": pictures(60), "class_labels": torch.arange(60) % 10}])
    return pipeline


def seeded(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def known_problem(nonnegative):
    """Return (x, D, lambda, a*): a lasso with a solution that is known by the conditions of Karush, Kuhn and Tucker.

    With v = D_S^T (D_S D_S^T)^-1 sign(a_S), D_S v = sign(a_S). Where |D v| < 1 elsewhere, a is the solution for
    x = a D + lambda v.
    """
    generator = torch.Generator().manual_seed(3)
    atoms = torch.nn.functional.normalize(torch.randn(60, 30, dtype=torch.float64, generator=generator))
    support, penalty = torch.tensor([4, 17, 31]), 0.3
    signs = torch.ones(3).double() if nonnegative else torch.tensor([1.0, -1.0, 1.0]).double()
    chosen = atoms[support]
    v = chosen.T @ torch.linalg.solve(chosen @ chosen.T, signs)
    assert (atoms @ v).abs().sort().values[-4] < 0.999  # strictly less than 1 off the support
    a = torch.zeros(1, 60, dtype=torch.float64)
    a[0, support] = signs * torch.tensor([2.0, 1.0, 0.5]).double()
    return a @ atoms + penalty * v, atoms, penalty, a


@pytest.mark.parametrize("nonnegative", [True, False])
def test_fista_keeps_its_error_bound_and_finds_the_known_optimum(nonnegative):
    x, atoms, penalty, best = known_problem(nonnegative)
    lipschitz = torch.linalg.eigvalsh(atoms @ atoms.T)[-1]
    least, errors = lasso(best, x, atoms, penalty).item(), []
    a = fista(
        x,
        atoms,
        penalty,
        lipschitz,
        400,
        nonnegative=nonnegative,
        on_step=lambda k, a: errors.append(lasso(a, x, atoms, penalty).item() - least),
    )
    assert all(error >= -1e-12 for error in errors), "nothing is below the optimum"
    distance = best.square().sum().item()  # from a_0 = 0
    bounds = [2 * lipschitz.item() * distance / (k + 2) ** 2 for k in range(400)]  # theorem 4.4, k counted from 0
    assert all(error <= bound for error, bound in zip(errors, bounds, strict=True))
    assert torch.allclose(a, best, atol=1e-4)


def test_orthonormal_atoms_need_one_step():
    torch.manual_seed(0)
    atoms, x = torch.linalg.qr(torch.randn(8, 8)).Q, torch.randn(3, 8)
    assert torch.allclose(fista(x, atoms, 0.4, 1.0, 1), shrink(x @ atoms.T, 0.4), atol=1e-6)


def test_a_mask_and_a_support_hide_what_they_should():
    torch.manual_seed(0)
    atoms, x = torch.nn.functional.normalize(torch.randn(12, 8)), torch.rand(2, 8)
    mask = torch.ones(2, 8)
    mask[:, :3] = 0
    other = torch.where(mask > 0, x, 9.0)  # what is missing may be anything
    args = (atoms, 0.05, 6.0, 50)
    assert torch.allclose(fista(x, *args, mask=mask), fista(other, *args, mask=mask))
    support = torch.zeros(2, 12)
    support[:, 5] = 1
    a = fista(x, atoms, 0.0, 6.0, 400, support=support, nonnegative=False)
    assert torch.allclose(a[:, 5], (x @ atoms.T)[:, 5], atol=1e-4)  # least squares of one atom with norm 1
    assert (a[:, :5] == 0).all() and (a[:, 6:] == 0).all()


def test_top_k_keeps_the_largest():
    a = torch.tensor([[3.0, -5.0, 1.0, 2.0]])
    assert top_k(a, 2).tolist() == [[3.0, 0.0, 0.0, 2.0]]
    assert top_k(a, 4).tolist() == [[3.0, 0.0, 1.0, 2.0]]


def test_each_step_keeps_the_penalty_up():
    pipeline = tiny()
    pipeline.model.train()
    before, x = pipeline.model.penalty.item(), {"images": pictures(8)}
    first = pipeline.loss(x, progress=0.1)[1]["nonzeros"].item()
    again = pipeline.loss(x, progress=0.1)[1]["nonzeros"].item()
    assert first == again > 6 and pipeline.model.penalty.item() == before  # six are wanted
    pipeline.loss(x, progress=0.2)
    assert pipeline.model.penalty.item() == pytest.approx(before * min(first / 6, 2) ** 0.05, rel=1e-4)


def test_the_lipschitz_constant_is_the_largest_eigenvalue():
    model = tiny().model
    exact = torch.linalg.eigvalsh(model.atoms() @ model.atoms().T)[-1].item()
    model.measure_lipschitz(300)
    assert model.lipschitz.item() == pytest.approx(1.02 * exact, rel=1e-3)
    model.measure_lipschitz_exactly()
    assert model.lipschitz.item() == pytest.approx(1.005 * exact, rel=1e-4)


def test_training_finds_the_atoms_that_made_the_pictures():
    torch.manual_seed(0)
    true = torch.nn.functional.normalize(torch.rand(6, 16).pow(4))  # the pictures are non-negative sums of two of these
    pipeline = SparseCodingPipeline.build(4, 1, num_atoms=12, num_nonzeros=2, prior_dim=2, mixture_components=0)
    pipeline.model.train()
    optimizer = torch.optim.Adam(pipeline.model.parameters(), 0.01)
    for i in range(400):
        codes = torch.zeros(64, 6).scatter(1, torch.rand(64, 6).topk(2, 1).indices, 0.3 + 0.4 * torch.rand(64, 2))
        x = (codes @ true).reshape(64, 1, 4, 4) * 2 - 1
        loss, parts = pipeline.loss({"images": x}, progress=i / 400)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = pipeline.model.atoms().detach()
    assert torch.allclose(found.norm(dim=1), torch.ones(12), atol=1e-5)
    assert (true @ found.T).max(1).values.min() > 0.9
    assert 1 < parts["nonzeros"].item() < 4


def test_dead_atoms_move_to_what_is_coded_worst():
    model = tiny().model
    x = torch.rand(20, 784)
    model.usage[:] = 0.1
    model.usage[[3, 8]] = 0.0
    residual = x - model(x)
    worst = residual.norm(dim=1).argmax()
    before = model.dictionary.detach().clone()
    assert model.replace_dead(x) == 2
    assert torch.allclose(model.atoms()[3], torch.nn.functional.normalize(residual[worst], dim=0), atol=1e-5)
    others = [k for k in range(60) if k not in (3, 8)]
    assert torch.equal(model.dictionary[others], before[others])
    assert model.usage[3] > 0 and model.replace_dead(x) == 0


def test_the_cost_of_a_code_is_a_density_and_draws_follow_it():
    torch.manual_seed(0)
    model = SparseCodingModel(2, 1, num_atoms=3, num_nonzeros=1, prior_dim=1, num_classes=1, mixture_components=1)
    p, mean = torch.tensor([0.2, 0.5, 0.9]), torch.tensor([1.0, 2.0, 0.5])
    model.frequencies[0], model.amplitudes[0] = p, mean
    rows = torch.zeros(1, dtype=torch.int64)
    a = torch.tensor([[0.0, 1.5, 0.2]])
    nats = -math.log(0.8) - (math.log(0.5 / 2) - 0.75) - (math.log(0.9 / 0.5) - 0.4)
    assert model.code_cost(a, rows).item() == pytest.approx(nats, rel=1e-5)
    drawn = model.draw_independent(torch.rand(2, 20000, 3), rows.expand(20000))
    assert torch.allclose((drawn > 0).float().mean(0), p, atol=0.02)
    assert torch.allclose(drawn.sum(0) / (drawn > 0).sum(0), mean, rtol=0.05)
    still = model.draw_independent(torch.rand(2, 50, 3), rows.expand(50), 0.0)
    assert torch.allclose(still[still > 0], mean.expand(50, 3)[still > 0])


def test_statistics_count_what_codes_use():
    model = tiny().model
    a = torch.zeros(9, 60)
    a[:, 0], a[:3, 1] = 2.0, 4.0
    model.set_statistics(-1, a)
    assert model.frequencies[-1][:3].tolist() == pytest.approx([0.91, 0.31, 0.01], abs=0.02)
    usual = a.sum().item() / 12
    assert model.amplitudes[-1][1].item() == pytest.approx((12 + usual) / 4, rel=1e-4)


def test_fit_sets_the_penalty_for_the_number_of_atoms(fitted):
    codes = fitted._codes(fitted._signals(pictures(60)), 60)
    assert (codes > 0).sum(1).float().mean().item() == pytest.approx(6, abs=1)
    assert fitted.model.is_fitted and set(fitted.config.calibration) == {"error", "code"}


def test_a_picture_is_the_sum_of_its_atoms(fitted):
    output = fitted.reconstruct(pictures(2), output_type="pt")
    total = (output.atoms * output.weights[:, :, None, None, None]).sum(1)
    assert torch.allclose(total.clamp(0, 1), output.images, atol=1e-5)
    assert (output.weights[:, :-1] >= output.weights[:, 1:]).all() and output.noisy is None
    codes = fitted.encode(pictures(2))
    assert torch.allclose(codes.sort(1, descending=True).values[:, :10], output.weights[:, :10], atol=1e-4)


@pytest.mark.parametrize("damage", ["gaussian", "missing_pixels", "missing_block"])
def test_damage_is_shown_and_depends_on_its_own_seed(fitted, damage):
    x, options = pictures(3), {"damage": damage, "damage_level": 0.3, "output_type": "pt", "num_inference_steps": 5}
    output = fitted.reconstruct(x, seeded(1, 2, 3), **options)
    alone = fitted.reconstruct(x[1:2], seeded(2), **options)
    assert torch.allclose(output.noisy[1:2], alone.noisy) and torch.allclose(
        output.images[1:2], alone.images, atol=1e-4
    )
    changed = (output.noisy - (x / 2 + 0.5)).abs().mean((1, 2, 3)) > 0.02
    assert changed.all()
    if damage == "missing_block":
        gone = (output.noisy == 0).flatten(1).float().mean(1)
        assert (gone - 0.3).abs().max() < 0.03


def test_what_is_missing_is_not_looked_at(fitted):
    x = pictures(1)
    normal = torch.randn(1, 1, 28, 28, generator=torch.Generator().manual_seed(5))
    known = known_pixels("missing_pixels", 0.5, normal)
    other = torch.where(known > 0, x, -x)
    options = {"damage": "missing_pixels", "damage_level": 0.5, "output_type": "pt"}
    one, two = (fitted.reconstruct(image, seeded(5), **options).images for image in (x, other))
    assert torch.allclose(one, two, atol=1e-5)


def test_more_sparsity_gives_fewer_atoms(fitted):
    few, many = (fitted.reconstruct(pictures(4), sparsity=s, output_type="pt").weights for s in (3.0, 0.5))
    assert (few > 0).sum() < (many > 0).sum()


def test_atoms_leave_and_come_one_by_one(fitted):
    a, b = pictures(2)
    ends = fitted.reconstruct(torch.stack([a, b]), output_type="pt").images
    for mode in ("one_by_one", "lerp"):
        frames = fitted.interpolate(a, b, 5, mode=mode, output_type="pt").images
        assert torch.allclose(frames[[0, -1]], ends, atol=1e-4)
    middle = fitted.interpolate(a, b, 3, mode="lerp", output_type="np").images[1]
    codes = fitted.encode(torch.stack([a, b]))
    assert abs(middle - fitted.decode(codes.mean(0), output_type="np").images[0]).max() < 1e-4


def test_the_score_is_that_of_its_parts(fitted):
    x = pictures(4, seed=1)
    both = fitted.anomaly_score(x)
    error, cost = (fitted.anomaly_score(x, score=score).scores for score in ("residual", "code"))
    (mean_e, std_e), (mean_c, std_c) = fitted.config.calibration["error"], fitted.config.calibration["code"]
    assert torch.allclose(both.scores, (error.log() - mean_e) / std_e + (cost - mean_c) / std_c, atol=1e-3)
    assert torch.allclose(both.maps.mean((1, 2)), error, rtol=1e-4)
    own = fitted.anomaly_score(x, class_labels=2, score="code", class_weight=1.0).scores
    codes = fitted._codes(fitted._signals(x), 60)
    assert torch.allclose(own, fitted.model.code_cost(codes, torch.full((4,), 2)), rtol=1e-4)


def test_each_step_is_reported(fitted):
    seen = []
    report = lambda *values: seen.append(values[1])  # noqa: E731
    fitted.reconstruct(pictures(1), num_inference_steps=3, callback_on_step_end=report)
    assert seen == [0, 1, 2, 3, 4, 5]


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="at most num_atoms, 60"):
        tiny(num_nonzeros=70)
