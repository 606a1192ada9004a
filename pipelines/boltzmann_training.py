"""How stacks of restricted Boltzmann machines are trained: one machine after the other, from the pixels up.

Each machine learns from what the one below makes of the data (Hinton et al. 2006 sec. 5). A single machine is a stack of one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import nn

from pipelines.annealed_importance import log_partition
from pipelines.binarization import binarize, to_unit_range
from pipelines.boltzmann import BoltzmannMachine
from pipelines.boltzmann_tasks import BoltzmannTasksMixin, pass_up
from pipelines.family import check_stage
from pipelines.gibbs import PersistentChains, contrastive_loss, means_of, one_of
from pipelines.random_rows import Draw, uniform_rows
from pipelines.typicality import calibrate


class BoltzmannTrainingMixin(BoltzmannTasksMixin):
    """Training of a `DiffusionPipeline` with `BoltzmannTasksMixin`. Each component is a machine and the name of its stage."""

    _stages: tuple[str, ...]  # names of the components, from the pixels up
    _chains: dict[str, PersistentChains]  # by stage; empty unless a trainer asked for them

    @property
    def _machines(self) -> Sequence[BoltzmannMachine]:
        return [self.components[stage] for stage in self._stages]

    def _machine_of(self, stage: str) -> tuple[BoltzmannMachine, Sequence[BoltzmannMachine]]:
        """Return the machine that a stage trains, and those below it."""
        check_stage(stage, self._stages)
        level = self._stages.index(stage)
        return self._machines[level], self._machines[:level]

    def trainable(self, stage: str) -> dict[str, nn.Module]:
        """Return the machine of a stage and its persistent chains, which are no part of the checkpoint.

        Raises:
            ValueError: an unknown stage.
        """
        machine, _ = self._machine_of(stage)
        if self.config.chains and stage not in self._chains:
            self._chains[stage] = PersistentChains(self.config.chains, machine.num_visible, machine.num_classes)
        chains = {f"{stage}_chains": self._chains[stage]} if stage in self._chains else {}
        return {stage: machine, **chains}

    @torch.no_grad()
    def prepare(self, stage: str, batches: Iterable[dict]) -> None:
        """Put the centre of a stage's visible units at the means of what comes up from the data.

        This is done once. A resumed run has it already.

        Args:
            stage: one of the components.
            batches: of `{"images", "class_labels"}`, one pass over the training data.
        """
        machine, below = self._machine_of(stage)
        if not machine.is_centred:
            machine.set_visible_mean(
                *means_of(batches, lambda x: pass_up(below, to_unit_range(x)), machine.num_classes)
            )

    def loss(
        self, batch: dict, generator: torch.Generator | None = None, progress: float = 1.0, stage: str | None = None
    ):
        """Return a scalar whose gradient is that of (persistent) contrastive divergence of one machine; see `contrastive_loss`.

        The pixels are drawn black or white anew, and so are the hidden units of the machines below, given the pixels. Where
        `trainable` was called, each call in training mode also moves the chains and the centre of the hidden units.

        Args:
            batch: "images" [B, C, S, S] in [-1, 1]; "class_labels" int64 [B] (-1: none) or None.
            generator: of all random numbers, on the images' device.
            progress: part of the stage that is done, 0 ... 1.
            stage: one of the components; None: the top one.

        Returns:
            (scalar, {"free_energy_gap", "reconstruction_nats"}).
        """
        stage = stage or self._stages[-1]
        machine, below = self._machine_of(stage)
        x = batch["images"]
        v, draw = binarize(x, generator), uniform_rows(len(x), generator, x.device)
        with torch.no_grad():
            for lower in below:
                v = lower.sample_hidden(lower.hidden_logits(v), draw(lower.num_hidden))
            y = _classes(machine, v, batch.get("class_labels"), draw)
        chains = self._chains.get(stage) if machine.training else None
        if chains is not None:
            machine.move_hidden_mean(machine.hidden_logits(v, y).sigmoid(), self.config.centre_rate * (1 - progress))
        first, last = self.config.gibbs_steps
        steps = round(first + (last - first) * progress)
        return contrastive_loss(machine, v, y, steps, generator, chains)

    @torch.no_grad()
    def fit(self, batches: Iterable[dict]) -> None:
        """Estimate the top machine's log Z by annealed importance sampling, and measure what training images are like.

        The weights are rounded to half precision first, in which the checkpoint holds them. Log Z belongs to these numbers.

        Args:
            batches: of `{"images", "class_labels"}`, one pass over the training data.

        Raises:
            ValueError: fewer than two images.
        """
        for machine in self._machines:
            machine.half().float()
        known = log_partition(self._top, self.config.partition_chains, self.config.partition_temperatures)
        self.register_to_config(log_partition=dict(known))
        measured = calibrate(
            batches, bool(self.config.id2label), lambda x, y, g: self._features(self._to_tensor(x), y, g)[:2]
        )
        self.register_to_config(typicality=measured)


def _classes(
    machine: BoltzmannMachine, u: torch.Tensor, labels: torch.Tensor | None, draw: Draw
) -> torch.Tensor | None:
    """Return one-hot classes of training data. Those of images without class are drawn from p(y | u), which is exact."""
    if not machine.num_classes:
        return None
    if labels is None:
        labels = torch.full((len(u),), -1, device=u.device)
    y = F.one_hot(labels.clamp(min=0), machine.num_classes).float()
    if bool((labels >= 0).all()):
        return y
    drawn = one_of(machine.class_free_energies(u).neg().softmax(1), draw(1))
    return torch.where((labels >= 0)[:, None], y, drawn)
