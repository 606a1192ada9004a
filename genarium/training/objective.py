"""What accelerate prepares: a pipeline's loss as the forward of one module."""

from __future__ import annotations

from collections.abc import Collection

from torch import nn


class Objective(nn.Module):
    """What is trained, as one module whose forward is the loss, which is what accelerate prepares.

    Without stages these are the components with weights to train. In a stage, all components belong to it, so that a saved
    state is whole, and the helpers that the pipeline brings for this stage; only what it names for the stage is trained,
    except what is `frozen`.
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
        """Training mode for what is trained; what only helps stays as it is in use."""
        super().train(mode)
        for name, module in self.components.items():
            module.train(mode and name in self.trained)
        return self

    def groups(self) -> list[list[nn.Parameter]]:
        """The parameters to train. Each group's gradient is clipped by itself, so that no adversary drowns the other's."""
        if not self.options:
            return [list(self.parameters())]
        return [group for name in self.trained if (group := list(self.components[name].parameters()))]
