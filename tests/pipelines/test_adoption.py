"""Stock diffusers checkpoints, saved by diffusers itself: which family takes them, and that they work in every task."""

import json

import numpy as np
import PIL.Image
import pytest
import torch
from conftest import run_bare
from diffusers import (
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    DiTPipeline,
    DiTTransformer2DModel,
    FlowMatchEulerDiscreteScheduler,
)
from safetensors.torch import load_file, save_file
from stock_models import DDPM_UNET, DIT, kl_model, random_unet, stock, vq_model

from genarium.catalogue import Catalogue, find_checkpoints
from genarium.checkpoints import load_pipeline, open_checkpoint
from genarium.errors import CheckpointError
from genarium.families import discover
from genarium.runtime import Runtime
from genarium.runtime.request import Request
from pipelines.denoiser import Denoiser
from pipelines.family import Report
from pipelines.score_samplers import reverse_diffusion

QUICK = {"num_inference_steps": 2, "num_refinements": 0, "num_frames": 3, "num_noise_levels": 1, "num_samples": 1}


PAGES = {"check", "explore", "compare"}  # which call no method of their own


@pytest.mark.parametrize(
    ("kind", "family"),
    [
        ("DDPMPipeline", "ddpm"),
        ("DDIMPipeline", "ddpm"),
        ("ScoreSdeVePipeline", "score-sde"),
        ("DiTPipeline", "dit"),
    ],
)
def test_a_stock_checkpoint_works_in_every_task(kind, family, tmp_path, families):
    stock(kind).save_pretrained(tmp_path / "stock")
    checkpoint = open_checkpoint(tmp_path / "stock", families)
    assert checkpoint.family.name == family and not checkpoint.class_names
    assert set(checkpoint.tasks) == {"generate", "reconstruct", "interpolate", "anomaly"} | PAGES
    runtime = Runtime(Catalogue({"stock": checkpoint}, (), families), device="cpu")
    picture = PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 40, 3), np.uint8))
    for name in set(checkpoint.tasks) - PAGES:
        task = checkpoint.tasks[name]
        parameters = {k: v for k, v in QUICK.items() if k in checkpoint.controls(name)}
        request = Request("stock", name, seed=3, batch_size=2, parameters=parameters)
        result = runtime.run(request, dict.fromkeys(task.inputs, picture))
        if name == "anomaly":
            assert np.isfinite(result.scores).all() and result.maps.shape == (1, 32, 32)
        else:
            assert len(result.pictures) == {"generate": 2, "interpolate": 3}.get(name, 1)
            assert {(p.mode, p.size) for p in result.pictures} == {("RGB", (32, 32))}
            assert np.asarray(result.pictures[0]).std() > 1, "a constant picture tests nothing"


def test_a_stock_checkpoint_draws_what_diffusers_draws(tmp_path, families):
    """The same network, schedule, seed and steps: our DDIM is diffusers' own, picture for picture."""
    original = stock("DDIMPipeline", beta_end=0.001, timestep_spacing="trailing", clip_sample=False)
    original.save_pretrained(tmp_path)
    adopted = load_pipeline(open_checkpoint(tmp_path, families))
    # ours keeps the estimate in [-1, 1] at each step, diffusers, set not to clip, only at the end
    adopted._clip = lambda output, x, alpha_bar: (output, adopted._views(output, x, alpha_bar)[0])
    ours = adopted(2, torch.Generator().manual_seed(0), sampler="ddim", num_inference_steps=5, output_type="np").images
    theirs = original(2, torch.Generator().manual_seed(0), num_inference_steps=5, output_type="np").images
    assert ((theirs > 0) & (theirs < 1)).mean() > 0.3, "pictures that are all black and white would hide errors"
    assert np.abs(ours - theirs).max() < 1e-4


