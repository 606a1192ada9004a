"""Controls that a task uses only beside some values of others: what is declared is real, and the page follows."""

import gradio as gr
import pytest
from tabs import build_tab

from genarium.catalogue import find_checkpoints
from genarium.families import discover
from genarium.runtime import Runtime
from genarium.tasks import Control, controls_of, tasks_of


def test_a_control_is_used_beside_the_values_that_it_names():
    control = Control("eta", "number", 0.0, used_with={"sampler": ("ddim",), "method": ("noise",)})
    assert control.is_used({}) and control.is_used({"sampler": "ddim"})
    assert not control.is_used({"sampler": "ddim", "method": "inversion"})
    assert not control.is_used({"sampler": "heun"})


def test_what_plugins_declare_is_real(families):
    """Each condition names a parameter of a task that has both, and only values that it can have."""
    for family in families:
        pipeline_class = family.pipeline_class()
        tasks = [controls_of(pipeline_class, task, family.controls) for task in tasks_of(pipeline_class) if task.method]
        for name, refined in family.controls.items():
            for other, values in refined.get("used_with", {}).items():
                together = [controls[other] for controls in tasks if name in controls and other in controls]
                known = {choice for control in together for choice in control.choices}
                assert set(values) <= known, f"{family.name}: {name}: {other}"


@pytest.fixture
def tab(tiny_checkpoints):
    with gr.Blocks():
        return build_tab("generate", Runtime(find_checkpoints(discover(installed=False)), device="cpu"))


def test_the_page_shows_what_the_sampler_uses(tab):
    controls, checkpoint = tab.question.controls, tab.checkpoints["tiny-ddpm"]
    eta = controls.components["ddpm"]["eta"]
    assert not eta.visible and controls.components["ddpm"]["num_inference_steps"].visible
    assert controls.fill(checkpoint, {"sampler": "ddim"})[eta]["visible"]
    assert not controls.fill(checkpoint, {"sampler": "heun"})[eta]["visible"]
