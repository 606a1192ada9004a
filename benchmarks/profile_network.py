"""How much of the processor a network evaluation uses: its share of the peak, and which operations take its time.

    python benchmarks/profile_network.py

The peak is what a large matrix product reaches in the same run, in the same format and with as many threads: the best of many.
An evaluation's work is counted by PyTorch's own counter of floating-point operations. The network gets what the pipeline gives it
at a step of its default setting, guidance included, and is timed by itself: the best and the median of many runs. Times of the
operations are those of torch.profiler, which makes the whole slower, so only their shares stand in the table.

The table goes to the screen and to docs/benchmarks/profile_network.md. (A script called profile.py would hide a module of the standard
library from all scripts in this folder.)
"""

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import genarium
from genarium.hardware import describe_hardware

CHECKPOINTS = (
    "ddpm-fashion-mnist",
    "flow-matching-fashion-mnist",
    "flow-matching-fashion-mnist-2step",
    "score-sde-fashion-mnist",
    "dit-fashion-mnist",
)
KINDS = {  # what an operation's name contains: what it is called in the table
    "convolution": "convolution",
    "addmm": "linear",
    "attention": "attention",
    "group_norm": "group norm",
    "layer_norm": "layer norm",
    "silu": "activation",
    "gelu": "activation",
    "copy_": "copies, layout",
    "cat": "copies, layout",
}
SHOWN = ("convolution", "linear", "attention", "group norm", "layer norm", "activation", "copies, layout")


def peak(dtype, seconds):
    """Return the floating-point operations a second of a large matrix product, the best of many."""
    side = 2048
    a, b = (torch.randn(side, side, dtype=dtype) for _ in range(2))
    best, end = 0.0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        torch.mm(a, b)
        best = max(best, 2 * side**3 / (time.perf_counter() - start))
    return best


def network_and_input(pipeline, number):
    """Return the largest network of a pipeline, and what it is given at the first step of `number` pictures."""
    network = max(
        (part for part in pipeline.components.values() if isinstance(part, nn.Module)),
        key=lambda part: sum(p.numel() for p in part.parameters()),
    )
    given = []
    hook = network.register_forward_pre_hook(lambda _, args, kwargs: given.append((args, kwargs)), with_kwargs=True)
    generator = [torch.Generator().manual_seed(i) for i in range(number)]
    try:
        pipeline(batch_size=number, class_labels=[i % 10 for i in range(number)], generator=generator)
    finally:
        hook.remove()
    return network, given[0]


def of_convolution(x, weight, *_, out_shape=None, **__):
    """Return the operations of a convolution of the given shapes, which PyTorch's counter does not know by this name."""
    return conv_flop_count(list(x), list(weight), list(out_shape))


@torch.inference_mode()
def measure(pipeline, number, seconds):
    """Return the operations of an evaluation, the best and the median of its seconds, and the share of each kind of operation."""
    network, (args, kwargs) = network_and_input(pipeline, number)
    counted = {torch.ops.aten.mkldnn_convolution: of_convolution}  # as genarium/runtime/steady.py calls it
    with FlopCounterMode(display=False, custom_mapping=counted) as counter:
        network(*args, **kwargs)
    times, end = [], time.perf_counter() + seconds
    while len(times) < 5 or time.perf_counter() < end:
        start = time.perf_counter()
        network(*args, **kwargs)
        times.append(time.perf_counter() - start)
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        for _ in range(5):
            network(*args, **kwargs)
    return counter.get_total_flops(), min(times), statistics.median(times), shares(profiled.key_averages())


def shares(operations):
    """Return the share of the time that each kind of operation takes by itself, without those that it calls."""
    taken = dict.fromkeys((*SHOWN, "other"), 0.0)
    for one in operations:
        kind = next((kind for part, kind in KINDS.items() if part in one.key), "other")
        taken[kind] += one.self_cpu_time_total
    whole = sum(taken.values())
    return {kind: time / whole for kind, time in taken.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoints", nargs="+", default=list(CHECKPOINTS))
    parser.add_argument("--pictures", nargs="+", type=int, default=[1, 2, 16])
    parser.add_argument("--seconds", type=float, default=3.0, help="for each row")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--out", type=Path, default=ROOT / "docs/benchmarks/profile_network.md")
    options = parser.parse_args()
    dtype = getattr(torch, options.dtype)
    top = peak(dtype, options.seconds)
    head = ("checkpoint", "pictures", "GFLOP", "best, ms", "median, ms", "GFLOP/s", "of the peak", *SHOWN, "other")
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name in options.checkpoints:
        pipeline = genarium.load(name).to(dtype=dtype)
        for number in options.pictures:
            flops, best, median, parts = measure(pipeline, number, options.seconds)
            cells = [f"`{name}`", str(number), f"{flops / 1e9:.2f}", f"{best * 1e3:.1f}", f"{median * 1e3:.1f}"]
            cells += [f"{flops / best / 1e9:.0f}", f"{100 * flops / best / top:.0f} %"]
            cells += [f"{100 * share:.0f} %" for share in parts.values()]
            lines.append("| " + " | ".join(cells) + " |")
            print(lines[-1], flush=True)
    flags = set(Path("/proc/cpuinfo").read_text().split()) if Path("/proc/cpuinfo").is_file() else set()
    known = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_tile") if flag in flags]
    text = f"""# Where the time of a network evaluation goes

The peak is {top / 1e9:.0f} GFLOP/s: a product of two 2048 x 2048 matrices in the same run. An evaluation is one call of the network at the default
setting. With guidance it computes each picture twice.

{chr(10).join(lines)}

`python benchmarks/profile_network.py --dtype {options.dtype}` on {describe_hardware(torch.device("cpu"), dtype)}
({" ".join(known)}), {torch.get_num_threads()} threads. The load of the machine was {os.getloadavg()[0]:.0f}.
"""
    print("\n" + text)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(text)


if __name__ == "__main__":
    main()
