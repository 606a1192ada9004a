"""The style autoencoder: AdaIN against known statistics, styles and their map, and a training that learns to swap."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from conftest import build_tiny, pictures, run_bare
from PIL import Image
from safetensors.torch import load_file

from genarium.checkpoints import load_pipeline, open_checkpoint
from genarium.data.images import ImageData
from genarium.data.pairs import Pairs
from genarium.errors import GenariumError, RecipeError
from genarium.families import discover
from genarium.recipe import DataSpec, PairSpec, Recipe, StageSpec, TrainingSpec
from genarium.training.loop import train
from pipelines.adversarial import (
    PatchDiscriminator,
    adaptive_weight,
    feature_distance,
    hinge_loss,
    logits_of,
    pyramid_distance,
)
from pipelines.modeling_style_ae import StyleAutoencoder, adain, disturb, instance_norm, statistics

FAMILIES = discover(installed=False)
STYLES = {"0": "dark", "1": "bright", "2": "striped"}
CONDITIONS = {"style": STYLES}


def tiny(**options):
    return build_tiny(FAMILIES["style-ae"], **options)


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# ---- the network ----


def test_adain_sets_mean_and_deviation():
    x = 3 * noise(2, 5, 8, 8) + 7
    deviation, mean = noise(2, 5, seed=1).abs() + 0.5, noise(2, 5, seed=2)
    got_mean, got_deviation = statistics(adain(x, deviation, mean))
    # both sides count EPSILON
    assert torch.allclose(got_mean, mean, atol=1e-4) and torch.allclose(got_deviation, deviation, rtol=2e-3)
    own_mean, own_deviation = statistics(x)
    assert torch.allclose(adain(x, own_deviation, own_mean), x, atol=1e-4), "in its own statistics it stays as it is"
    half = adain(x.bfloat16(), deviation, mean)
    assert half.dtype == torch.bfloat16, "computed in float32, given back in the type that came"


def test_instance_norm_takes_gain_and_offset_of_each_channel_away():
    x = noise(2, 5, 8, 8)
    gain, offset = noise(2, 5, 1, 1, seed=1).abs() + 1, noise(2, 5, 1, 1, seed=2)
    assert torch.allclose(instance_norm(x * gain + offset), instance_norm(x), atol=3e-3)
    assert not torch.allclose(instance_norm(x.flip(-1)), instance_norm(x), atol=0.1), "what is drawn where remains"
    constant = instance_norm(torch.full((1, 1, 8, 8), 0.5) + 1e-6 * noise(1, 1, 8, 8))
    assert constant.abs().max() < 1e-3, "a constant channel is not blown up to noise"


def test_content_is_normalised_and_style_knows_no_place():
    pipeline = tiny()
    x = pictures(3)
    for content, size in zip(pipeline.autoencoder.encode_content(x), (14, 7), strict=True):
        mean, deviation = statistics(content)
        assert content.shape[-2:] == (size, size)
        # where a map is far from constant, EPSILON hardly counts
        assert mean.abs().max() < 1e-4 and deviation.max() < 1.01 and deviation.max() > 0.5
    # away from the borders, which convolutions see, a style does not depend on where things are
    patch = torch.ones(1, 1, 96, 96)
    moved = patch.clone()
    patch[..., 40:46, 40:46], moved[..., 44:50, 52:58] = -1, -1
    a, b, other = (pipeline.autoencoder.encode_style(image) for image in (patch, moved, -patch))
    assert torch.allclose(a, b, atol=1e-5) and not torch.allclose(a, other, atol=1e-2)


def test_mixing_draws_in_the_mean_of_styles():
    model = tiny().autoencoder
    content, style = pictures(2), pictures(2, seed=1)
    images, styles = model(content, style, torch.full((2, 2), 0.5))
    mean = styles.mean(0, keepdim=True).expand(2, -1)
    assert torch.allclose(images, model.decode(model.encode_content(content), mean), atol=1e-5)
    assert not torch.allclose(images, model(content, style)[0], atol=1e-4)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"sample_size": 30, "block_out_channels": (8, 16)}, "not a multiple of 4"),
        ({"content_channels": (2,), "block_out_channels": (8, 16)}, "content_channels: give 2"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(options, says):
    with pytest.raises(ValueError, match=says):
        StyleAutoencoder(**{"sample_size": 28, "channels": 1, **options})


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"conditions": {"mood": {"0": "sad"}}}, "condition 'style', not mood"),
        ({"mean_share": 1.5}, "mean_share: must lie in"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, says):
    with pytest.raises(ValueError, match=says):
        tiny(**options)


# ---- the terms of the loss ----


def test_the_discriminator_answers_for_the_style_that_is_asked_for():
    torch.manual_seed(0)
    discriminator = PatchDiscriminator(1, (4, 8), num_outputs=3)
    x = pictures(1).expand(3, -1, -1, -1)
    logits, features = logits_of(discriminator(x), torch.tensor([0, 1, 2]))
    head = discriminator.head(features[-1])[0]
    assert logits.shape == (3, 7, 7) and len(features) == 3
    assert torch.allclose(logits, head) and not torch.allclose(logits[0], logits[1])


def test_the_terms_have_known_values():
    real, fake = torch.tensor([2.0, 0.0]), torch.tensor([-2.0, 1.0])
    assert hinge_loss(real, fake).item() == pytest.approx(0.5 * 0.5 + 0.5 * 1.0)
    assert hinge_loss(real, fake, torch.tensor([0.0])).item() == pytest.approx(0.5 * 0.5 + 0.5 * (1.0 + 1.0) / 2)
    x = torch.zeros(1, 1, 8, 8)
    assert pyramid_distance(x, x + 0.5).item() == pytest.approx(0.5), "a constant is in the coarsest band alone"
    assert feature_distance([torch.ones(2), torch.full((2,), 4.0)], [torch.ones(2), torch.full((2,), 5.0)]).item() == (
        pytest.approx(1 / 8)
    )
    x = torch.ones(4, requires_grad=True)
    assert adaptive_weight(3 * x.sum(), (0.5 * x).sum(), x).item() == pytest.approx(6, rel=1e-4)


def paired_batch(number=6):
    styles = torch.arange(number) % 3
    names = ("images", "partners", "style_examples")
    batch = {name: pictures(number, seed) for seed, name in enumerate(names)}
    return batch | {"conditions": {"style": styles}, "partner_conditions": {"style": (styles + 1) % 3}}


def loss_of(pipeline, batch, progress=0.0, seed=0):
    value, parts = pipeline.loss(batch, torch.Generator().manual_seed(seed), progress)
    return value.detach(), parts


def test_the_loss_asks_for_the_partner_in_the_examples_style():
    pipeline = tiny(conditions=CONDITIONS, identity_share=0.0, mean_share=0.0)
    batch = paired_batch()
    model = pipeline.autoencoder
    drawn = model(batch["images"], batch["style_examples"])[0]
    _, parts = loss_of(pipeline, batch)
    assert parts["pixels"].item() == pytest.approx((drawn - batch["partners"]).abs().mean().item(), rel=1e-4)
    alone = tiny(conditions=CONDITIONS, identity_share=1.0)
    own = model(batch["images"], batch["images"])[0]
    _, parts = loss_of(alone, batch)
    assert parts["pixels"].item() == pytest.approx((own - batch["images"]).abs().mean().item(), rel=1e-4)


def test_a_name_is_learnt_as_the_mean_of_the_batch():
    pipeline = tiny(conditions=CONDITIONS, identity_share=0.0, mean_share=1.0)
    batch = paired_batch()
    model, styles = pipeline.autoencoder, batch["partner_conditions"]["style"]
    vectors = model.encode_style(batch["style_examples"])
    means = torch.stack([vectors[styles == style].mean(0) for style in styles])
    drawn = model.decode(model.encode_content(batch["images"]), means)
    _, parts = loss_of(pipeline, batch)
    assert parts["pixels"].item() == pytest.approx((drawn - batch["partners"]).abs().mean().item(), rel=1e-4)


def test_the_discriminator_comes_late_and_both_sides_learn():
    pipeline = tiny(conditions=CONDITIONS, identity_share=0.0)
    modules = pipeline.trainable("autoencoder")
    assert set(modules) == {"autoencoder", "discriminator", "classifier"} and set(pipeline.components) == {
        "autoencoder"
    }
    for module in modules.values():
        module.train().requires_grad_(True)
    _, before = loss_of(pipeline, paired_batch(), progress=0.2)
    assert "discriminator" not in before
    value, parts = pipeline.loss(paired_batch(), torch.Generator().manual_seed(0), progress=0.9)
    value.backward()
    assert {"discriminator", "adversarial", "features", "style"} <= set(parts)
    for name, module in modules.items():
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters()), name
    with pytest.raises(ValueError, match="choose 'autoencoder' or 'refinement'"):
        pipeline.trainable("transformer")


def test_the_judge_knows_styles_and_what_is_made_up_and_only_the_decoder_can_please_it():
    pipeline = tiny(conditions=CONDITIONS, identity_share=0.0, judge_weight=0.7)
    assert "judge" not in pipeline.trainable("autoencoder")
    modules = pipeline.trainable("refinement")
    assert set(modules) == {"autoencoder", "discriminator", "classifier", "judge"}
    assert set(pipeline.trainable("autoencoder")) == {"autoencoder", "discriminator", "classifier"}
    for module in modules.values():
        module.requires_grad_(True)
    judge, number = modules["judge"], len(CONDITIONS["style"])
    batch, styles = paired_batch(), paired_batch()["partner_conditions"]["style"]
    assert judge(batch["images"]).shape == (len(styles), number + 1)
    drawn = batch["images"].clone().requires_grad_(True)
    verdict, opinion = pipeline._judgement(judge, batch["partners"], drawn, styles, torch.Generator().manual_seed(1))
    assert torch.autograd.grad(verdict, drawn, retain_graph=True, allow_unused=True) == (None,)
    assert torch.autograd.grad(opinion, drawn, retain_graph=True)[0].abs().sum() > 0
    assert not any(
        g is not None for g in torch.autograd.grad(opinion, [*judge.parameters()], allow_unused=True, retain_graph=True)
    )
    with torch.no_grad():  # one that takes all for made up: wrong of the real, right of the drawn
        judge.head.weight.zero_()
        judge.head.bias.copy_(torch.tensor([0.0] * number + [9.0]))
    verdict, opinion = pipeline._judgement(judge, batch["partners"], drawn, styles, torch.Generator().manual_seed(1))
    assert verdict.item() == pytest.approx(4.5, abs=0.01) and opinion.item() == pytest.approx(9, abs=0.01)
    value, parts = pipeline.loss(batch, torch.Generator().manual_seed(0), 0.0, stage="refinement")
    other, _ = tiny_like(pipeline, judge_weight=0.0).loss(
        batch, torch.Generator().manual_seed(0), 0.0, stage="refinement"
    )
    assert {"discriminator", "judge", "judge_opinion"} <= set(parts), "the discriminator is there from the start"
    assert (value - other).item() == pytest.approx(0.7 * parts["judge_opinion"].item(), rel=1e-4)


def tiny_like(pipeline, **changes):
    """Another pipeline of the same modules, helpers included."""
    other = type(pipeline)(pipeline.autoencoder, **{"conditions": CONDITIONS, "identity_share": 0.0, **changes})
    other._helpers = pipeline._helpers
    return other


def test_disturbed_pictures_are_the_same_pictures_elsewhere():
    pictures = torch.zeros(2, 1, 16, 16)
    pictures[:, :, 5:9, 5:9] = 1
    seen = torch.cat([disturb(pictures, torch.Generator().manual_seed(i), shift=2, noise=0.0) for i in range(20)])
    assert (seen.sum((1, 2, 3)) == 16).all() and len(torch.unique(seen, dim=0)) > 5
    noisy = disturb(pictures, torch.Generator().manual_seed(0), shift=0, noise=0.1)
    assert 0.05 < (noisy - pictures).abs().mean() < 0.6


def test_the_refinement_goes_on_from_the_first_stage(tmp_path):
    stages = (
        StageSpec(name="autoencoder", images=24 * 4, samples="swap_style"),
        StageSpec(name="refinement", images=24 * 4, learning_rate=1e-3, samples="swap_style"),
    )
    first = dataclasses.replace(RECIPE, training=dataclasses.replace(RECIPE.training, stages=stages[:1]))
    both = dataclasses.replace(RECIPE, training=dataclasses.replace(RECIPE.training, stages=stages))
    for name, run, recipe in (("first", "run", first), ("added", "run", both), ("both", "both-run", both)):
        train(recipe, FAMILIES["style-ae"], output=tmp_path / name, run_folder=tmp_path / run, data=shapes())
    rows = [json.loads(line) for line in (tmp_path / "both-run/log.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == 8 and "judge" in rows[-1] and rows[0]["stage"] == "autoencoder"
    a, b = (
        load_file(tmp_path / name / "autoencoder/diffusion_pytorch_model.safetensors") for name in ("first", "both")
    )
    moved = torch.cat([(a[k].float() - b[k].float()).abs().flatten() for k in a if k != "style_means"])
    assert 0 < moved.mean() < 0.01, "a little: it starts with the weights that the first stage left"
    added = load_file(tmp_path / "added/autoencoder/diffusion_pytorch_model.safetensors")
    assert all(torch.equal(added[k], b[k]) for k in b), "a stage added to a finished run is as if it had been there"
    with pytest.raises(GenariumError, match=r"begun with another recipe: training\.stages\.refinement was"):
        train(first, FAMILIES["style-ae"], output=tmp_path / "c", run_folder=tmp_path / "run", data=shapes())


def test_data_without_pairs_or_names_train_it_to_give_back_the_picture():
    pipeline = tiny()
    batch = {"images": pictures(4), "class_labels": None}
    own = pipeline.autoencoder(batch["images"], batch["images"])[0]
    _, parts = loss_of(pipeline, batch)
    assert parts["pixels"].item() == pytest.approx((own - batch["images"]).abs().mean().item(), rel=1e-4)
    assert "style" not in parts


# ---- a training, and what it learnt ----

SIZE = 16
RECIPE = Recipe(
    name="tiny-style",
    family="style-ae",
    repo_id="me/tiny-style",
    data=DataSpec(
        name="me/shapes",
        sample_size=SIZE,
        channels=3,
        label_column=None,
        conditions={"style": "style"},
        pairs=PairSpec(same="shape", differ="style"),
    ),
    architecture={
        "block_out_channels": [12, 24],
        "content_channels": [4, 8],
        "decoder_layers": 1,
        "style_dim": 8,
        "discriminator_widths": [8, 16],
    },
    training=TrainingSpec(
        stages=(StageSpec(name="autoencoder", images=24 * 220, samples="swap_style"),),
        batch_size=24,
        learning_rate=4e-3,
        betas=(0.5, 0.99),
        warmup_steps=10,
        ema_decay=0.9,
        precision="fp32",
    ),
)


def shapes() -> ImageData:
    """Eight shapes in three styles: dark red on white, bright green on black, blue with stripes on white."""
    down, right = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    masks = [
        (down - 8).abs() + (right - 8).abs() < 6,
        (down - 8) ** 2 + (right - 8) ** 2 < 30,
        (right > 3) & (right < 8),
        (down > 9) & (down < 13),
        (down > 3) & (right > 3) & (down + right < 18),
        ((down - 8).abs() < 2) | ((right - 8).abs() < 2),
        (down > 2) & (down < 7) & (right > 8),
        (down - right).abs() < 3,
    ]
    paper = torch.tensor([[255, 255, 255], [0, 0, 0], [255, 255, 255]])
    ink = torch.tensor([[120, 10, 10], [120, 250, 120], [20, 20, 230]])
    images, styles = [], []
    for mask in masks:
        for style in range(3):
            inked = mask & (down % 4 < 2) if style == 2 else mask
            images.append(torch.where(inked, ink[style][:, None, None], paper[style][:, None, None]))
            styles.append(style)
    styles = torch.tensor(styles)
    return ImageData(
        torch.stack(images).to(torch.uint8),
        None,
        None,
        conditions={"style": styles},
        condition_names={"style": STYLES},
        pairs=Pairs(torch.arange(8).repeat_interleave(3), styles),
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(pipeline as loaded from its folder, its data, the run's folder)."""
    folder = tmp_path_factory.mktemp("style")
    data = shapes()
    output = train(RECIPE, FAMILIES["style-ae"], data=data, run_folder=folder / "run", output=folder / "checkpoint")
    return load_pipeline(open_checkpoint(output, FAMILIES)), data, folder


