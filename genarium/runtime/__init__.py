"""From a request to a result.

request.py      everything that decides a result
pipelines.py    the loaded pipelines, within a memory budget
scheduler.py    `Runtime`: bring the material into the model's form, wait for a turn, run, preview, stop
execution.py    one run: its batches, its progress, and what comes of it
"""

from genarium.runtime.execution import Progress, Result, StyleMap
from genarium.runtime.pipelines import EVALUATIONS, pick_dtype
from genarium.runtime.request import Request
from genarium.runtime.scheduler import Runtime

__all__ = ["EVALUATIONS", "Progress", "Request", "Result", "Runtime", "StyleMap", "pick_dtype"]