def test_weights_from_before_2023_load(tmp_path, families):
    """google/ddpm-cifar10-32 names its attention's parts query, key, value and proj_attn."""
    stock("DDPMPipeline").save_pretrained(tmp_path)
    file = tmp_path / "unet/diffusion_pytorch_model.safetensors"
    new = load_file(file)
    names = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
    old = {}
    for key, value in new.items():
        for now, then in names.items():
            key = key.replace(now, then)
        old[key] = value.clone()
    assert old.keys() != new.keys()
    save_file(old, file, metadata={"format": "pt"})
    loaded = load_pipeline(open_checkpoint(tmp_path, families)).unet.state_dict()
    assert loaded.keys() == new.keys() and all(torch.equal(loaded[key], new[key]) for key in new)


# ---- ScoreSdeVePipeline: a network that gives the score of images in [0, 1] ----


@pytest.fixture
def both(tmp_path, families):
    """(diffusers' pipeline without corrector, the adopted one), on the same weights."""
    original = stock("ScoreSdeVePipeline", sigma_max=1.0, correct_steps=0)
    original.save_pretrained(tmp_path)
    return original, load_pipeline(open_checkpoint(tmp_path, families), dtype=torch.bfloat16)


def test_the_adopted_score_is_that_of_the_stock_network(both):
    original, adopted = both
    u = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    sigma = torch.tensor([0.01, 0.1, 1.0, 15.0])
    with torch.no_grad():
        theirs = original.unet(u, sigma).sample  # grad_u log p(u)
        x0 = adopted.denoise((2 * u - 1).double(), 2 * sigma.double())
    # y = 2 u - 1 is twice as wide: grad_y log p = grad_u log p / 2, and Karras et al. 2022 eq. 3
    ours = 2 * (x0 - (2 * u - 1)) / (2 * sigma.double()[:, None, None, None]) ** 2
    assert ((ours - theirs).abs().amax((1, 2, 3)) < 1e-4 * theirs.abs().amax((1, 2, 3))).all()


def test_the_adopted_noise_levels_are_the_stock_ones_on_our_scale(both):
    original, adopted = both
    original.scheduler.set_timesteps(50)
    original.scheduler.set_sigmas(50)
    process = adopted.scheduler.process("ve")
    ours = [process.sigma(float(t)) for t in original.scheduler.timesteps]
    assert np.allclose(ours, 2 * original.scheduler.sigmas.numpy(), rtol=1e-4)


def test_the_adopted_sampler_walks_the_stock_path(both):
    """diffusers' whole loop of predictor steps, and ours on the same noise, end in the same pictures."""
    original, adopted = both
    steps, shape = 6, (2, 3, 32, 32)
    theirs = original(2, steps, torch.Generator().manual_seed(5), output_type="np").images  # [N, H, W, C] in [0, 1]
    generator = torch.Generator().manual_seed(5)
    process = adopted.scheduler.process("ve")
    start = 2 * (process.sigma(1.0) / 2 * torch.randn(shape, generator=generator)) - 1
    x = reverse_diffusion(
        process,
        Denoiser(adopted),
        start.double(),
        process.times(steps),
        lambda: torch.randn(shape, generator=generator),
        lambda *step: None,
    )
    ours = adopted._to_output(x, "np")
    assert ((theirs > 0) & (theirs < 1)).mean() > 0.05, "pictures that are all black and white would hide errors"
    assert np.abs(ours - theirs).max() < 1e-3


def test_fourier_frequencies_stay_in_float32(both):
    original, adopted = both
    assert adopted.dtype == torch.float32
    assert torch.equal(adopted.unet.time_proj.weight, original.unet.time_proj.weight)


def test_an_adopted_checkpoint_can_be_saved_and_opened_again(both, tmp_path, families):
    _, adopted = both
    adopted.save_pretrained(tmp_path / "ours")
    again = load_pipeline(open_checkpoint(tmp_path / "ours", families))
    assert again.scheduler.config.network == "score"
    images = [p(1, torch.Generator().manual_seed(1), num_inference_steps=2, output_type="pt").images for p in both[1:]]
    images.append(again(1, torch.Generator().manual_seed(1), num_inference_steps=2, output_type="pt").images)
    assert torch.equal(*images)


