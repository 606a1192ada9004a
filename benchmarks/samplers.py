"""Measure the Fréchet distance against network evaluations for the samplers of the diffusion families.

    python benchmarks/samplers.py
    python benchmarks/samplers.py --only flow-matching-fashion-mnist --num-samples 200

Each setting draws the same `--num-samples` samples (classes in turn, seeds 0, 1, ...), so that differences are the
setting's. Table and figure go to docs/benchmarks/samplers.md and samplers.png. What was measured is kept in
runs/samplers.json by checkpoint, weights, setting and number, so that a killed run goes on; --fresh forgets it.
"""

import argparse
import hashlib
import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from tqdm.auto import tqdm

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from genarium.checkpoints import CheckpointError
from genarium.data.images import load_images
from genarium.evaluation.features import extract, load_network
from genarium.evaluation.measures import frechet_distance, precision_recall
from genarium.files import write_json
from genarium.hardware import describe_hardware
from genarium.runtime import EVALUATIONS, Runtime

KEPT = ROOT / "runs/samplers.json"
BATCH = 100


@dataclass(frozen=True)
class Sweep:
    """A line of the figure: a sampler of a checkpoint at several values of the parameter that sets its cost."""

    checkpoint: str
    sampler: str
    values: tuple
    parameter: str = "num_inference_steps"
    guidance: float = 1.0
    options: dict = field(default_factory=dict)

    @property
    def title(self) -> str:
        words = [self.sampler]
        for name, value in self.options.items():
            words.append(value if name == "process" else f"{name.removeprefix('num_').replace('_', ' ')} {value}")
        if self.guidance != 1:
            words.append(f"guidance {self.guidance}")
        return ", ".join(words)


DDPM, SDE, FLOW, STUDENT = (
    f"{name}-fashion-mnist{tail}"
    for name, tail in (("ddpm", ""), ("score-sde", ""), ("flow-matching", ""), ("flow-matching", "-2step"))
)
SWEEPS = (
    Sweep(DDPM, "unipc", (6, 12, 25)),
    Sweep(DDPM, "unipc", (6, 12, 20), guidance=1.5),
    Sweep(DDPM, "dpm-solver++", (6, 12, 25)),
    Sweep(DDPM, "heun", (6, 12)),
    Sweep(DDPM, "ddim", (6, 12, 25, 50)),
    Sweep(DDPM, "ddpm", (12, 25, 50)),
    Sweep(SDE, "heun", (5, 8, 15, 25), options={"process": "edm"}),
    Sweep(SDE, "heun", (12,), guidance=1.5, options={"process": "edm"}),
    Sweep(SDE, "heun", (25,), options={"process": "edm", "churn": 10.0}),
    Sweep(SDE, "heun", (15,), options={"process": "ve"}),
    Sweep(SDE, "heun", (15,), options={"process": "vp"}),
    Sweep(SDE, "heun", (15,), options={"process": "sub-vp"}),
    Sweep(SDE, "rk45", (0.1, 0.02), "tolerance"),
    Sweep(SDE, "ancestral", (12, 25, 50), options={"process": "vp"}),
    Sweep(SDE, "ancestral", (12, 25, 40), options={"process": "edm"}),
    Sweep(SDE, "ancestral", (12, 25), guidance=1.5, options={"process": "vp"}),
    Sweep(SDE, "reverse diffusion", (25, 100), options={"process": "vp"}),
    Sweep(SDE, "euler-maruyama", (25, 100), options={"process": "vp"}),
    Sweep(SDE, "predictor-corrector", (15, 40), options={"process": "ve", "num_corrector_steps": 1}),
    Sweep(SDE, "annealed langevin", (12, 25), options={"process": "ve", "num_corrector_steps": 3}),
    Sweep(FLOW, "euler", (4, 8, 16, 32)),
    Sweep(FLOW, "euler", (8, 16), guidance=1.5),
    Sweep(FLOW, "heun", (3, 5, 8, 12)),
    Sweep(FLOW, "heun", (5, 8, 12), guidance=1.5),
    Sweep(FLOW, "midpoint", (3, 5, 8, 12)),
    Sweep(FLOW, "midpoint", (5, 8), guidance=1.5),
    Sweep(FLOW, "rk45", (0.1, 0.02), "tolerance"),
    Sweep(STUDENT, "euler", (1, 2, 4)),
)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", metavar="CHECKPOINT", help="measure these; the others as kept")
    parser.add_argument("--num-samples", type=int, default=200)
    parser.add_argument("--data", help="local copy of the data set, in place of the Hub's")
    parser.add_argument("--fresh", action="store_true", help="measure anew what is kept")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/benchmarks/samplers.md")
    options = parser.parse_args()

    runtime = Runtime()
    kept = json.loads(KEPT.read_text()) if KEPT.exists() and not options.fresh else {}
    network = load_network("efficientnet-lite0")
    real = None
    rows = []
    for sweep in SWEEPS:
        try:
            weights = fingerprint(runtime.catalogue[sweep.checkpoint].folder)
        except CheckpointError as error:
            print(f"left out: {error}", flush=True)
            continue
        for value in sweep.values:
            setting = {"sampler": sweep.sampler, sweep.parameter: value, "guidance_scale": sweep.guidance}
            setting |= sweep.options
            key = json.dumps([sweep.checkpoint, weights, setting, options.num_samples])
            if key not in kept and (not options.only or sweep.checkpoint in options.only):
                if real is None:
                    spec = runtime.catalogue[sweep.checkpoint].recipe.data
                    test = load_images(spec, spec.test_split, options.data)
                    real = extract(network, test.images, description="features of the test set")
                kept[key] = measure(runtime, sweep.checkpoint, setting, options.num_samples, network, real)
                KEPT.parent.mkdir(exist_ok=True)
                write_json(KEPT, kept)
                print(sweep.checkpoint, sweep.title, value, kept[key], flush=True)
            if key in kept:
                rows.append((sweep, value, kept[key]))

    write_table(rows, options, runtime, network.title)
    draw(rows, options.out.with_suffix(".png"), options.num_samples)


