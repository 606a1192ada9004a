"""The Lab in figures: W1 after 15 seconds of learning for each family and data set, and the error of the scores.

    python benchmarks/lab.py                       # all of it, about 15 minutes on one core
    python benchmarks/lab.py --families gan vae --data moons

Seconds are those of one core that the training itself computes, so other work on the machine does not count. W1 is exact, between
1,000 samples and 1,000 points of the data that were not trained on. The row "data" is W1 between two such sets of data: no
model can be expected to do better. Rows that the file of figures has already, and that are not asked for, are kept. The score's error is E |s - s*|^2 / E |s*|^2 over noisy data, at three noise levels in
units of the plane, where the data span about 7.
"""

import argparse
import json
import math
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

from genarium.tasks.lab.data import SETS, known_density
from genarium.tasks.lab.distance import POINTS, wasserstein1
from genarium.tasks.lab.question import Question, planes
from genarium.tasks.lab.training import Training
from genarium.tasks.lab.views.scores import score_error

NOISES = (0.1, 0.5, 2.0)
VARIANTS: dict[str, tuple[str, dict]] = {  # beside each family's defaults, where another setting is another method
    "flow-matching, OT": ("flow-matching", {"coupling": "optimal_transport"}),
    "flow-matching, reflow": ("flow-matching", {"coupling": "reflow"}),
    "gan, non-saturating": ("gan", {"objective": "non_saturating"}),
    "gan, wgan_clip": ("gan", {"objective": "wgan_clip", "critic_steps": 3}),
    "gan, wgan_gp": ("gan", {"objective": "wgan_gp", "penalty": 0.5, "critic_steps": 3}),
}


def measured(family: str, settings: dict, data: str, seconds: float, seed: int) -> dict:
    """Train once, and return W1, steps, seconds and, where the family has a score, its errors."""
    steps = planes()[family].plane.steps
    training = Training(
        Question(data, family, settings, seed, speed=max(1, steps // 8)), limit=seconds, patience=math.inf
    )
    training._next_measurement = float("inf")  # only the last frame is measured
    for _ in training:
        pass
    found = {"w1": training.w1, "steps": training.step, "of": training.steps, "seconds": round(training.seconds, 1)}
    scene = training.trained.scene
    if hasattr(scene.plane, "score"):
        found["score_error"] = {str(noise): score_error(scene, noise) for noise in NOISES}
    return found


def floor(data: str, seed: int) -> float:
    """Return W1 between two sets of data."""
    random = np.random.default_rng(seed)
    return wasserstein1(*(known_density(data).draw(POINTS, random).astype(np.float32) for _ in range(2)))


def check_by_pot(seed: int = 0) -> str:
    """Compare the assignment with POT's exact solver, where POT is installed, and return a sentence."""
    try:
        import ot
    except ImportError:
        return "POT is not installed, so W1 was not compared with it."
    random = np.random.default_rng(seed)
    a, b = random.normal(size=(POINTS, 2)), random.normal(1, 2, size=(POINTS, 2))
    theirs = ot.emd2(np.full(POINTS, 1 / POINTS), np.full(POINTS, 1 / POINTS), ot.dist(a, b, "euclidean"))
    return f"W1 by assignment differs from POT's ot.emd2 by {abs(theirs - wasserstein1(a, b)):.1e}."


def table(rows: dict[str, dict[str, str]], columns: list[str]) -> str:
    """Return a Markdown table."""
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    return "\n".join(
        [*lines, *(f"| {name} | " + " | ".join(row[c] for c in columns) + " |" for name, row in rows.items())]
    )


def main() -> None:
    """Measure, print both tables, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", nargs="*", help="of the Lab's families and variants; by default all")
    parser.add_argument("--data", nargs="*", default=list(SETS), choices=list(SETS))
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks/lab.json"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    known = {name: (name, {}) for name in planes()} | VARIANTS
    chosen = given.families or list(known)
    before = json.loads(given.out.read_text()) if given.out.exists() else {}
    results: dict[str, dict[str, dict]] = before.get("results", {})
    floors: dict[str, float] = before.get("floor", {})
    for name in chosen:
        family, settings = known[name]
        for data in given.data:
            results.setdefault(name, {})[data] = found = measured(family, settings, data, given.seconds, given.seed)
            print(name, data, json.dumps(found), file=sys.stderr, flush=True)
            floors |= {data: floor(data, given.seed)}
            given.out.parent.mkdir(parents=True, exist_ok=True)
            given.out.write_text(json.dumps({"seconds": given.seconds, "floor": floors, "results": results}, indent=1))
    print(tables(results, floors))
    print(f"\n{check_by_pot(given.seed)}")


def tables(results: dict[str, dict[str, dict]], floors: dict[str, float]) -> str:
    """Return both tables: W1 of every row, and the score's error of those that have one."""
    columns = [data for data in SETS if data in floors]
    floor_row = {data: f"{floors[data]:.2f}" for data in columns}
    w1 = {
        name: {data: f"{row[data]['w1']:.2f}" if data in row else "–" for data in columns}
        for name, row in results.items()
    }
    text = table({"data": floor_row, **w1}, columns)
    errors = {
        name: {data: " / ".join(f"{row[data]['score_error'][str(noise)]:.3f}" for noise in NOISES) for data in columns}
        for name, row in results.items()
        if all("score_error" in row.get(data, {}) for data in columns)
    }
    if not errors:
        return text
    return f"{text}\n\nScore's error at noise {' / '.join(map(str, NOISES))}:\n\n{table(errors, columns)}"


if __name__ == "__main__":
    main()