# ---- DiTPipeline: a transformer on scaled latents, with learnt variances, conditional on the class ----

NAMES = {str(i): f"thing {i}" for i in range(1000)}


@pytest.fixture
def dits(tmp_path, families):
    """(diffusers' pipeline, the adopted one), on the same weights; the names of classes written in by hand, as there."""
    original = stock("DiTPipeline")
    original.save_pretrained(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    (tmp_path / "model_index.json").write_text(json.dumps({**index, "id2label": NAMES}))
    return original, load_pipeline(open_checkpoint(tmp_path, families))


def r_of(alpha_bar: torch.Tensor) -> torch.Tensor:
    """Noise as a share of noise and signal."""
    return (1 - alpha_bar).sqrt() / ((1 - alpha_bar).sqrt() + alpha_bar.sqrt())


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_the_adopted_transformer_predicts_what_the_stock_one_does(prediction_type, tmp_path, families):
    original = stock("DiTPipeline", prediction_type=prediction_type, beta_schedule="scaled_linear")
    original.save_pretrained(tmp_path)
    adopted = load_pipeline(open_checkpoint(tmp_path, families))
    timesteps, labels = torch.tensor([0, 1, 350, 999]), torch.tensor([3, 0, 999, 1000])
    alpha_bar = original.scheduler.alphas_cumprod[timesteps]
    signal, scale = (a.sqrt()[:, None, None, None] for a in (alpha_bar, 1 - alpha_bar))
    x = torch.randn(4, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        output = original.transformer(x, timestep=timesteps, class_labels=labels).sample[:, :4]
        norm = signal + scale  # ours keeps u = (1 - r) z + r e
        ours = adopted._velocity(x / norm, r_of(alpha_bar), labels[:, None])
    if prediction_type == "epsilon":
        theirs = output - (x - scale * output) / signal
    else:
        theirs = (scale * x + signal * output) - (signal * x - scale * output)
    assert ((ours - theirs).abs().amax((1, 2, 3)) < 1e-4 * theirs.abs().amax((1, 2, 3))).all()


def test_the_adopted_transformer_walks_the_stock_path_with_guidance(dits, monkeypatch):
    """Euler's method is DDIM: on diffusers' own timesteps and noise, the same pictures."""
    original, adopted = dits
    theirs = original([7, 500], 3.0, torch.Generator().manual_seed(5), num_inference_steps=5, output_type="np").images
    r = r_of(original.scheduler.alphas_cumprod[original.scheduler.timesteps])
    plan = FlowMatchEulerDiscreteScheduler()
    plan.set_timesteps(sigmas=r.tolist())
    plan.set_begin_index(0)
    monkeypatch.setattr(type(adopted), "_scheduler", lambda *arguments: plan)
    noise = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(5))
    start = noise * ((1 - r[0]) ** 2 + r[0] ** 2).sqrt()
    labels = torch.tensor([[7], [500]])
    with torch.no_grad():
        z = adopted._sample(start, labels, "euler", 5, 3.0, Report(adopted, None))
        ours = adopted._to_output(adopted._decoded(z), "np")
    assert ((theirs > 0) & (theirs < 1)).mean() > 0.3, "pictures that are all black and white would hide errors"
    assert np.abs(ours - theirs).max() < 1e-3
    assert np.abs(theirs[0] - theirs[1]).max() > 0.01


def test_the_adopted_path_of_training_is_the_stock_schedule(dits):
    original, adopted = dits
    t = torch.tensor([0, 10, 999])
    z, noise = torch.randn(2, 3, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    x_t, wanted = adopted._path.noised(z, noise, t / 999)
    assert torch.allclose(x_t, original.scheduler.add_noise(z, noise, t), atol=1e-5) and torch.equal(wanted, noise)


def test_an_adopted_dit_knows_its_classes_and_can_be_saved_and_opened_again(dits, tmp_path, families):
    _, adopted = dits
    assert adopted.config.sample_size == 32 and adopted.config.target == "epsilon"
    adopted.save_pretrained(tmp_path / "ours")
    checkpoint = open_checkpoint(tmp_path / "ours", families)
    assert checkpoint.class_names[999] == "thing 999" and not checkpoint.lacking
    again = load_pipeline(checkpoint)
    asked = {"class_labels": [5, 6], "num_inference_steps": 2, "guidance_scale": 4.0, "output_type": "pt"}
    ours, anew = (p(2, torch.Generator().manual_seed(1), **asked).images for p in (adopted, again))
    assert torch.equal(ours, anew)
    kl_model().save_pretrained(tmp_path / "vae")
    alone, x = load_pipeline(open_checkpoint(tmp_path / "vae", families)), photographs(2)
    alone.save_pretrained(tmp_path / "alone")
    torch.save(x, tmp_path / "x.pt")
    run_bare(BARE.format(asked=asked), tmp_path)
    assert torch.allclose(torch.load(tmp_path / "generated.pt"), ours, atol=1e-5)
    restored = alone.reconstruct(x, method="autoencoder", output_type="pt").images
    assert torch.allclose(torch.load(tmp_path / "restored.pt"), restored, atol=1e-5)


BARE = """
import torch
from diffusers import DiffusionPipeline
pipe = DiffusionPipeline.from_pretrained("ours", trust_remote_code=True)
torch.save(pipe(2, torch.Generator().manual_seed(1), **{asked}).images, "generated.pt")
pipe = DiffusionPipeline.from_pretrained("alone", trust_remote_code=True)
torch.save(pipe.reconstruct(torch.load("x.pt"), method="autoencoder", output_type="pt").images, "restored.pt")
"""


def test_the_transformers_name_of_2023_is_understood(dits, tmp_path, families):
    """facebook/DiT-XL-2-256 calls it a Transformer2DModel."""
    for file in (tmp_path / "model_index.json", tmp_path / "transformer/config.json"):
        file.write_text(file.read_text().replace("DiTTransformer2DModel", "Transformer2DModel"))
    config = json.loads((tmp_path / "transformer/config.json").read_text())
    assert config["_class_name"] == "Transformer2DModel" and config["norm_type"] == "ada_norm_zero"
    assert type(load_pipeline(open_checkpoint(tmp_path, families)).transformer) is DiTTransformer2DModel


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"scheduler": DDIMScheduler(prediction_type="sample")}, "prediction type 'sample'"),
        ({"scheduler": FlowMatchEulerDiscreteScheduler()}, "with which betas"),
        ({"in_channels": 3}, "turns 3 channels into 8; the auto-encoder's latents have 4"),
        ({"num_embeds_ada_norm": 10}, "names 1000 classes, but the transformer knows 10"),
    ],
)
def test_dits_of_another_kind_are_refused_with_words(change, says, tmp_path, families):
    scheduler = change.pop("scheduler", DDIMScheduler())
    DiTPipeline(DiTTransformer2DModel(**{**DIT, **change}), kl_model(), scheduler).save_pretrained(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    (tmp_path / "model_index.json").write_text(json.dumps({**index, "id2label": NAMES}))
    with pytest.raises(CheckpointError, match=f"DiT cannot take it.*{says}"):
        load_pipeline(open_checkpoint(tmp_path, families))


# ---- single models: auto-encoders without anything that generates ----

LEFT = {"reconstruct", "interpolate", "anomaly"}


def photographs(number: int) -> torch.Tensor:
    """Smooth random images, float [N, 3, 32, 32] in [-1, 1]."""
    noise = torch.randn(number, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(noise, size=32, mode="bilinear").tanh()


SPATIAL = {"norm_type": "spatial", "block_out_channels": (32, 32)}  # whose norms have 32 groups always


@pytest.mark.parametrize("config", [{}, SPATIAL, {"lookup_from_codebook": True, "vq_embed_dim": 3}])
def test_a_lone_vq_model_reconstructs_as_in_diffusers(config, tmp_path, families):
    original = vq_model(**config)
    original.save_pretrained(tmp_path)
    checkpoint = open_checkpoint(tmp_path, families)
    assert checkpoint.family.name == "vqgan" and checkpoint.lacking == {"transformer"}
    adopted, x = load_pipeline(checkpoint), photographs(3)
    with torch.no_grad():
        theirs = original(x).sample
    output = adopted.reconstruct(x, output_type="pt")
    assert (output.images - (theirs / 2 + 0.5).clamp(0, 1)).abs().max() < 1e-4
    assert output.codes.shape == (3, 16, 16) and len(output.codes.unique()) > 3, "one code would hide errors"
    score = adopted.anomaly_score(x, score="reconstruction")
    assert torch.allclose(score.scores, (theirs - x).square().mean((1, 2, 3)), rtol=1e-3)
    ends = adopted.interpolate(x[:1], x[1:2], num_frames=2, output_type="pt").images
    assert torch.allclose(ends, output.images[:2], atol=1e-4)


def test_a_lone_autoencoder_kl_reconstructs_as_in_diffusers(tmp_path, families):
    original = kl_model(scaling_factor=0.4, shift_factor=0.1)
    original.save_pretrained(tmp_path)
    checkpoint = open_checkpoint(tmp_path, families)
    assert checkpoint.family.name == "dit" and checkpoint.lacking == {"transformer", "scheduler"}
    adopted, x = load_pipeline(checkpoint), photographs(3)
    with torch.no_grad():
        posterior = original.encode(x).latent_dist
        theirs = original.decode(posterior.mean).sample
    ours = adopted.reconstruct(x, method="autoencoder", output_type="pt").images
    assert (ours - (theirs / 2 + 0.5).clamp(0, 1)).abs().max() < 1e-4
    assert torch.allclose(adopted.encode(x), posterior.mean * 0.4, atol=1e-5)
    score = adopted.anomaly_score(x, score="autoencoder")
    assert torch.allclose(score.scores, (theirs - x).square().mean((1, 2, 3)), rtol=1e-3)
    ends = adopted.interpolate(x[:1], x[1:2], num_frames=2, output_type="pt").images
    assert torch.allclose(ends, ours[:2], atol=1e-4)


def test_what_a_lone_autoencoder_kl_lacks_is_neither_offered_nor_done(tmp_path, families):
    kl_model().save_pretrained(tmp_path / "vae")
    checkpoint = open_checkpoint(tmp_path / "vae", families)
    assert set(checkpoint.tasks) == LEFT | PAGES and list(checkpoint.controls("interpolate")) == ["num_frames"]
    assert checkpoint.controls("reconstruct")["method"].choices == ("autoencoder",)
    adopted = load_pipeline(checkpoint)
    calls = {
        "Generating": lambda: adopted(1),
        "method: 'noise'": lambda: adopted.reconstruct(photographs(1), method="noise"),
        "score: 'typicality'": lambda: adopted.anomaly_score(photographs(1)),
        "'transformer'": lambda: adopted.trainable("transformer"),
    }
    for what, call in calls.items():
        with pytest.raises(ValueError, match=f"{what} needs a transformer"):
            call()


def test_what_a_lone_vq_model_lacks_is_neither_offered_nor_done(tmp_path, families):
    vq_model().save_pretrained(tmp_path / "vq")
    checkpoint = open_checkpoint(tmp_path / "vq", families)
    assert set(checkpoint.tasks) == LEFT | PAGES and not checkpoint.controls("reconstruct")
    score = checkpoint.controls("anomaly")["score"]
    assert (score.default, score.choices, score.hidden) == ("reconstruction", ("reconstruction",), True)
    with pytest.raises(CheckpointError, match=r"cannot generate; it can: reconstruct.*It has no transformer"):
        Request("vq", "generate").checked(checkpoint)
    adopted = load_pipeline(checkpoint)
    calls = {
        "Generating": lambda: adopted(1),
        "redraw": lambda: adopted.reconstruct(photographs(1), redraw=0.5),
        "score: 'both'": lambda: adopted.anomaly_score(photographs(1)),
        "'transformer'": lambda: adopted.trainable("transformer"),
    }
    for what, call in calls.items():
        with pytest.raises(ValueError, match=f"{what} needs a transformer"):
            call()


@pytest.mark.parametrize(("model", "family"), [(vq_model, "vqgan"), (kl_model, "dit")])
def test_a_lone_auto_encoder_works_in_the_app_and_saved_anew(model, family, tmp_path, families, monkeypatch):
    model().save_pretrained(tmp_path / "alone")
    load_pipeline(open_checkpoint(tmp_path / "alone", families)).save_pretrained(tmp_path / "again")
    monkeypatch.setenv("GENARIUM_CHECKPOINTS", str(tmp_path))
    catalogue = find_checkpoints(families)
    assert set(catalogue.checkpoints) == {"alone", "again"} and not catalogue.broken
    runtime = Runtime(catalogue, device="cpu", dtype=torch.float32)
    picture = PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 40, 3), np.uint8))
    seen = {}
    for name, checkpoint in catalogue.checkpoints.items():
        assert checkpoint.family.name == family and set(checkpoint.tasks) == LEFT | PAGES
        results = [
            runtime.run(Request(name, task.name), dict.fromkeys(task.inputs, picture))
            for task in checkpoint.tasks.values()
            if task.name not in PAGES
        ]
        seen[name] = [np.asarray(p) for result in results[:-1] for p in result.pictures] + [results[-1].scores]
        assert seen[name][0].shape == (32, 32, 3) and seen[name][0].std() > 1
    assert all(np.array_equal(a, b) for a, b in zip(seen["alone"], seen["again"], strict=True))