def to_arrays(images: torch.Tensor) -> np.ndarray:
    return images.permute(0, 2, 3, 1).numpy()


def test_it_learns_to_draw_a_content_in_the_style_of_another_picture(trained):
    pipeline, data, folder = trained
    rows = torch.arange(len(data))
    partners, examples = data.pairs.draw(rows, torch.Generator().manual_seed(5))
    images = to_arrays(data.images)
    swapped = pipeline.swap_style(images[rows], images[examples], output_type="pt").images
    true, source = data.images[partners] / 255, data.images[rows] / 255
    error, before = (swapped - true).abs().mean().item(), (source - true).abs().mean().item()
    assert error < 0.25 * before, f"{error:.3f} from the true drawing, the source {before:.3f}"
    wrong = data.images[data.pairs.draw(partners, torch.Generator().manual_seed(6))[0]] / 255
    nearer = (swapped - true).abs().mean((1, 2, 3)) < (swapped - wrong).abs().mean((1, 2, 3))
    assert nearer.float().mean() > 0.9, "the drawing in the style asked for, not in another"
    sheets = list((folder / "run/samples").glob("*.png"))
    assert sheets and Image.open(sheets[0]).height > 4 * SIZE


def test_a_designers_name_stands_for_the_mean_of_the_drawings(trained):
    pipeline, data, _ = trained
    images = to_arrays(data.images)
    vectors = pipeline.autoencoder.encode_style(data.images / 127.5 - 1)
    means = torch.stack([vectors[data.pairs.styles == style].mean(0) for style in range(3)])
    # the weights were rounded to half precision after they were measured
    assert torch.allclose(pipeline.autoencoder.style_means, means, atol=0.05 * means.abs().max().item())
    for number, designer in STYLES.items():
        swapped = pipeline.swap_style(images, designer=designer, output_type="pt").images
        true = data.images[data.pairs.styles == int(number)].repeat_interleave(3, 0) / 255
        assert (swapped - true).abs().mean() < 0.12
        named = pipeline.swap_style(images[:1], images[1:2], designer=designer, output_type="pt").images
        assert torch.allclose(named, swapped[:1], atol=1e-5), "a name goes before the picture"


