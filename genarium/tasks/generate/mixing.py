"""How slowly the chains of a model mix that draws by a Markov chain: their autocorrelation.

Paper:
    Geyer: Practical Markov Chain Monte Carlo, 1992, https://doi.org/10.1214/ss/1177011137
"""

from __future__ import annotations

import inspect

from genarium.evaluation.figure import Figure, Metric, Part
from genarium.evaluation.images import ImageEvaluation
from genarium.parallel import join

LAG = 100  # steps

CHAINS = (
    "probabilities of the pixels in {n} chains side by side, {steps} steps of each after {burn_in} others; mean and variance over "
    "all chains"
)
TIME = Figure(
    "autocorrelation_time",
    "Autocorrelation time of the chains",
    "steps of a chain that are worth one independent sample: 1 + 2 times the sum of the autocorrelations, up to where two "
    "neighbours sum to less than 0, and over at most half of the steps, so that a chain that is slower looks faster; "
    + CHAINS,
    unit="steps",
)
LATER = Figure(f"autocorrelation_{LAG}", f"Autocorrelation of the chains after {LAG} steps", "0: forgotten; " + CHAINS)


def measure(evaluation: ImageEvaluation) -> list[Metric]:
    """Measure the autocorrelation of the model's chains, as the pipeline's `mixing` does by default."""
    if not join().is_main_process:
        return []
    mixing = evaluation.pipeline.mixing
    defaults = {name: p.default for name, p in inspect.signature(mixing).parameters.items()}
    found = mixing(seed=evaluation.seed)
    facts = {"steps": defaults["num_steps"], "burn_in": defaults["burn_in"]}
    number = defaults["num_chains"]
    return [
        evaluation.metric(TIME, found["autocorrelation_time"], number, facts),
        evaluation.metric(LATER, found["autocorrelation"][LAG], number, facts),
    ]


PART = Part("mixing", "image", "mixing", (TIME, LATER), measure)
