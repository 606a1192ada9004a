"""From a checkpoint to a pipeline: the weights are loaded with the installed classes."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from genarium import trust
from genarium.checkpoints.building import BUILDING
from genarium.checkpoints.checkpoint import Checkpoint
from genarium.checkpoints.folder import MODEL_INDEX
from genarium.checkpoints.limits import check_limits
from genarium.errors import CheckpointError
from genarium.imports import HEAVY

if TYPE_CHECKING:
    import torch


def load_pipeline(checkpoint: Checkpoint, device: torch.device | str = "cpu", dtype: torch.dtype | None = None):
    """Load the weights with the installed class, each component placed by accelerate's device map.

    Args:
        checkpoint: to be loaded.
        device: where its networks go.
        dtype: of their weights; float32 unless given.

    Raises:
        CheckpointError: a component of an unknown class, weights that are missing, damaged or not safetensors, or a
            configuration that asks for more than the weights can fill.
    """
    with HEAVY:
        import torch  # here, because the first page and `list` load nothing
    dtype = dtype or torch.float32
    if checkpoint.is_foreign:
        with BUILDING:
            return trust.load(checkpoint.name, checkpoint.folder, device, dtype)
    check_limits(checkpoint.name, checkpoint.folder)
    pipeline_class = checkpoint.family.pipeline_class()
    components: dict[str, Any] = {}
    options: dict[str, Any] = {}
    expected, optional = pipeline_class._get_signature_keys(pipeline_class)
    for name, value in checkpoint.index.items():
        if name in expected and (not isinstance(value, list) or len(value) != 2):
            raise CheckpointError(f"{checkpoint.name}: {MODEL_INDEX}: {name} must name a library and a class.")
        if name in expected:
            library, class_name = value
            with BUILDING:
                components[name] = _load_component(checkpoint, pipeline_class, name, library, class_name, device, dtype)
        elif name in optional and not name.startswith("_"):
            options[name] = value
    missing = set(expected) - set(components) - set(pipeline_class._optional_components)
    if missing:
        raise CheckpointError(f"{checkpoint.name}: {MODEL_INDEX} names no {', '.join(sorted(missing))}.")
    try:
        pipeline = pipeline_class(**components, **options)
    except (AttributeError, TypeError, ValueError) as error:  # parts that do not fit each other, or the family
        raise CheckpointError(f"{checkpoint.name}: {checkpoint.family.title} cannot take it: {error}") from error
    pipeline.set_progress_bar_config(disable=True)
    pipeline.register_to_config(_name_or_path=str(checkpoint.folder))
    for component in components.values():
        if isinstance(component, torch.nn.Module):
            cast(Any, component).to(memory_format=torch.channels_last).eval().requires_grad_(False)
    return pipeline


def _only_variant(folder: Path) -> str | None:
    """Return "fp16" where a folder has its weights as that variant only, diffusion_pytorch_model.fp16.safetensors."""
    stems = [path.name.split(".")[1:-1] for path in folder.glob("*.safetensors")]
    variants = {stem[0].split("-")[0] for stem in stems if stem}
    return variants.pop() if len(variants) == 1 and all(stems) else None


def _load_component(checkpoint, pipeline_class, name, library, class_name, device, dtype):
    import diffusers
    import torch

    if library is None:
        return None
    source: Any = diffusers
    if library != "diffusers":
        # a component of the family's own: the file of this name beside the installed pipeline
        package = pipeline_class.__module__.rpartition(".")[0]
        stem = library.split(".")[-1]
        try:
            source = sys.modules.get(pipeline_class.__module__)
            if not hasattr(source, class_name):
                source = importlib.import_module(f"{package}.{stem}" if package else stem)
        except ImportError as error:
            raise CheckpointError(
                f"{checkpoint.name}: the component {name} is a {library}.{class_name}, which no installed plugin brings."
            ) from error
    component_class = getattr(source, class_name, None)
    if component_class is None or not hasattr(component_class, "from_pretrained"):
        raise CheckpointError(f"{checkpoint.name}: {library} has no class {class_name} for the component {name}.")
    place = checkpoint.folder / checkpoint.places.get(name, name)
    folder = str(place if place.is_dir() else checkpoint.folder)  # diffusers' oldest checkpoints have all in one folder
    try:
        if issubclass(component_class, diffusers.ModelMixin):
            if component_class.load_config(folder, local_files_only=True).get("time_embedding_type") == "fourier":
                # Its random frequencies, rounded to bfloat16, are others; and a score's network must tell an image from
                # noise a thousand times as strong.
                dtype = torch.float32
            return component_class.from_pretrained(
                folder,
                dtype=dtype,
                use_safetensors=True,
                device_map={"": str(device)},
                local_files_only=True,
                variant=_only_variant(Path(folder)),
            )
        return component_class.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # diffusers, accelerate and safetensors each raise their own
        raise CheckpointError(
            f"{checkpoint.name}: the component {name} cannot be loaded from safetensors in its folder: {error}"
        ) from error