def test_strength_goes_from_the_own_style_to_the_other(trained):
    pipeline, data, _ = trained
    content, style = to_arrays(data.images)[[0]], to_arrays(data.images)[[4]]

    def swap(strength):
        return pipeline.swap_style(content, style, strength=strength, output_type="pt").images

    own = pipeline.reconstruct(content, output_type="pt").images
    assert torch.allclose(swap(0.0), own, atol=1e-5)
    assert torch.equal(swap(1.0), pipeline.swap_style(content, style, output_type="pt").images)
    distances = [(swap(strength) - own).abs().mean().item() for strength in (0.0, 0.5, 1.0)]
    assert distances[0] < distances[1] < distances[2]


def test_an_interpolation_moves_what_is_asked_for(trained):
    pipeline, data, _ = trained
    a, b = to_arrays(data.images)[[0]], to_arrays(data.images)[[7]]  # another shape in another style

    def walk(what):
        return pipeline.interpolate(a, b, num_frames=3, what=what, output_type="pt").images

    own = pipeline.reconstruct(np.concatenate([a, b]), output_type="pt").images
    styled, redrawn = (pipeline.swap_style(x, y, output_type="pt").images[0] for x, y in ((a, b), (b, a)))
    for what, end in (("both", own[1]), ("style", styled), ("content", redrawn)):
        frames = walk(what)
        assert torch.allclose(frames[0], own[0], atol=1e-5) and torch.allclose(frames[-1], end, atol=1e-5)
        assert not torch.allclose(frames[1], frames[0], atol=1e-2)


