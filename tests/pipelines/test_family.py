"""The contract of a method, written once: signature, documentation, checks and results of a completed method."""

import ast
import inspect
import re
from pathlib import Path
from typing import Annotated, Literal

import pytest
import torch
from conftest import pictures
from diffusers import DiffusionPipeline

from genarium.families import discover
from pipelines.family import FamilyMixin, Report, to_generators
from pipelines.images import ImageFamilyMixin, ImagesOutput, task


class Sketch(ImageFamilyMixin, DiffusionPipeline):
    """Images of one grey."""

    def __init__(self, sample_size: int = 8, channels: int = 1, id2label: dict | None = None):
        super().__init__()
        self._register(locals(), id2label=id2label or {"0": "dark", "1": "bright"})

    @task
    def __call__(
        self,
        batch_size,
        labels,
        report,
        grey: Annotated[float, {"minimum": 0.0}] = 0.5,
        kind: Literal["plain", "inverse"] = "plain",
    ):
        """Draw greys.

        Args:
            class_labels: bright or dark.
            grey: How bright.
        """
        shade = torch.full((batch_size,), grey) if labels is None else labels.float()
        x = (shade if kind == "plain" else 1 - shade)[:, None, None, None].expand(-1, 1, 8, 8) * 2 - 1
        report(0, 0, 1, x)
        return x

    @task
    def reconstruct(self, x, report):
        """Give images back."""
        assert not torch.is_grad_enabled()
        return x


def test_signature_and_help_show_the_common_parameters_too():
    parameters = inspect.signature(Sketch.__call__).parameters
    assert list(parameters) == [
        *("self", "batch_size", "generator", "class_labels", "grey", "kind"),
        *("callback_on_step_end", "output_type", "return_dict"),
    ]
    assert parameters["batch_size"].default == 1 and parameters["output_type"].default == "pil"
    text = inspect.getdoc(Sketch.__call__)
    assert "class_labels: bright or dark." in text and "grey: How bright." in text
    assert "batch_size: number of images N." in text and "Returns:" in text and "Raises:" in text
    # a method that names no labels is not offered classes
    assert "class_labels" not in inspect.signature(Sketch.reconstruct).parameters


def test_results_have_the_type_that_is_asked_for():
    pipe = Sketch()
    output = pipe(3, class_labels=[0, 1, 0], output_type="pt")
    assert isinstance(output, ImagesOutput) and output.images.amax((1, 2, 3)).tolist() == [0, 1, 0]
    (images,) = pipe(2, grey=1.0, output_type="np", return_dict=False)
    assert images.shape == (2, 8, 8, 1) and images.min() == 1
    assert [image.size for image in pipe(2).images] == [(8, 8)] * 2


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"grey": -1.0}, ValueError, "grey: must be at least 0.0, not -1.0"),
        ({"grey": True}, TypeError, "grey: takes a number"),
        ({"kind": "sepia"}, ValueError, "kind: choose 'plain', 'inverse', not 'sepia'"),
        ({"batch_size": 1.5}, TypeError, "batch_size: takes a whole number"),
        ({"batch_size": 0}, ValueError, "batch_size: needs at least 1"),
        ({"class_labels": 2}, ValueError, "class_labels: must lie in 0 ... 1"),
        ({"output_type": "jpg"}, ValueError, "output_type: choose"),
        ({"generator": 3}, TypeError, "generator: give a torch.Generator"),
    ],
)
def test_what_the_annotations_do_not_allow_is_refused(options, error, words):
    with pytest.raises(error, match=words):
        Sketch()(**options)
    assert Sketch()(grey=7.0) is not None, "a program may go above a slider"


def test_messages_name_the_argument():
    with pytest.raises(ValueError, match=r"images: this model takes \[N, 1, 8, 8\]"):
        Sketch().reconstruct(pictures(1))


def test_a_report_is_false_where_nobody_listens():
    assert not Report(None, None)
    seen = []
    Sketch()(callback_on_step_end=lambda *arguments: seen.append(arguments))
    (pipe, step, timestep, values) = seen[0]
    assert isinstance(pipe, Sketch) and (step, timestep, values["num_timesteps"]) == (0, 0, 1)


def test_generators_are_one_or_one_for_each():
    one = torch.Generator()
    assert to_generators(None, 3) is None and to_generators(one, 3) is one
    assert to_generators((one, one), 2) == [one, one]
    with pytest.raises(ValueError, match="one generator or 3"):
        to_generators([one], 3)


def test_common_arguments_are_documented_once_and_a_line_of_the_family_comes_first():
    class Shared(FamilyMixin):
        _arguments = {"width": "of the network."}  # noqa: RUF012

    class Family(Shared):
        """A family.

        Args:
            depth, width: of both networks.
            defaults: none so far.

        Raises:
            ValueError: never.
        """

        def __init__(self, depth=1, width=2, defaults=None, anomaly_quantiles=None):
            pass

    summary, arguments, raises = Family.__doc__.split("\n\n")
    lines = arguments.split("\n")
    assert summary == "A family." and raises.startswith("Raises:")
    assert lines[:3] == ["Args:", "    depth, width: of both networks.", "    defaults: none so far."]
    assert len(lines) == 4 and lines[3].startswith("    anomaly_quantiles: 201 quantiles")


def test_help_documents_each_argument_of_each_family_once():
    for family in discover(installed=False):
        pipeline = family.pipeline_class()
        _, _, after = pipeline.__doc__.partition("\nArgs:\n")
        entries = re.findall(r"^    (\w[\w, ]*):", after.partition("\n\n")[0], flags=re.MULTILINE)
        documented = sorted(name for entry in entries for name in entry.replace(",", " ").split())
        assert documented == sorted(set(inspect.signature(pipeline.__init__).parameters) - {"self"}), family.name


def test_families_do_not_repeat_the_common_arguments():
    for family in discover(installed=False):
        pipeline = family.pipeline_class()
        module = ast.parse(Path(inspect.getfile(pipeline)).read_text())
        written = next(
            ast.get_docstring(node) for node in module.body if getattr(node, "name", "") == pipeline.__name__
        )
        helps = {name: text for base in pipeline.__mro__ for name, text in vars(base).get("_arguments", {}).items()}
        repeated = [name for name, text in helps.items() if f"    {name}: {text}" in written]
        assert not repeated, (family.name, repeated)
