"""The network on pixels that DDPM, score-SDE and flow matching share."""

import pytest
import torch
from diffusers import DiffusionPipeline

from pipelines.guidance import guided
from pipelines.pixel_unet import PixelUNetMixin, build_unet, image_shape

SIZES = {
    "patch_size": 2,
    "block_out_channels": [8, 16],
    "layers_per_block": 1,
    "attention_head_dim": 8,
    "norm_num_groups": 8,
}
THREE = {"0": "a", "1": "b", "2": "c"}


class Plain(PixelUNetMixin, DiffusionPipeline):
    def __init__(self, unet, sample_size=None, channels=None, patch_size=2, class_dropout=0.1):
        super().__init__()
        self.register_modules(unet=unet)
        self.register_to_config(**image_shape(unet, sample_size, channels, patch_size), class_dropout=class_dropout)


def plain(id2label=THREE, **options):
    return Plain(build_unet(8, 1, id2label, **SIZES), **options)


def answer(pipeline, output):
    """Replace the forward pass of the network; return the list of its calls (x, timesteps, labels)."""
    calls = []

    def forward(x, timesteps, class_labels=None):
        calls.append((x, timesteps, class_labels))
        return type("Output", (), {"sample": output(x, timesteps, class_labels)})

    pipeline.unet.forward = forward
    return calls


def test_space_to_depth_permutes_the_pixels():
    pipeline = plain()
    calls = answer(pipeline, lambda x, *_: x)
    x = torch.randn(2, 1, 8, 8)
    assert torch.equal(pipeline._network(x, torch.tensor(3), None), x)
    assert calls[0][0].shape == (2, 4, 4, 4)
    assert torch.equal(calls[0][0][:, 1], x[:, 0, ::2, 1::2])


def test_a_network_with_classes_gets_the_last_label_for_no_class():
    pipeline = plain()
    calls = answer(pipeline, lambda x, *_: x)
    x = torch.randn(2, 1, 8, 8)
    pipeline._network(x, torch.zeros(2), None)
    pipeline._network(x, torch.zeros(2), torch.tensor([0, 1]))
    assert calls[0][2].tolist() == [3, 3] and calls[1][2].tolist() == [0, 1]
    without = plain(None)
    calls = answer(without, lambda x, *_: x)
    without._network(x, torch.zeros(2), None)
    assert calls[0][2] is None


def test_the_output_is_float32_whatever_the_network_computes_in():
    pipeline = plain().to(torch.bfloat16)
    calls = answer(pipeline, lambda x, *_: x)
    assert pipeline._network(torch.randn(1, 1, 8, 8).double(), torch.zeros(1), None).dtype == torch.float32
    assert calls[0][0].dtype == torch.bfloat16


@pytest.mark.parametrize("timesteps", [torch.tensor(5), torch.tensor([5, 6])])
def test_guidance_is_linear_in_its_scale(timesteps):
    pipeline = plain()
    calls = answer(pipeline, lambda x, t, y: x * 0 + y.float()[:, None, None, None])
    x, labels = torch.randn(2, 1, 8, 8), torch.tensor([0, 1])

    def values(*arguments):
        return pipeline._guided(x, timesteps, *arguments)[:, 0, 0, 0].tolist()

    assert values(labels, 1.0) == [0, 1] and values(labels, 0.0) == [3, 3]
    assert values(labels, 3.0) == [3 + 3 * (0 - 3), 3 + 3 * (1 - 3)]
    assert values(None, 3.0) == [3, 3]
    assert [len(x) for x, *_ in calls] == [2, 4, 4, 2], "one pass of twice the batch where guidance needs both"


def test_guidance_takes_any_function():
    def network(x, times, labels):
        return x * labels

    x, times = torch.ones(2), torch.tensor(0.5)
    assert guided(network, x, times, torch.tensor([2, 3]), torch.zeros(2), 2.0).tolist() == [4, 6]
    pipeline = plain()
    twice = pipeline._guided(x, times, torch.tensor([0, 1]), 2.0, network)
    assert twice.tolist() == [3 + 2 * (0 - 3), 3 + 2 * (1 - 3)]


def test_training_drops_the_given_part_of_the_labels():
    pipeline = plain(class_dropout=0.25)
    labels = torch.arange(4000) % 3
    batch = {"images": torch.zeros(4000, 1, 8, 8), "class_labels": labels}
    generator = torch.Generator().manual_seed(0)
    got = pipeline._training_labels(batch, generator)
    assert (got == 3).double().mean().item() == pytest.approx(0.25, abs=0.03)
    assert torch.equal(got[got != 3], labels[got != 3])
    assert torch.equal(pipeline._training_labels(batch, generator, 0.0), labels)
    batch["class_labels"] = torch.where(labels == 1, -1, labels)
    assert torch.equal(pipeline._training_labels(batch, generator, 0.0) == 3, labels == 1), "-1 is an unknown class"
    assert pipeline._training_labels({**batch, "class_labels": None}, generator) is None
    assert plain(None)._training_labels(batch, generator) is None


def test_the_shape_of_the_images_follows_from_a_stock_network():
    unet = build_unet(8, 3, None, **SIZES)
    assert image_shape(unet, None, None, 2) == {"sample_size": 8, "channels": 3, "patch_size": 2}
    assert image_shape(unet, 8, 3, 2) == {"sample_size": 8, "channels": 3, "patch_size": 2}
    unet.register_to_config(out_channels=24)
    with pytest.raises(ValueError, match="variances"):
        image_shape(unet, None, None, 2)
    unet.register_to_config(sample_size=(4, 8), out_channels=12)
    with pytest.raises(ValueError, match="squares only"):
        image_shape(unet, None, None, 2)


def test_sizes_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="multiple of patch_size 2 x 2\\^1"):
        build_unet(30, 1, None, **SIZES)
