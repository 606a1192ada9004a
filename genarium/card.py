"""The model card of a checkpoint: README.md with the Hub's metadata, and the pictures it shows."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from genarium import paths
from genarium.checkpoints import Checkpoint
from genarium.pictures import enlarge, grid, save_picture, to_pictures
from genarium.recipe import AudioSpec, Recipe
from genarium.records import EVALUATION
from genarium.runtime import Runtime
from genarium.runtime.request import Request, choose_labels

COLUMNS = 10
FRAMES = 8
SWAPS = 8  # contents drawn in every named style
METADATA = ("license", "library_name", "pipeline_tag", "datasets", "tags")  # without which a card is incomplete
LIMITATIONS = (
    "It has seen one small data set and draws nothing else. The pictures are low in resolution, some are malformed, and "
    "what it calls strange is strange only against that data set. Made for study and play, not for decisions."
)
TITLES = {
    "fid": "FID (Inception-v3)",
    "fid_of_real": "FID of real images (Inception-v3)",
    "frechet_distance": "Fréchet distance ({features})",
    "frechet_distance_of_real": "Fréchet distance of real images ({features})",
    "precision": "Precision ({features})",
    "recall": "Recall ({features})",
    "psnr": "Reconstruction PSNR",
    "ssim": "Reconstruction SSIM",
    "log_likelihood": "Log-likelihood",
    "bits_per_dim": "Bits per dimension",
    "auroc_one_class": "Anomaly AUROC of a class against the others ({score})",
    "auroc_other_data": "Anomaly AUROC against {against} ({score})",
    "auroc_noise": "Anomaly AUROC against {against} ({score})",
    "style_accuracy": "Swaps whose style is told right, style by {how}",
    "style_accuracy_of_real": "The same of real images",
    "style_accuracy_of_source": "The same of the source as it is",
    "content_top1": "True drawing found first among 100 by the swap, style by {how}",
    "content_top1_of_source": "True drawing found first among 100 by the source as it is",
    "content_top5": "True drawing among the first five of 100 by the swap, style by {how}",
    "content_top5_of_source": "True drawing among the first five of 100 by the source as it is",
    "pixel_distance": "Pixel distance of swaps to the true drawing, style by {how}",
    "pixel_distance_of_source": "Pixel distance of the source to the true drawing",
    "feature_distance": "Feature distance of swaps to the true drawing, style by {how}",
    "feature_distance_of_source": "Feature distance of the source to the true drawing",
    "seconds_per_image": "Seconds per image",
    "network_evaluations": "Network evaluations per image",
    "target_beats_source": "Conversions nearer to the target voice than to the source, {speakers} speakers",
    "similarity_to_target": "Cosine to the target voice, {speakers} speakers",
    "similarity_to_source": "Cosine to the source voice, {speakers} speakers",
    "sentences_original": "Sentences recognised in originals, {speakers} speakers",
    "sentences_vocoded": "Sentences recognised in vocoded originals, {speakers} speakers",
    "sentences_converted": "Sentences recognised in conversions, {speakers} speakers",
    "content_kept": "Sentences kept, conversion to vocoded original, {speakers} speakers",
    "mel_cepstral_distortion": "Mel-cepstral distortion of conversions",
    "distortion_of_source": "Mel-cepstral distortion of the untouched source",
    "mel_distance_vocoder": "Log-mel distance, vocoder alone",
    "mel_distance_whole": "Log-mel distance, reconstruction",
    "auroc_music": "Anomaly AUROC against {against} ({score})",
    "real_time_factor": "Real-time factor of a conversion",
}


def write_card(name: str, runtime: Runtime, recipe: Recipe, test_images: torch.Tensor | None = None) -> Path:
    """Write README.md and its pictures into the checkpoint's folder.

    Args:
        name: of the checkpoint, or its folder.
        runtime: draws the pictures.
        recipe: the checkpoint's.
        test_images: uint8 [N, C, H, W] to reconstruct and interpolate; None leaves those pictures as they are.

    Returns:
        The path of README.md.
    """
    _draw(name, runtime.catalogue[name], runtime, recipe.evaluation.seed, test_images)
    return write_readme(name, runtime, recipe)


def write_readme(name: str, runtime: Runtime, recipe: Recipe) -> Path:
    """Write README.md alone, around the pictures and sounds that are there -> its path."""
    checkpoint = runtime.catalogue[name]
    card = render_card(checkpoint, recipe, runtime.pipeline(name))
    readme = checkpoint.folder / "README.md"
    temporary = readme.with_name(f"README.md.part{os.getpid()}")
    card.save(temporary)
    os.replace(temporary, readme)
    return readme


def render_card(checkpoint: Checkpoint, recipe: Recipe, pipeline) -> ModelCard:
    """The card from what is known: the recipe, the figures in evaluation.json, the pictures that are there.

    Args:
        pipeline: the loaded checkpoint, whose parameters are counted.
    """
    modules = [c for c in pipeline.components.values() if isinstance(c, torch.nn.Module)]
    evaluation = checkpoint.evaluation
    metrics = [_titled(m) for m in evaluation.get("metrics", [])]
    sound = checkpoint.modality == "audio"
    template = "voice_card_template.md" if sound else "card_template.md"
    facts = {} if sound else {"size": recipe.data.sample_size, "channels": recipe.data.channels}
    templates = [folder / template for folder in (paths.recipes(), paths.ROOT / "hub_configs")]
    return ModelCard.from_template(
        card_data(checkpoint, recipe, metrics),
        template_path=str(next((t for t in templates if t.exists()), templates[-1])),
        name=checkpoint.name,
        summary=recipe.card.summary or f"A {checkpoint.family.title} trained on {recipe.data.name}.",
        samples=(checkpoint.folder / "samples.png").exists(),
        family_title=checkpoint.family.title,
        family_description=checkpoint.family.description["en"],
        data=_data_names(recipe),
        clips=sorted(path.name for path in (checkpoint.folder / "samples").glob("*.ogg")),
        **facts,
        classes=", ".join(checkpoint.class_names),
        conditions=[(name.capitalize(), ", ".join(names)) for name, names in checkpoint.condition_names.items()],
        parameters=f"{sum(p.numel() for m in modules for p in m.parameters()):,}",
        megabytes=f"{checkpoint.size / 1e6:.1f}",
        tasks=", ".join(task.replace("_", " ") for task in checkpoint.tasks),
        license=recipe.card.license,
        code=_voice_code(checkpoint, recipe) if sound else _code(checkpoint, recipe),
        generates="generate" in checkpoint.tasks,
        swaps=(checkpoint.folder / "swaps.png").exists(),
        remote_code=_needs_remote_code(checkpoint),
        reconstructions=(checkpoint.folder / "reconstructions.png").exists(),
        interpolations=(checkpoint.folder / "interpolations.png").exists(),
        metrics=metrics,
        hardware=evaluation.get("hardware", ""),
        date=evaluation.get("date", ""),
        skipped=sorted(evaluation.get("skipped", {}).items()),
        hardware_trained=recipe.card.hardware,
        time=recipe.card.time or training_time(recipe),
        recipe=_recipe_yaml(recipe),
        limitations=recipe.card.limitations or LIMITATIONS,
        papers=checkpoint.family.papers,
    )


def card_problems(content: str, folder: Path, repo_id: str) -> list[str]:
    """What a reader on the Hub would miss in a card; nothing if it is sound. The Hub has its own check beside this one.

    Args:
        content: of README.md.
        folder: where the pictures it shows must be, and evaluation.json, whose figures it must tell.
        repo_id: which the code to load it must name.
    """
    try:
        card = ModelCard(content)
    except (ValueError, TypeError, yaml.YAMLError) as error:
        return [f"its metadata cannot be read: {' '.join(str(error).split())}"]
    data = card.data
    problems = [f"its metadata lacks {key}" for key in METADATA if not getattr(data, key, None)]
    if (data.library_name or "diffusers") != "diffusers":
        problems.append(f"its library_name is {data.library_name}, not diffusers")
    if "genarium" not in (data.tags or ["genarium"]):
        problems.append("its tags lack genarium")
    path = folder / EVALUATION
    try:
        measured = path.exists() and json.loads(path.read_text(encoding="utf-8")).get("metrics")
    except (ValueError, AttributeError):
        measured = None
        problems.append(f"{EVALUATION} beside it is damaged")
    if measured and not data.eval_results:
        problems.append(f"its model-index lacks the figures of {EVALUATION}")
    if f'"{repo_id}"' not in card.text:
        problems.append(f'its code does not load "{repo_id}"')
    for picture in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", card.text):
        if "://" not in picture and not (folder / picture).exists():
            problems.append(f"it shows {picture}, which is not there")
    return problems


def card_data(checkpoint: Checkpoint, recipe: Recipe, metrics: list[Mapping[str, Any]]) -> ModelCardData:
    """The metadata that the Hub reads: what it is, and the figures as measured."""
    task_type, task_name, tag = _kind_of_task(checkpoint)
    names = _data_names(recipe)
    results = [
        EvalResult(
            task_type=task_type,
            task_name=task_name,
            dataset_type=names[0],
            dataset_name=", ".join(name.split("/")[-1] for name in names),
            dataset_config=None if checkpoint.modality == "audio" else recipe.data.config,
            dataset_split=recipe.data.test_split,
            metric_type=m["name"],
            metric_name=m["title"],
            metric_value=m["value"],
            metric_args={"n": m["n"], "seed": m["seed"], "protocol": m["protocol"]},
        )
        for m in metrics
    ]
    return ModelCardData(
        license=recipe.card.license,
        library_name="diffusers",
        pipeline_tag=task_type,
        tags=["genarium", checkpoint.family.name, tag],
        datasets=list(names),
        model_name=checkpoint.name,
        eval_results=results or None,
    )


def _kind_of_task(checkpoint: Checkpoint) -> tuple[str, str, str]:
    """The Hub's name of what it does, a person's name of it, and its tag."""
    if checkpoint.modality == "audio":
        return "audio-to-audio", "Voice conversion", "voice-conversion"
    if "generate" in checkpoint.tasks:
        return "unconditional-image-generation", "Image generation", "image-generation"
    return "image-to-image", "Image to image", "style-transfer"


def _data_names(recipe: Recipe) -> tuple[str, ...]:
    """Hub ids of the data sets."""
    return recipe.data.names if isinstance(recipe.data, AudioSpec) else (recipe.data.name,)


def _titled(metric: Mapping[str, Any]) -> dict[str, Any]:
    """The same figure with `title` and `shown`, as a person reads them."""
    title = TITLES.get(metric["name"], metric["name"]).format_map(
        {"features": "", "score": "", "against": "", "how": "", "speakers": "", **metric}
    )
    unit = f" {metric['unit']}" if metric.get("unit") else ""
    protocol = metric["protocol"].replace("|", "/")
    return {
        **metric,
        "title": title.replace(" (default)", ""),
        "shown": f"{metric['value']:.4g}{unit}",
        "protocol": protocol,
    }


def _needs_remote_code(checkpoint: Checkpoint) -> bool:
    """Not where every part is diffusers' own: such a checkpoint names a stock pipeline, by name alone."""
    return isinstance(checkpoint.index.get("_class_name"), list)


