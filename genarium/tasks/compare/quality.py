"""How near a picture came back: PSNR and SSIM of one pair of pictures.

Paper:
    Wang et al.: Image Quality Assessment: From Error Visibility to Structural Similarity, 2004 (SSIM, eq. 13)
"""

from __future__ import annotations

import numpy as np
import PIL.Image
import torch

from genarium.media.pictures import to_pixels

EXACT = 100.0  # dB, of a picture that came back unchanged


def psnr(restored: PIL.Image.Image, picture: PIL.Image.Image) -> float:
    """Return the peak signal-to-noise ratio of two pictures of one size, in dB, at most EXACT."""
    a, b = to_pixels([restored, picture]).astype(np.float64) / 255
    error = float(np.square(a - b).mean())
    return min(EXACT, -10 * float(np.log10(error))) if error else EXACT


def ssim(restored: PIL.Image.Image, picture: PIL.Image.Image) -> float:
    """Return the structural similarity of two pictures of one size, mean over pixels and channels, at most 1.

    As in the paper: a Gaussian window of 11 x 11 pixels with a deviation of 1.5, K_1 = 0.01, K_2 = 0.03, of pixels in
    [0, 1]. The border, where the window does not fit, is reflected.
    """
    a, b = torch.from_numpy(to_pixels([restored, picture]).astype(np.float64) / 255).permute(0, 3, 1, 2)[:, :, None]
    offsets = torch.arange(11, dtype=torch.float64) - 5
    line = torch.exp(-offsets.square() / (2 * 1.5**2))
    window = (line[:, None] * line / line.sum() ** 2)[None, None]

    def mean(x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.conv2d(torch.nn.functional.pad(x, (5,) * 4, mode="reflect"), window)

    mean_a, mean_b = mean(a), mean(b)
    var_a, var_b = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2
    covariance = mean(a * b) - mean_a * mean_b
    c_1, c_2 = 0.01**2, 0.03**2
    similarity = (2 * mean_a * mean_b + c_1) * (2 * covariance + c_2)
    similarity = similarity / ((mean_a**2 + mean_b**2 + c_1) * (var_a + var_b + c_2))
    return similarity.mean().item()