@pytest.mark.parametrize(("model", "title"), [(vq_model, "VQGAN"), (kl_model, "DiT")])
@pytest.mark.parametrize(
    ("config", "says"),
    [({"sample_size": 33}, "do not divide"), ({"in_channels": 4}, "turns 4 channels into 3")],
)
def test_auto_encoders_of_another_kind_are_refused_with_words(model, title, config, says, tmp_path, families):
    model(**config).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=f"{title} cannot take it.*{says}"):
        load_pipeline(open_checkpoint(tmp_path, families))


# ---- what no family takes ----


@pytest.mark.parametrize(
    ("change", "says"),
    [({"sample_size": [32, 64]}, "squares only"), ({"out_channels": 6}, "variances")],
)
def test_networks_of_another_kind_are_refused_with_words(change, says, tmp_path, families):
    DDPMPipeline(random_unet(**{**DDPM_UNET, **change}), DDPMScheduler()).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=f"DDPM / DDIM cannot take it.*{says}"):
        load_pipeline(open_checkpoint(tmp_path, families))


def test_a_bare_model_is_named_for_what_it_is(tmp_path, families):
    random_unet(**DDPM_UNET).save_pretrained(tmp_path / "unet")
    with pytest.raises(CheckpointError, match=r"single model of the class 'UNet2DModel'.*AutoencoderKL.*VQModel"):
        open_checkpoint(tmp_path / "unet", families)


@pytest.mark.parametrize("kind", ["LDMPipeline", "AutoencoderKL"])
def test_an_unknown_pipeline_is_reported_with_those_that_are_known(kind, tmp_path, families):
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": kind}))
    with pytest.raises(CheckpointError, match=f"'{kind}'.*DDPMPipeline.*ScoreSdeVePipeline"):
        open_checkpoint(tmp_path, families)


def test_a_plugin_that_adopts_into_a_component_it_has_not_is_broken(house):
    plugin = house / "plugins/vqgan/plugin.py"
    plugin.write_text(plugin.read_text().replace('{"VQModel": "vqgan"}', '{"VQModel": "vae"}'))
    (broken,) = discover(installed=False).broken
    assert "VQGANPipeline has no component 'vae'" in broken.reason
