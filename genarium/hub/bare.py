"""Run by `proof.py` in a process of its own, as a script: nothing of this repository may be imported here.

The request comes as JSON on stdin; results.npz is left in the working folder, and the class's module is printed.
"""

import json
import sys


def compute(pipe, request: dict, material) -> dict:
    """Do each task of the request once. `material`: uint8 [N, H, W, C], what reconstruction and the like begin with.

    Returns:
        By the task's name, its images or scores as an array.
    """
    import numpy as np
    import torch

    pipe.set_progress_bar_config(disable=True)
    for part in pipe.components.values():
        if isinstance(part, torch.nn.Module):
            # As the host does. Another layout sums in another order, and torch takes other kernels for weights that could
            # be trained, even where no gradient is asked for.
            part.to(memory_format=torch.channels_last).eval().requires_grad_(False)
    results = {}
    for task in request["tasks"]:
        generator = [torch.Generator().manual_seed(seed) for seed in request["seeds"]]
        inputs = {name: material if name == "images" else material[i : i + 1] for i, name in enumerate(task["inputs"])}
        if inputs and "images" not in inputs:
            generator = generator[0]
        output = getattr(pipe, task["method"])(**inputs, generator=generator, **task["parameters"])
        results[task["name"]] = np.asarray(next(output[key] for key in ("images", "audios", "scores") if key in output))
    return results


def main() -> None:
    request = json.load(sys.stdin)
    for name in request["absent"]:
        sys.modules[name] = None  # from now on an import of it fails
    import numpy as np
    import torch
    from diffusers import DiffusionPipeline

    torch.set_num_threads(request["threads"])
    trust = {"trust_remote_code": True} if request["remote_code"] else {}
    pipe = DiffusionPipeline.from_pretrained(request["folder"], **trust)
    np.savez("results.npz", **compute(pipe, request, np.load("material.npy")))
    print(type(pipe).__module__)


if __name__ == "__main__":
    main()
