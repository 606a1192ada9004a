"""A Gaussian mixture fitted to latents after training, for each class its own (Ghosh et al. 2019, sec. 4).

The latents of a trained auto-encoder are distributed as no simple prior is. Sampling from a mixture that was fitted to them
closes the gap without touching the networks (https://arxiv.org/abs/1903.12436).
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable

import numpy as np
import torch


class MixtureMixin:
    """A mixture in the buffers of an `nn.Module`, so that it is saved with the weights.

    `mixture_weights` [G, K] sum to 1 in each row; all 0: not fitted. `mixture_means` [G, K, d]. `mixture_cholesky`
    [G, K, d, d]: lower triangular L of the covariances L L^T. G is the number of classes, or 1 without classes.
    """

    mixture_weights: torch.Tensor
    mixture_means: torch.Tensor
    mixture_cholesky: torch.Tensor
    register_buffer: Callable[..., None]

    def _register_mixture(self, groups: int, components: int, dim: int) -> None:
        """Make the buffers of a mixture that is not fitted yet."""
        self.register_buffer("mixture_weights", torch.zeros(groups, components))
        self.register_buffer("mixture_means", torch.zeros(groups, components, dim))
        self.register_buffer("mixture_cholesky", torch.zeros(groups, components, dim, dim))

    @property
    def is_fitted(self) -> bool:
        """Whether `mixture_*` hold a mixture."""
        return self.mixture_weights.numel() > 0 and bool(self.mixture_weights.sum() > 0)

    def set_mixture(self, group: int, weights: np.ndarray, means: np.ndarray, cholesky: np.ndarray) -> None:
        """Set the mixture of a class.

        Components beyond those given get weight 0. They repeat the first one, which is drawn if rounding asks for them.

        Args:
            group: the class; 0 without classes.
            weights: [k], k at most K, with sum 1.
            means: [k, d].
            cholesky: [k, d, d].
        """
        number = len(weights)
        self.mixture_weights[group].zero_()
        self.mixture_weights[group, :number].copy_(torch.from_numpy(weights))
        for buffer, values in ((self.mixture_means, means), (self.mixture_cholesky, cholesky)):
            buffer[group].copy_(torch.from_numpy(values[:1]).expand(buffer[group].shape))
            buffer[group, :number].copy_(torch.from_numpy(values))

    def mixture_log_density(self, z: torch.Tensor) -> torch.Tensor:
        """Return log p(z | y) of latents [N, d] under the mixture of each class, float32 [N, G], in nats."""
        means, cholesky = self.mixture_means.float(), self.mixture_cholesky.float()
        diff = (z[:, None, None] - means).permute(1, 2, 3, 0)  # [G, K, d, N]
        white = torch.linalg.solve_triangular(cholesky, diff, upper=False)  # L^-1 (z - mu)
        logdet = cholesky.diagonal(dim1=-2, dim2=-1).log().sum(-1)  # [G, K]
        log_p = -0.5 * white.square().sum(2) - (logdet + 0.5 * z.shape[1] * math.log(2 * math.pi))[..., None]
        return torch.logsumexp(log_p + self.mixture_weights.float().log()[..., None], dim=1).T  # [N, G]

    def draw_mixture(
        self, noise: torch.Tensor, uniform: torch.Tensor, group: torch.Tensor, scale: float = 1.0
    ) -> torch.Tensor:
        """Turn noise into draws from the mixture, row by row.

        Args:
            noise: standard normal [N, d].
            uniform: numbers [N, 1] in (0, 1), which choose the component.
            group: int64 [N], the class of each; 0 without classes.
            scale: factor on the deviations from the mean of the Gaussian (temperature).

        Returns:
            float32 [N, d].
        """
        cumulative = self.mixture_weights.float()[group].cumsum(1)  # [N, K]
        component = (uniform > cumulative[:, :-1]).sum(1)
        cholesky = self.mixture_cholesky.float()[group, component]  # [N, d, d]
        deviation = (cholesky @ noise[:, :, None])[:, :, 0]  # [N, d]
        return self.mixture_means.float()[group, component] + scale * deviation


def fit_mixtures(module: MixtureMixin, z: torch.Tensor, labels: torch.Tensor, means: torch.Tensor) -> None:
    """Fit the mixture of each class with full covariances, by expectation maximisation.

    A class with fewer latents than components gets as many components as it has latents. A class with fewer than two gets
    one Gaussian of unit variance.

    Args:
        module: holds the mixture.
        z: latents [N, d].
        labels: int64 [N], -1 for latents that are left out; 0 without classes.
        means: [G, d], where that one Gaussian is.

    Raises:
        ImportError: scikit-learn is missing.
    """
    try:  # by name: bare diffusers takes every import statement in this file for a need of the pipeline
        sklearn_mixture = importlib.import_module("sklearn.mixture")
    except ImportError as error:
        raise ImportError("Fitting the mixture prior needs scikit-learn: pip install scikit-learn") from error
    for y in range(len(module.mixture_weights)):
        rows = z[labels == y].double().numpy()  # [n, d]
        if len(rows) < 2:
            module.set_mixture(y, np.ones(1), means[y : y + 1].cpu().numpy(), np.eye(rows.shape[1])[None])
            continue
        components = min(module.mixture_weights.shape[1], len(rows))
        fitted = sklearn_mixture.GaussianMixture(components, reg_covar=1e-4, random_state=0).fit(rows)
        module.set_mixture(y, fitted.weights_, fitted.means_, np.linalg.cholesky(fitted.covariances_))
