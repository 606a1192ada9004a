"""A deep belief network: restricted Boltzmann machines on top of each other, trained one after the other.

    p(v, h1, h2, h3) = p(v | h1) p(h1 | h2) p(h2, h3)          Hinton et al. 2006 sec. 4

The top two layers are an RBM, and the layers below are a directed way down. Each machine is trained on what the one below makes
of the data. A layer that is added so raises a lower bound of log p(v) (sec. 5), as long as it starts where the one below ends.

The weights can also begin a deep auto-encoder (Hinton and Salakhutdinov 2006): see `pipelines.unrolling`.

Papers:
    Hinton, Osindero, Teh: A Fast Learning Algorithm for Deep Belief Nets, 2006, https://doi.org/10.1162/neco.2006.18.7.1527
    Hinton, Salakhutdinov: Reducing the Dimensionality of Data with Neural Networks, 2006,
        https://doi.org/10.1126/science.1127647
    Salakhutdinov, Murray: On the Quantitative Analysis of Deep Belief Networks, 2008,
        https://doi.org/10.1145/1390156.1390266 (the bound)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from diffusers import DiffusionPipeline, ModelMixin

from pipelines.boltzmann_training import BoltzmannTrainingMixin
from pipelines.modeling_rbm import RBMModel


class DBNPipeline(BoltzmannTrainingMixin, DiffusionPipeline):
    """A stack of three RBMs. The top one has class units if the data have classes.

    Args:
        rbm1, rbm2, rbm3: `RBMModel`, from the pixels up; the hidden units of one are the visible units of the next.
        chains: M, persistent chains of each training; 0: contrastive divergence, from the data.
        gibbs_steps: k of the first and of the last update of a stage, rising in between.
        centre_rate: of the moving average of the hidden units' means; it falls to 0 over a stage.
        partition_chains, partition_temperatures: of the estimate of the top machine's log Z in `fit`.
        id2label: names of the classes, one class unit each.
        log_partition: the estimate of log Z with its interval; written by `fit`. See `LogPartition`.
        typicality: {"mean", "precision", "class_mismatch"} of training images; written by `fit`.
    """

    rbm1: RBMModel
    rbm2: RBMModel
    rbm3: RBMModel
    model_cpu_offload_seq = "rbm1->rbm2->rbm3"
    _stages = ("rbm1", "rbm2", "rbm3")

    def __init__(
        self,
        rbm1: ModelMixin,
        rbm2: ModelMixin,
        rbm3: ModelMixin,
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
        sizes = (channels * sample_size**2, rbm1.config.num_hidden, rbm2.config.num_hidden)
        for name, rbm, size in zip(self._stages, (rbm1, rbm2, rbm3), sizes, strict=True):
            if rbm.config.num_visible != size:
                raise ValueError(f"{name}: has {rbm.config.num_visible} visible units, but {size} units are below it.")
        self._register(locals(), gibbs_steps=list(gibbs_steps or (1, 1)))
        self._chains = {}

    @classmethod
    def build(
        cls,
        sample_size: int,
        channels: int,
        id2label: dict[str, str] | None = None,
        hidden_sizes: Sequence[int] = (500, 500, 1000),
        class_units: bool = True,
        initial_std: float = 0.01,
        **training,
    ) -> DBNPipeline:
        """Make a pipeline with fresh weights.

        Args:
            hidden_sizes: H of the three machines, from the pixels up.
            class_units: have one for each class of `id2label` in the top machine.
            initial_std: standard deviation of fresh weights.
            training: `chains`, `gibbs_steps`, `centre_rate`, `partition_chains` and `partition_temperatures` of the class.

        Raises:
            ValueError: another number of sizes than three.
        """
        if len(hidden_sizes) != len(cls._stages):
            raise ValueError(f"hidden_sizes: give three sizes, one for each machine, not {list(hidden_sizes)}.")
        id2label = id2label if class_units else None
        below = (channels * sample_size**2, *hidden_sizes[:-1])
        classes = (0, 0, len(id2label or ()))
        one, two, three = (RBMModel(*sizes, initial_std) for sizes in zip(below, hidden_sizes, classes, strict=True))
        return cls(one, two, three, sample_size, channels, id2label=id2label, **training)
