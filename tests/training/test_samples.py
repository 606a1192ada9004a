"""What the sample grids of a training show is a matter of the tasks."""

import pytest

from genarium.errors import RecipeError
from genarium.families import discover
from genarium.training.samples import sampled_task

FAMILIES = discover(installed=False)


@pytest.mark.parametrize(
    "family, asked, shown",
    [
        ("vae", None, "generate"),
        ("style-ae", None, "reconstruct"),  # it does not generate
        ("vqgan", "reconstruct", "reconstruct"),
        ("style-ae", "swap_style", "swap_style"),
    ],
)
def test_a_stage_names_a_task_or_gets_the_first_that_its_pipeline_can_do(family, asked, shown):
    assert sampled_task(FAMILIES[family].pipeline_class(), asked).name == shown


def test_a_task_that_the_pipeline_cannot_do_shows_nothing():
    assert sampled_task(FAMILIES["vae"].pipeline_class(), "swap_style") is None


def test_a_task_that_shows_nothing_of_a_training_is_refused():
    with pytest.raises(RecipeError, match=r"samples: 'anomaly' is none of generate, reconstruct, swap_style"):
        sampled_task(FAMILIES["vae"].pipeline_class(), "anomaly")
