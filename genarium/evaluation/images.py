"""Evaluations of pictures: the data, and samples, reconstructions and features computed in batches over all processes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import PIL.Image
import torch
from torch import nn

from genarium.data.images import ImageData, load_images
from genarium.data.mapped import Images
from genarium.evaluation.evaluation import Evaluation
from genarium.evaluation.features import extract
from genarium.media.pictures import to_pictures
from genarium.parallel import map_batches
from genarium.recipe import DataSpec, Recipe
from genarium.runtime import Pictures, Request
from genarium.runtime.request import choose_labels
from genarium.tasks import drawing_task

Advance = Callable[[float], None]  # called with the part of a batch that is done, 0 ... 1


@dataclass
class ImageEvaluation(Evaluation):
    """An evaluation of a checkpoint of pictures."""

    @classmethod
    def measures(cls, recipe: Recipe) -> bool:
        return isinstance(recipe.data, DataSpec)

    @property
    def spec(self) -> DataSpec:
        assert isinstance(self.recipe.data, DataSpec)
        return self.recipe.data

    @cached_property
    def test(self) -> ImageData:
        return self.load(self.spec.test_split)

    @cached_property
    def train(self) -> ImageData:
        """The training split, for parts that learn something from real images."""
        return self.load(self.spec.train_split)

    def load(self, split: str) -> ImageData:
        """Load a split of the recipe's data set. Its labels are numbered by the checkpoint's names, whatever the split's own are.

        Raises:
            DataError: the data cannot be had, or have a class that the checkpoint does not know.
        """
        index = self.checkpoint.index
        return load_images(self.spec, split, self.data_override, index.get("id2label"), index.get("conditions"))

    @cached_property
    def order(self) -> torch.Tensor:
        """The rows of the test split in random order, int64 [len(test)]: splits may be sorted by class."""
        return torch.randperm(len(self.test), generator=torch.Generator().manual_seed(self.seed))

    @property
    def test_name(self) -> str:
        return self.spec.split_name(self.spec.test_split)

    @property
    def train_name(self) -> str:
        return self.spec.split_name(self.spec.train_split)

    def test_images(self, number: int) -> torch.Tensor:
        """Return test images, uint8 [min(number, len(test)), C, H, W]."""
        return self.test.images[self.order[:number]]

    def test_pictures(self, number: int) -> list[PIL.Image.Image]:
        """Return the first of these test images as pictures."""
        return to_pictures(self.test_images(number).permute(0, 2, 3, 1).numpy())

    def pictures_of(self, request: Request, inputs: Mapping[str, Any] | None = None) -> list[PIL.Image.Image]:
        """Run a request through the runtime, as the app does, and return its pictures."""
        result = self.runtime.run(request, inputs)
        assert isinstance(result, Pictures)
        return result.pictures

    @cached_property
    def samples(self) -> torch.Tensor:
        """The samples that the parts look at, one class after another, uint8 [num_samples, C, H, W]."""
        labels = choose_labels(self.checkpoint, "cycle", self.num_samples)
        parameters = self.defaults(drawing_task().name, self.parameters)

        def compute(start: int, stop: int, advance: Advance) -> torch.Tensor:
            arguments = dict(parameters) if labels is None else parameters | {"class_labels": list(labels[start:stop])}
            images = self.pipeline(
                batch_size=stop - start,
                generator=self.generators(start, stop),
                callback_on_step_end=on_step(advance),
                output_type="pt",
                **arguments,
            ).images
            return (images * 255).round().to(torch.uint8)

        return torch.cat(map_batches(compute, self.num_samples, self.batch_size, "samples"))

    def map_images(
        self,
        method: str,
        images: Images,
        parameters: Mapping[str, Any],
        description: str,
        labels: torch.Tensor | None = None,
        keep: Callable[[Any], Any] = lambda output: output,
    ) -> list[Any]:
        """Call a method of the pipeline on images, batch by batch. Image i has the generator of seed + i.

        Args:
            method: takes images, and `generator`.
            images: uint8 [N, C, H, W].
            parameters: of the method.
            description: of the progress bar.
            labels: class of each image, int64 [N], if the method is given them.
            keep: what to keep of a batch's output, before processes exchange it.

        Returns:
            What was kept of each batch, in order.
        """
        call = getattr(self.pipeline, method)
        reports = "callback_on_step_end" in inspect.signature(call).parameters

        def compute(start: int, stop: int, advance: Advance) -> Any:
            batch = images[start:stop].permute(0, 2, 3, 1).numpy()  # uint8 [B, H, W, C]
            given = {} if labels is None else {"class_labels": labels[start:stop].tolist()}
            steps = {"callback_on_step_end": on_step(advance)} if reports else {}
            return keep(call(batch, generator=self.generators(start, stop), **given, **parameters, **steps))

        return map_batches(compute, len(images), self.batch_size, description)

    def features(self, network: nn.Module, images: Images, description: str) -> torch.Tensor:
        """Return features of images uint8 [N, C, H, W], float32 [N, D]."""

        def compute(start: int, stop: int, advance: Advance) -> torch.Tensor:
            return extract(network, images[start:stop])

        return torch.cat(map_batches(compute, len(images), self.batch_size, description))


def on_step(advance: Advance) -> Callable[..., None]:
    """Return a `callback_on_step_end` that reports the part of the steps that are done."""
    return lambda pipe, step, timestep, values: advance((step + 1) / values["num_timesteps"])
