"""Tabs and texts of tasks, as the app builds them."""

from genarium.runtime import Runtime
from genarium.tasks import find_tasks
from genarium.ui.pages import Current
from genarium.ui.tab import TaskTab
from genarium.ui.texts import TaskTexts, Texts


def task_texts(task: str) -> TaskTexts:
    return Texts().of(find_tasks()[task])


def build_tab(task: str, runtime: Runtime) -> TaskTab:
    """Build the tab of a task, inside a `gr.Blocks`."""
    return TaskTab(find_tasks()[task], runtime, task_texts(task), Current())