def test_a_map_puts_pictures_near_their_designer(trained):
    pipeline, data, _ = trained
    output = pipeline.style_map(to_arrays(data.images))
    assert output.names == [*STYLES.values()] + [""] * len(data) and output.points.shape == (3 + len(data), 2)
    known, given = output.points[:3], output.points[3:]
    nearest = torch.cdist(given, known).argmin(1)
    assert (nearest == data.pairs.styles).float().mean() > 0.9
    alone = pipeline.style_map(to_arrays(data.images)[:1])
    assert torch.allclose(alone.points, output.points[:4], atol=1e-4), "the map is the designers', whoever is put on it"
    assert known.std(0)[0] > known.std(0)[1] > 0


def test_a_bare_diffusers_swaps_the_same(trained, tmp_path):
    pipeline, data, folder = trained
    images = to_arrays(data.images)
    np.savez(tmp_path / "images.npz", content=images[:2], style=images[3:4])
    expected = {
        "any": pipeline.swap_style(images[:2], images[3:4], output_type="np").images,
        "bright": pipeline.swap_style(images[:2], designer="bright", output_type="np").images,
    }
    np.savez(tmp_path / "expected.npz", **expected)
    program = f"""
import numpy as np, torch
from diffusers import DiffusionPipeline
torch.set_num_threads({torch.get_num_threads()})
pipe = DiffusionPipeline.from_pretrained({str(folder / "checkpoint")!r}, trust_remote_code=True)
pipe.autoencoder.to(memory_format=torch.channels_last).eval().requires_grad_(False)
given, expected = np.load("images.npz"), np.load("expected.npz")
for designer in ("any", "bright"):
    images = pipe.swap_style(given["content"], given["style"], designer=designer, output_type="np").images
    assert np.array_equal(images, expected[designer]), designer
print(len(pipe.style_map(given["style"]).names))
"""
    assert run_bare(program, tmp_path).strip() == "4"