def _swap_code(checkpoint: Checkpoint, recipe: Recipe) -> str:
    """A swap of style in a bare diffusers, by example and by name."""
    lines = [
        "from diffusers import DiffusionPipeline",
        "from PIL import Image",
        "",
        f'pipe = DiffusionPipeline.from_pretrained("{recipe.repo_id}", trust_remote_code=True)',
        'content, style = Image.open("content.png"), Image.open("style.png")',
        "image = pipe.swap_style(content, style).images[0]",
    ]
    for control, names in _named_styles(checkpoint).items():
        lines.append(f'image = pipe.swap_style(content, {control}="{names[0]}").images[0]')
    return "\n".join(lines)


def _named_styles(checkpoint: Checkpoint) -> dict[str, tuple[str, ...]]:
    """Controls of the swap that choose a style by name -> the names."""
    controls = checkpoint.controls("swap_style").values() if "swap_style" in checkpoint.tasks else ()
    return {c.name: c.choices[1:] for c in controls if c.choices_from}


def _code(checkpoint: Checkpoint, recipe: Recipe) -> str:
    """Ten images in a bare diffusers, with what this checkpoint's controls stand at in the app; or a swap of style."""
    if "generate" not in checkpoint.tasks:
        return _swap_code(checkpoint, recipe)
    arguments = ["batch_size=10", "generator=generator"]
    trust = ""
    if _needs_remote_code(checkpoint):
        trust = ", trust_remote_code=True"
        if checkpoint.class_names:
            arguments.append(f"class_labels=[i % {len(checkpoint.class_names)} for i in range(10)]")
        defaults = (checkpoint.index.get("defaults") or {}).get("generate") or {}
        arguments += [f"{name}={json.dumps(v) if isinstance(v, str) else repr(v)}" for name, v in defaults.items()]
    call = f"images = pipe({', '.join(arguments)}).images"
    if len(call) > 100:
        call = "images = pipe(\n    " + ",\n    ".join(arguments) + ",\n).images"
    return "\n".join(
        (
            "import torch",
            "from diffusers import DiffusionPipeline",
            "",
            f'pipe = DiffusionPipeline.from_pretrained("{recipe.repo_id}"{trust})',
            "generator = [torch.Generator().manual_seed(i) for i in range(10)]  # one for each image",
            call,
        )
    )


