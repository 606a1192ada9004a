"""A restricted Boltzmann machine of binary pixels: an energy for each picture, sampled by Gibbs steps.

    p(v, h) = exp(-E(v, h)) / Z,     E bilinear, see `pipelines.boltzmann`
    grad log p(v) = -grad F(v) + E_p(v')[grad F(v')]          Hinton 2002 eq. 3

The second term is an average over pictures that the model itself draws. Persistent chains supply them (PCD). They go on from one
update to the next, so that they are as near to the model as its own movement allows.

Papers:
    Smolensky: Information Processing in Dynamical Systems: Foundations of Harmony Theory, 1986
    Hinton: Training Products of Experts by Minimizing Contrastive Divergence, 2002, https://doi.org/10.1162/089976602760128018
    Tieleman: Training Restricted Boltzmann Machines using Approximations to the Likelihood Gradient, 2008,
        https://doi.org/10.1145/1390156.1390290
    Melchior, Fischer, Wiskott: How to Center Deep Boltzmann Machines, 2016, https://jmlr.org/papers/v17/14-237.html
"""

from __future__ import annotations

from typing import Any

from diffusers import DiffusionPipeline, ModelMixin

from pipelines.boltzmann_training import BoltzmannTrainingMixin
from pipelines.modeling_rbm import RBMModel


class RBMPipeline(BoltzmannTrainingMixin, DiffusionPipeline):
    """An RBM of binary pixels, with class units if the data have classes.

    Args:
        rbm: `RBMModel`.
        chains: M, persistent chains of the training; 0: contrastive divergence, from the data.
        gibbs_steps: k of the first and of the last update, rising in between.
        centre_rate: of the moving average of the hidden units' means; it falls to 0 over the training.
        partition_chains, partition_temperatures: of the estimate of log Z in `fit`.
        id2label: names of the classes, one class unit each.
        log_partition: the estimate of log Z with its interval; written by `fit`. See `LogPartition`.
        typicality: {"mean", "precision", "class_mismatch"} of training images; written by `fit`.
    """

    rbm: RBMModel
    model_cpu_offload_seq = "rbm"
    _stages = ("rbm",)

    def __init__(
        self,
        rbm: ModelMixin,
        sample_size: int = 28,
        channels: int = 1,
        chains: int = 128,
        gibbs_steps: list[int] | None = None,
        centre_rate: float = 0.01,
        partition_chains: int = 128,
        partition_temperatures: int = 10000,
        id2label: dict[str, str] | None = None,
        log_partition: dict[str, Any] | None = None,
        typicality: dict[str, Any] | None = None,
        defaults: dict[str, dict[str, Any]] | None = None,
        anomaly_quantiles: dict[str, list[float]] | None = None,
    ):
        super().__init__()
        if rbm.config.num_visible != channels * sample_size**2:
            raise ValueError(f"rbm: has {rbm.config.num_visible} visible units, not one for each of the pixels.")
        self._register(locals(), gibbs_steps=list(gibbs_steps or (1, 1)))
        self._chains = {}

    @classmethod
    def build(
        cls,
        sample_size: int,
        channels: int,
        id2label: dict[str, str] | None = None,
        num_hidden: int = 500,
        class_units: bool = True,
        initial_std: float = 0.01,
        **training,
    ) -> RBMPipeline:
        """Make a pipeline with fresh weights.

        Args:
            num_hidden: H.
            class_units: have one for each class of `id2label`.
            initial_std: standard deviation of fresh weights.
            training: `chains`, `gibbs_steps`, `centre_rate`, `partition_chains` and `partition_temperatures` of the class.
        """
        id2label = id2label if class_units else None
        rbm = RBMModel(channels * sample_size**2, num_hidden, len(id2label or ()), initial_std)
        return cls(rbm, sample_size, channels, id2label=id2label, **training)
