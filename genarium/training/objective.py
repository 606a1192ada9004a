"""A pipeline's loss as the forward of one module, which accelerate prepares."""

from __future__ import annotations

from collections.abc import Collection

from torch import nn


class Objective(nn.Module):
    """The modules of a training as one module, whose forward is the loss. This is what accelerate prepares.

    Without stages it holds the components with weights to train. In a stage it holds all components, so that a saved state
    is whole, and the further modules that `trainable` of the pipeline names. Only the named ones are trained, and of them
    none that is `frozen`.
    """

    def __init__(self, pipeline, stage: str | None = None, frozen: Collection[str] = ()):
        super().__init__()
        self.pipeline = [pipeline]  # in a list: a pipeline is no module, and its modules are registered below
        modules = {k: m for k, m in pipeline.components.items() if isinstance(m, nn.Module)}
        if stage is None:
            self.options = {}
            trained = {k: m for k, m in modules.items() if any(p.requires_grad for p in m.parameters())}
            trained = {k: m for k, m in trained.items() if k not in frozen}
            self.components = nn.ModuleDict(trained)
        else:
            self.options = {"stage": stage}
            trained = {k: m for k, m in pipeline.trainable(stage).items() if k not in frozen}
            self.components = nn.ModuleDict(modules | trained).requires_grad_(False)
            for module in trained.values():
                module.requires_grad_(True)
        self.trained = list(trained)

    def forward(self, batch, generator, progress):
        return self.pipeline[0].loss(batch, generator=generator, progress=progress, **self.options)

    def train(self, mode: bool = True) -> Objective:
        """Set what is trained to training mode. All other modules stay in evaluation mode."""
        super().train(mode)
        for name, module in self.components.items():
            module.train(mode and name in self.trained)
        return self

    def groups(self) -> list[list[nn.Parameter]]:
        """Return the parameters to train in groups. Each group's gradient is clipped by itself, so that adversaries do not mix."""
        if not self.options:
            return [list(self.parameters())]
        return [group for name in self.trained if (group := list(self.components[name].parameters()))]