def _voice_code(checkpoint: Checkpoint, recipe: Recipe) -> str:
    """One conversion in a bare diffusers, from files."""
    rate = recipe.data.sampling_rate
    return "\n".join(
        (
            "import soundfile",
            "from diffusers import DiffusionPipeline",
            "",
            f'pipe = DiffusionPipeline.from_pretrained("{recipe.repo_id}", trust_remote_code=True)',
            f'words, rate = soundfile.read("words.wav", dtype="float32")  # mono at {rate} Hz; else soxr.resample(x, rate, {rate})',
            'voice, rate = soundfile.read("voice.wav", dtype="float32")',
            "sound = pipe.swap_style(words, voice).audios[0]",
            'soundfile.write("converted.wav", sound, pipe.config.sampling_rate)',
        )
    )


def _recipe_yaml(recipe: Recipe) -> str:
    """How the weights were made, as in the recipe's file: what it leaves out as None stays out."""

    def told(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: told(v) for key, v in value.items() if v is not None}
        return [told(v) for v in value] if isinstance(value, (list, tuple)) else value

    return yaml.safe_dump(
        {part: told(dataclasses.asdict(recipe)[part]) for part in ("architecture", "training")}, sort_keys=False
    )


def training_time(recipe: Recipe) -> str:
    """How long the run took that is still in runs/, in words; "" if there is none."""
    path = paths.runs() / recipe.name / "time.json"
    if not path.exists():
        return ""
    seconds = json.loads(path.read_text())["seconds"]
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"