def fingerprint(folder: Path) -> str:
    """Return a hash of a checkpoint's weights. Figures of other weights are measured again."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.safetensors")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def measure(runtime, name, setting, number, network, real) -> dict:
    """Draw `number` samples with a setting; measure evaluations for each sample, distance, precision and recall."""
    pipeline, num_classes = runtime.pipeline(name), len(runtime.catalogue[name].class_names)
    near = real[torch.randperm(len(real), generator=torch.Generator().manual_seed(0))[:number]]
    parts, seconds, EVALUATIONS.samples = [], 0.0, 0
    for start in tqdm(range(0, number, BATCH), desc=f"{name} {setting}", leave=False):
        stop = min(start + BATCH, number)
        begin = time.perf_counter()
        images = pipeline(
            stop - start,
            [torch.Generator().manual_seed(i) for i in range(start, stop)],
            [i % num_classes for i in range(start, stop)],
            **setting,
            output_type="pt",
        ).images
        seconds += time.perf_counter() - begin
        parts.append((images * 255).round().to(torch.uint8))
    evaluations = EVALUATIONS.samples / number
    fake = extract(network, torch.cat(parts))
    precision, recall = precision_recall(near, fake)
    return {
        "evaluations": evaluations,
        "distance": frechet_distance(real, fake),
        "precision": precision,
        "recall": recall,
        "seconds": seconds,
    }


def write_table(rows, options, runtime, features: str) -> None:
    lines = [
        "# Samplers: Fréchet distance against network evaluations",
        "",
        "![Distance against evaluations, by family and sampler](samplers.png)",
        "",
        "| checkpoint | sampler | set to | network evaluations | Fréchet distance | precision | recall |",
        "|" + "---|" * 7,
    ]
    for sweep, value, m in rows:
        unit = {"num_inference_steps": "steps"}.get(sweep.parameter, sweep.parameter)
        lines.append(
            f"| {sweep.checkpoint} | {sweep.title} | {value} {unit} | {m['evaluations']:.0f} | {m['distance']:.1f} "
            f"| {m['precision']:.3f} | {m['recall']:.3f} |"
        )
    lines += [
        "",
        f"`python benchmarks/samplers.py --num-samples {options.num_samples}` on {describe_hardware(runtime.device, runtime.dtype)}.",
        f"Features: {features}; {options.num_samples} samples against all test images (precision and recall against as many "
        "of these as there are samples). Not Inception FID: distances of so few samples are high for all alike, compare "
        "them with each other only. Evaluations are for each image; guidance other than 1 takes two for one.",
        "",
    ]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text("\n".join(lines))
    print("\n".join(lines))


def draw(rows, path: Path, number: int) -> None:
    """Draw a panel for each family on common axes, and in it a line for each sampler, dashed where it is guided."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

    families = {DDPM: "DDPM / DDIM", SDE: "Score-SDE", FLOW: "Flow matching"}
    figure, axes = plt.subplots(1, len(families), figsize=(15, 7), sharex=True, sharey=True, layout="constrained")
    for (name, title), axis in zip(families.items(), axes, strict=True):
        members = (name, STUDENT) if name == FLOW else (name,)
        colours: dict[tuple, str] = {}
        lines: dict[str, int] = {}  # of each colour, so that each has a marker of its own
        for sweep in SWEEPS:
            points = sorted((m["evaluations"], m["distance"]) for s, _, m in rows if s is sweep)
            if not points or sweep.checkpoint not in members:
                continue
            student = sweep.checkpoint == STUDENT
            colour = colours.setdefault((sweep.sampler, student), f"C{len(colours)}")
            lines[colour] = lines.get(colour, -1) + 1
            axis.plot(
                *zip(*points, strict=True),
                color=colour,
                marker="osD^vP*"[lines[colour]],
                markersize=5,
                linestyle="-" if sweep.guidance == 1 else "--",
                label=("two-step student, " if student else "") + sweep.title,
            )
        axis.set(title=title, xlabel="network evaluations for each image", xscale="log", yscale="log")
        axis.grid(True, which="both", alpha=0.25)
        if colours:
            axis.legend(fontsize=8.5, frameon=False, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.1))
    for axis, ticks in ((axes[0].xaxis, (1, 2, 5, 10, 20, 50, 100, 200)), (axes[0].yaxis, range(100, 1000, 50))):
        axis.set_major_locator(FixedLocator(ticks))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(ScalarFormatter())
    axes[0].set_ylabel(f"Fréchet distance, EfficientNet-Lite0, {number} samples")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
