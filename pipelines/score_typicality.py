"""How typical an image is to a score-based model: norms of the score, and how much a class helps to denoise it.

Papers:
    Mahmood et al.: Multiscale Score Matching for Out-of-Distribution Detection, 2021, https://arxiv.org/abs/2010.13132
    Li et al.: Your Diffusion Model is Secretly a Zero-Shot Classifier, 2023, https://arxiv.org/abs/2303.16203
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch

from pipelines.denoiser import Denoiser
from pipelines.family import Generators, Labels, Report, seeded, to_generators
from pipelines.pixel_unet import PixelUNetMixin
from pipelines.typicality import class_calibration, floored_log

# Where an image's score is measured: from fine texture to the outline. Beyond, all images look alike.
FEATURE_SIGMAS = (0.03, 0.06, 0.12, 0.25, 0.5, 1.0, 2.0)
# Where it is measured whether a class helps to denoise it: in less noise the class adds nothing, in more the image is gone.
CLASS_SIGMAS = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0)


class ScoreTypicalityMixin(PixelUNetMixin):
    """The measurements behind the typicality of score-SDE, and their calibration."""

    _noise: Callable[..., torch.Tensor]  # (shape, generators) -> standard normal float32

    @torch.no_grad()
    def score_features(
        self,
        images: torch.Tensor,
        callback_on_step_end: Callable | None = None,
        class_labels: Labels = None,
        num_more_steps: int = 0,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logarithms of the mean of (sigma score)^2 over the pixels, at each of `FEATURE_SIGMAS`.

        As in Mahmood et al. 2021 sec. 3, the network sees the image itself at each noise level, no noise being added:
        nothing here is random.

        Args:
            images: float32 [N, C, S, S] in [-1, 1].
            callback_on_step_end: called after each level.
            class_labels: for the conditional model; None: the unconditional model.
            num_more_steps: of the caller, to come after these.

        Returns:
            (features [N, K], map [N, S, S]: the mean of (sigma score)^2 over levels and channels).
        """
        denoise = Denoiser(self, self._to_labels(class_labels, len(images)))
        report = Report(self, callback_on_step_end)
        features, maps = [], images.new_zeros(len(images), *images.shape[2:])
        for i, sigma in enumerate(FEATURE_SIGMAS):
            x0 = denoise(images, sigma)
            squared = ((x0 - images) / sigma).square()  # |sigma score|^2, pixel by pixel
            features.append(floored_log(squared.mean(dim=(1, 2, 3))))
            maps += squared.mean(dim=1) / len(FEATURE_SIGMAS)
            report(i, sigma, len(FEATURE_SIGMAS) + num_more_steps, x0)
        return torch.stack(features, dim=1), maps

    @torch.no_grad()
    def class_mismatch(
        self,
        images: torch.Tensor,
        class_labels: Labels,
        generator: Generators = None,
        callback_on_step_end: Callable | None = None,
        first_step: int = 0,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Measure how badly a class fits: the mean over `CLASS_SIGMAS` of log(error given the class / error without).

        Both errors are of denoising the same noisy image, as in a diffusion classifier (Li et al. 2023 sec. 3).

        Args:
            images: float32 [N, C, S, S] in [-1, 1].
            class_labels: int, list or int64 tensor [N].
            generator: one `torch.Generator`, or a list with one for each image; None: seed 0 for each image.
            callback_on_step_end: called after each level.
            first_step: number of steps of the caller that came before.

        Returns:
            (float32 [N]: negative where the class helps; map [N, S, S]: the squared error of the conditional network, mean
            over levels and channels).

        Raises:
            TypeError, ValueError: labels or generators that do not fit.
        """
        generator = to_generators(seeded(len(images)) if generator is None else generator, len(images))
        conditional, unconditional = Denoiser(self, self._to_labels(class_labels, len(images))), Denoiser(self)
        report = Report(self, callback_on_step_end, first_step, first_step + len(CLASS_SIGMAS))
        ratios, maps = [], images.new_zeros(len(images), *images.shape[2:])
        for i, sigma in enumerate(CLASS_SIGMAS):
            y = images + sigma * self._noise(images.shape, generator)
            x0 = conditional(y, sigma)
            error, reference = (x0 - images).square(), (unconditional(y, sigma) - images).square()  # 2 x [N, C, S, S]
            logs = floored_log(torch.stack([error.mean(dim=(1, 2, 3)), reference.mean(dim=(1, 2, 3))]))  # [2, N]
            ratios.append(logs[0] - logs[1])
            maps += error.mean(dim=1) / len(CLASS_SIGMAS)
            report(i, sigma, len(CLASS_SIGMAS), x0)
        return torch.stack(ratios).mean(dim=0), maps

    @torch.no_grad()
    def fit(self, batches: Iterable[dict], num_images: int = 2000) -> None:
        """Measure the features of training images: their mean and covariance calibrate "typicality".

        With labels, also mean and standard deviation of the class mismatch of the images and their own classes.

        Args:
            batches: of `{"images", "class_labels"}`, one pass over the training data. A label of -1 is an unknown class.
            num_images: how many to measure, drawn evenly from all with seed 0.

        Raises:
            ValueError: fewer images than features.
        """
        generator = torch.Generator().manual_seed(0)
        sample, classes = torch.empty(0), torch.empty(0, dtype=torch.int64)
        keys = torch.empty(0, dtype=torch.float32)
        # each image gets a random key; those with the largest stay, wherever in the data they lie
        for batch in batches:
            images, labels = batch["images"].cpu(), batch.get("class_labels")
            labels = torch.full((len(images),), -1) if labels is None or not self.config.id2label else labels.cpu()
            sample = torch.cat([sample, images]) if len(sample) else images
            classes = torch.cat([classes, labels])
            keys = torch.cat([keys, torch.rand(len(images), generator=generator, dtype=torch.float32)])
            keys, order = keys.topk(min(num_images, len(keys)))
            sample, classes = sample[order], classes[order]
        parts: list[torch.Tensor] = []
        mismatches: list[torch.Tensor | None] = []
        for start in range(0, len(sample), 100):
            x = sample[start : start + 100].to(self._execution_device, torch.float32)
            parts.append(self.score_features(x)[0])
            known = (classes[start : start + 100] >= 0).nonzero()[:, 0]
            if len(known):
                noise = [torch.Generator().manual_seed(start + i) for i in known.tolist()]
                mismatches.append(self.class_mismatch(x[known], classes[start + known], noise)[0].cpu().double())
        features = torch.cat(parts).cpu().double()  # [num_images, K]
        if len(features) <= features.shape[1]:
            raise ValueError(f"fit: needs more than {features.shape[1]} images, not {len(features)}.")
        covariance = torch.cov(features.T)
        # neighbouring levels say nearly the same: a little on the diagonal keeps the inverse from their rounding
        covariance += 1e-4 * covariance.diagonal().mean() * torch.eye(len(covariance), dtype=torch.float32)
        calibration = {"mean": features.mean(dim=0).tolist(), "covariance": covariance.tolist()}
        self.register_to_config(calibration=calibration | class_calibration(mismatches))
