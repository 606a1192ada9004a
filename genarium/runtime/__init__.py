"""From a request to a result.

request.py      everything that decides a result
classes.py      classes as people name them, into labels
program.py      a request as a Python program
pipelines.py    the loaded pipelines, within a memory budget
trial.py        a stranger's checkpoint is loaded in a process of its own first
scheduler.py    `Runtime`: bring the material into the model's form, wait for a turn, run, preview, stop
visitors.py     whose a run is, and how it is stopped
turns.py        who computes next, step by step
crews.py        a run's part in the turns, and runs that compute together
flows.py        what each visitor has had, by which turns are given
batching.py     runs of several visitors in one batch
steady.py       layers whose numbers do not depend on the batch
warming.py      what the first request needs, got ready while the first page is being looked at
costs.py        how long a run will take
execution.py    one run through one pipeline: its batches and its progress
modalities.py   what pictures and sound do differently
results.py      what comes of a request
"""

from genarium.runtime.execution import Progress
from genarium.runtime.pipelines import EVALUATIONS, pick_dtype
from genarium.runtime.request import Request
from genarium.runtime.results import Pictures, Result, RunResult, Several, Sounds
from genarium.runtime.scheduler import Runtime
from genarium.runtime.turns import Outlook
from genarium.runtime.visitors import Stop, Visitor
from genarium.runtime.warming import Warming

__all__ = [
    "EVALUATIONS",
    "Outlook",
    "Pictures",
    "Progress",
    "Request",
    "Result",
    "RunResult",
    "Runtime",
    "Several",
    "Sounds",
    "Stop",
    "Visitor",
    "Warming",
    "pick_dtype",
]
