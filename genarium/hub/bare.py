"""The script that `proof.py` runs in a process of its own. It imports nothing of this repository.

It reads the request as JSON from stdin, writes results.npz into the working folder, and prints the module of the class.
"""

import json
import sys


def compute(pipe, request: dict, material) -> dict:
    """Do each task of the request once.

    Args:
        pipe: which does them.
        request: with seeds and tasks; see `proof.prove`.
        material: inputs of the tasks: pictures, uint8 [N, H, W, C], or sound, float32 [N, T].

    Returns:
        The output of each task that is compared, as an array, by task. Tasks without such an output are left out.
    """
    import numpy as np
    import torch

    pipe.set_progress_bar_config(disable=True)
    for part in pipe.components.values():
        if isinstance(part, torch.nn.Module):
            # As the host does. Another layout sums in another order, and torch takes other kernels for weights that could
            # be trained, even where no gradient is asked for.
            part.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
            part.eval().requires_grad_(False)
    results = {}
    for task in request["tasks"]:
        generators = [torch.Generator().manual_seed(seed) for seed in request["seeds"]]
        each = list(material) if material.ndim == 2 else [material[i : i + 1] for i in range(len(material))]
        inputs = dict(zip(task["inputs"], each))
        if len(inputs) == 1:
            inputs = dict.fromkeys(inputs, each if material.ndim == 2 else material)
        generator = generators[0] if len(task["inputs"]) > 1 else generators
        output = getattr(pipe, task["method"])(**inputs, generator=generator, **task["parameters"])
        found = next((output[key] for key in task["outputs"] if key in output), None)
        if found is not None:
            results[task["name"]] = np.asarray(found)
    return results


def main() -> None:
    request = json.load(sys.stdin)
    for name in request["absent"]:
        sys.modules[name] = None  # type: ignore[assignment]  # from now on an import of it fails
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