# ---- what is refused ----


def test_what_cannot_be_swapped_is_refused_with_words(trained):
    pipeline, data, _ = trained
    images = to_arrays(data.images)
    for arguments, error, says in (
        ({"content": images[:2]}, ValueError, "style: give a picture in the style you want, or name a designer"),
        ({"content": images[:3], "style": images[:2]}, ValueError, "style: give one picture or 3"),
        ({"content": images[:1], "designer": "nobody"}, ValueError, "designer: choose 'any', 'dark'"),
        ({"content": "a.png", "style": images[:1]}, TypeError, "content: give PIL images"),
        ({"content": images[:1], "style": torch.zeros(1, 1, 8, 8)}, ValueError, "style: this model takes"),
        ({"content": images[:1], "style": images[:1], "strength": -1}, ValueError, "strength: must be at least"),
    ):
        with pytest.raises(error, match=says):
            pipeline.swap_style(**arguments)
    with pytest.raises(ValueError, match="num_frames"):
        pipeline.interpolate(images[:1], images[1:2], num_frames=1)


def test_names_cannot_be_used_before_they_are_measured():
    pipeline = tiny(conditions=CONDITIONS)
    with pytest.raises(ValueError, match="designer: the designers' styles are not measured yet"):
        pipeline.swap_style(pictures(1), designer="dark")
    output = pipeline.style_map(pictures(1))
    assert output.names == [""] and torch.equal(output.points, torch.zeros(1, 2))
    with pytest.raises(ValueError, match="no image of bright, striped"):
        pipeline.fit([{"images": pictures(2), "conditions": {"style": torch.zeros(2, dtype=torch.int64)}}])


def test_a_recipe_must_name_the_stage(tmp_path):
    plain = dataclasses.replace(RECIPE, training=dataclasses.replace(RECIPE.training, stages=(), images=24))
    with pytest.raises(RecipeError, match="is trained in stages"):
        train(plain, FAMILIES["style-ae"], data=shapes(), run_folder=tmp_path)


def test_the_folder_holds_what_it_needs_and_no_helpers(trained):
    folder = trained[2] / "checkpoint"
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert files == {
        "model_index.json",
        "training.json",
        "pipeline_style_ae.py",
        "autoencoder/config.json",
        "autoencoder/diffusion_pytorch_model.safetensors",
        "autoencoder/modeling_style_ae.py",
    }
    assert json.loads((folder / "training.json").read_text())["recipe"] == RECIPE.name
    index = json.loads((folder / "model_index.json").read_text())
    assert index["conditions"] == CONDITIONS and index["_class_name"] == [
        "pipeline_style_ae",
        "StyleAutoencoderPipeline",
    ]
