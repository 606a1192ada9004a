"""A restricted Boltzmann machine as a component of a pipeline."""

from __future__ import annotations

from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config

from pipelines.boltzmann import BoltzmannMachine


class RBMModel(BoltzmannMachine, ModelMixin, ConfigMixin):
    """`BoltzmannMachine` with a configuration and weights on disk.

    The weights stay in float32 when a pipeline is loaded in half precision: log Z belongs to these very numbers.

    Args:
        num_visible: D.
        num_hidden: H.
        num_classes: K, number of class units; 0: none.
        initial_std: standard deviation of fresh weights.
    """

    _keep_in_fp32_modules = [  # noqa: RUF012  # diffusers reads a list of the class
        *("weight", "visible_bias", "hidden_bias", "class_weight", "class_bias"),
        *("visible_mean", "hidden_mean", "class_mean"),
    ]

    @register_to_config
    def __init__(self, num_visible: int = 784, num_hidden: int = 500, num_classes: int = 0, initial_std: float = 0.01):
        super().__init__(num_visible, num_hidden, num_classes, initial_std=initial_std)
