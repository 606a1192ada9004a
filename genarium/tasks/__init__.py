"""The tasks: what a visitor can ask of a model. Each task is a folder here, or a package of its own; the host names none.

A folder `genarium/tasks/<name>/` with a module `task.py` that sets `TASK = Task(...)` is a task. Another package offers
one by an entry point of the group "genarium.tasks", whose value names such a folder: `sharpen = "my_package.sharpen"`.
Everything else is a part, a module or a file beside task.py, which the host loads when it first needs it
(`task.part("figures")` is the module, or None where the task has no such part):

    texts.yaml            key -> {en, zh}; `tab` (the title) and `intro` (one sentence), then the panels' own texts
    panel_image.py        class Panel: how a result in pictures is shown; panel_audio.py: a result in sound
    panel.py              build(page): the whole of a page or tab that is more than inputs, Run and a result
    command.py            run(...): the Typer function behind `python -m genarium <task.command>`
    endpoint.py           the function behind `task.endpoint` of the web API; its docstring is the documentation
    endpoints.py          ENDPOINTS: further endpoints, whose answers are no results of requests (`endpoints.Endpoint`)
    results.py            RESULTS: modality -> class of the result, where the host's `Pictures` and `Sounds` do not do
    figures.py            PARTS: what `evaluate` measures, with each figure's title, unit and protocol, and the columns of
                          docs/families.md (`evaluation.figure.Part`)
    samples.py            draw(pipeline, data, defaults): what a training keeps to be looked at
    card.py               PARTS: what the model card shows (`card.part.CardPart`), one for each modality
    proof.py              PROOF: what is compared before publishing (`hub.proof_call.Proof`)

Only panel*.py import Gradio. No part imports torch before it is called: `--help` imports every command.py.
"""

from genarium.tasks.controls import (
    ANY,
    CLASSES,
    HOST_PARAMETERS,
    Control,
    controls_of,
    help_of,
    optional_inputs,
)
from genarium.tasks.declaration import Modality, Task
from genarium.tasks.discovery import (
    Tasks,
    can_do,
    discover,
    drawing_task,
    find_tasks,
    has_method,
    modality_of,
    tasks_of,
)

__all__ = [
    "ANY",
    "CLASSES",
    "HOST_PARAMETERS",
    "Control",
    "Modality",
    "Task",
    "Tasks",
    "can_do",
    "controls_of",
    "discover",
    "drawing_task",
    "find_tasks",
    "has_method",
    "help_of",
    "modality_of",
    "optional_inputs",
    "tasks_of",
]