def _draw(name: str, checkpoint: Checkpoint, runtime: Runtime, seed: int, test_images: torch.Tensor | None) -> None:
    """samples.png, reconstructions.png, interpolations.png and swaps.png, as far as the family can."""
    if "generate" in checkpoint.tasks:
        columns = min(len(checkpoint.class_names) or COLUMNS, COLUMNS)
        number = columns * 5
        request = Request(name, "generate", seed, number, choose_labels(checkpoint, "cycle", number))
        result = runtime.run(request)
        asked = {**result.request.to_dict(), "checkpoint": checkpoint.name}  # a folder's path is nobody's business
        _save(grid(result.pictures, columns), checkpoint.folder / "samples.png", asked)
    if test_images is None:
        return
    pictures = to_pictures(test_images.permute(0, 2, 3, 1).numpy())
    if "reconstruct" in checkpoint.tasks:
        some = pictures[:COLUMNS]
        restored = runtime.run(Request(name, "reconstruct", seed, invert="no"), {"images": some}).pictures
        _save(grid(some + restored, len(some)), checkpoint.folder / "reconstructions.png", {})
    if "interpolate" in checkpoint.tasks and len(pictures) > 1:
        parameters = {"num_frames": FRAMES} if "num_frames" in checkpoint.controls("interpolate") else {}
        request = Request(name, "interpolate", seed, parameters=parameters, invert="no")
        pairs = list(zip(pictures[0:8:2], pictures[1:8:2], strict=False))
        strips = [runtime.run(request, {"a": a, "b": b}).pictures for a, b in pairs]
        _save(grid([p for s in strips for p in s], len(strips[0])), checkpoint.folder / "interpolations.png", {})
    for control, names in _named_styles(checkpoint).items():
        rows = []
        for content in pictures[:SWAPS]:
            rows.append(content)
            for name_of_style in names:
                request = Request(name, "swap_style", seed, parameters={control: name_of_style}, invert="no")
                rows += runtime.run(request, {"content": content, "style": content}).pictures  # a name needs no picture
        _save(grid(rows, 1 + len(names)), checkpoint.folder / "swaps.png", {})


def _save(sheet, path: Path, request: Mapping[str, Any]) -> None:
    temporary = path.with_name(f"{path.name}.part{os.getpid()}")
    save_picture(enlarge(sheet, 2 * max(sheet.size)), temporary, dict(request))
    os.replace(temporary, path)
