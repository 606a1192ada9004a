"""The information objective against its definition, and the random changes of pictures."""

import math

import pytest
import torch
from conftest import pictures

from pipelines.invariance import invariance_loss, mutual_information, random_affine


def test_mutual_information_by_its_definition():
    generator = torch.Generator().manual_seed(0)
    p = torch.randn(50, 4, generator=generator).softmax(1).double()
    joint = p / 50  # p(x, c) of equally likely pictures
    exact = (joint * (joint / (joint.sum(0) * joint.sum(1, keepdim=True))).log()).sum()
    assert mutual_information(p).item() == pytest.approx(exact.item(), rel=1e-5)
    each = torch.eye(4).repeat(5, 1)
    assert mutual_information(each).item() == pytest.approx(math.log(4), rel=1e-5)  # certain, and all in use
    assert mutual_information(torch.eye(4)[:1].repeat(9, 1)).item() == pytest.approx(0, abs=1e-6)  # one class for all
    assert mutual_information(torch.full((9, 4), 0.25)).item() == pytest.approx(0, abs=1e-6)  # nothing is certain


def test_the_loss_is_lowest_where_classes_are_certain_even_and_stay():
    classes = torch.arange(12) % 4
    sure = 40.0 * torch.nn.functional.one_hot(classes, 4)
    assert invariance_loss(sure, sure).item() == pytest.approx(-math.log(4), rel=1e-4)
    changed = 40.0 * torch.nn.functional.one_hot((classes + 1) % 4, 4)
    assert invariance_loss(sure, changed) > invariance_loss(sure, sure) + 10
    assert invariance_loss(sure[:, :1].expand(12, 4), sure[:, :1].expand(12, 4)).item() == pytest.approx(0, abs=1e-5)
    heads = torch.stack([sure, torch.zeros_like(sure)], dim=1)  # [B, heads, K]
    assert invariance_loss(heads, heads).tolist() == pytest.approx([-math.log(4), 0], abs=1e-4)


def test_each_picture_is_held_to_the_other():
    a = torch.randn(6, 3, generator=torch.Generator().manual_seed(1)).requires_grad_()
    b = torch.randn(6, 3, generator=torch.Generator().manual_seed(2)).requires_grad_()
    loss = invariance_loss(a, b, information_weight=0.0)
    p, q = a.softmax(1), b.softmax(1)
    expected = ((p * (p / q).log()).sum(1).mean() + (q * (q / p).log()).sum(1).mean()) / 2
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    loss.backward()
    # the gradient of cross-entropy to a fixed target is the difference of the probabilities
    assert torch.allclose(b.grad, (q - p).detach() / 12, atol=1e-6)
    assert torch.allclose(a.grad, (p - q).detach() / 12, atol=1e-6)


def test_affine_changes():
    x = pictures(20)
    still = {"degrees": 0, "shift": 0, "scale": 0, "shear": 0}
    assert torch.allclose(random_affine(x, **still), x, atol=1e-5)
    mirrored = random_affine(x, torch.Generator().manual_seed(0), **still, mirror=True)
    flipped = [torch.allclose(m, i.flip(-1), atol=1e-5) for m, i in zip(mirrored, x)]
    same = [torch.allclose(m, i, atol=1e-5) for m, i in zip(mirrored, x)]
    assert any(flipped) and any(same) and all(f != s for f, s in zip(flipped, same))
    dot = torch.full((200, 1, 28, 28), -1.0)
    dot[:, :, 13:15, 13:15] = 1.0
    moved = random_affine(dot, torch.Generator().manual_seed(0), **{**still, "shift": 0.25})
    weight = (moved[:, 0] + 1) / 2
    places = (weight * torch.arange(28)).sum((1, 2)) / weight.sum((1, 2)) - 13.5
    assert places.abs().max() <= 7.1 and places.abs().max() > 6 and abs(places.mean()) < 1
    changed = random_affine(x, torch.Generator().manual_seed(3), contrast=0.5)
    assert changed.min() >= -1.0001 and changed.max() <= 1.0001 and not torch.allclose(changed, x, atol=0.1)
    again = random_affine(x, torch.Generator().manual_seed(3), contrast=0.5)
    assert torch.equal(changed, again)
