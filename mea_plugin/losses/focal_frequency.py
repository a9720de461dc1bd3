"""The focal frequency loss: squared distance of two spectra, which weighs most where they differ most."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mea_plugin.losses.images import accumulator, check_images, check_weight

__all__ = ['FocalFrequencyLoss']


class FocalFrequencyLoss(nn.Module):
    r"""Squared distance between the spectra of a prediction and a target, weighted towards the worst frequencies.

    .. math:: \lambda \operatorname{mean}_{u,v} w(u,v) \, |F(u,v)|^2, \qquad
        w(u,v) = \frac{|F(u,v)|^\alpha}{\max_{u,v} |F(u,v)|^\alpha}

    where :math:`F` is the orthonormal two-dimensional discrete Fourier transform of ``pred - target``, taken of each
    channel of each image. The weights :math:`w` lie in [0, 1] and are constants for the gradient; equal images have
    weights of 0. The transform is linear, so one of the difference serves instead of two, and that of real numbers is
    symmetric, so half of it is computed.

    Source: Jiang, Dai, Wu and Loy, Focal Frequency Loss for Image Reconstruction and Synthesis, ICCV 2021, equations 5
    to 8; the options and their defaults are those of its published code.

    Args:
        loss_weight: The factor :math:`\lambda`, finite and at least 0; an attribute that may be changed later.
        alpha: The exponent of the weights, finite and at least 0; 0 weighs all frequencies alike.
        patch_factor: Cut each image into ``patch_factor`` times ``patch_factor`` patches, which are transformed on
            their own; a divisor of H and W.
        ave_spectrum: Compare the mean spectra of the two batches instead of image with image.
        log_matrix: Use :math:`\log(1 + |F|^\alpha)` in place of :math:`|F|^\alpha`, which evens the weights out.
        batch_matrix: Divide by the maximum over the whole batch instead of that of each channel of each image.

    Raises:
        ValueError: An argument is not as described.

    Example:
        >>> loss = FocalFrequencyLoss(loss_weight=0.1, alpha=1.0)
        >>> pred = torch.rand(1, 3, 64, 64, requires_grad=True)
        >>> loss(pred, torch.rand(1, 3, 64, 64)).backward()
    """

    def __init__(
        self,
        loss_weight: float = 1.0,
        alpha: float = 1.0,
        patch_factor: int = 1,
        ave_spectrum: bool = False,
        log_matrix: bool = False,
        batch_matrix: bool = False,
    ) -> None:
        super().__init__()
        self.loss_weight = check_weight(loss_weight)
        number = isinstance(alpha, (int, float)) and not isinstance(alpha, bool)
        if not number or not math.isfinite(alpha) or alpha < 0:
            raise ValueError(f'alpha is {alpha!r}. Use a finite number of at least 0')
        if not isinstance(patch_factor, int) or isinstance(patch_factor, bool) or patch_factor < 1:
            raise ValueError(f'patch_factor is {patch_factor!r}. Use a whole number of at least 1')
        for switch in (ave_spectrum, log_matrix, batch_matrix):
            if not isinstance(switch, bool):
                raise ValueError(f'ave_spectrum, log_matrix or batch_matrix is {switch!r}. Use True or False')
        self.alpha, self.patch_factor = float(alpha), patch_factor
        self.ave_spectrum, self.log_matrix, self.batch_matrix = ave_spectrum, log_matrix, batch_matrix

    def extra_repr(self) -> str:
        """The arguments, for ``print``."""
        names = ('loss_weight', 'alpha', 'patch_factor', 'ave_spectrum', 'log_matrix', 'batch_matrix')
        return ', '.join(f'{name}={getattr(self, name)}' for name in names)

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """The weighted distance.

        Args:
            pred: ``(N, C, H, W)``, float16, bfloat16, float32 or float64, any value range, any memory layout.
            target: The same shape, device and dtype (under autocast, the dtypes may differ).

        Returns:
            A scalar, float64 for float64 input and float32 otherwise, differentiable in both arguments.

        Raises:
            ValueError: Shape, dtype or device are not as described, the batch is empty, or ``patch_factor`` does not
                divide the images.
        """
        H, W = check_images(pred, target)
        if H % self.patch_factor or W % self.patch_factor:
            raise ValueError(
                f'patch_factor {self.patch_factor} does not divide images of {H} x {W}. Use a divisor of both sides'
            )
        dtype = accumulator(pred, target)
        difference = pred.to(dtype) - target.to(dtype)
        if self.ave_spectrum:
            difference = difference.mean(0, keepdim=True)
        patches = difference.unflatten(3, (self.patch_factor, -1)).unflatten(2, (self.patch_factor, -1))
        spectrum = torch.fft.rfft2(patches.transpose(3, 4), norm='ortho')
        distance = spectrum.real.square() + spectrum.imag.square()
        weighted = self.weights(distance.detach()) * distance
        # The columns that are left out mirror those of the half, but for the first and, of an even width, the last.
        total = 2 * weighted.sum() - weighted[..., 0].sum()
        if W // self.patch_factor % 2 == 0:
            total = total - weighted[..., -1].sum()
        return self.loss_weight * total / difference.numel()

    def weights(self, distance: Tensor) -> Tensor:
        """The weights of the frequencies, in [0, 1].

        Args:
            distance: The squared magnitudes ``|F|^2``, one spectrum in the last two axes.
        """
        axes = tuple(range(distance.dim())) if self.batch_matrix else (-2, -1)
        if self.log_matrix:
            power = torch.xlogy(self.alpha / 2, distance)  # its logarithm: the power itself may overflow
            return _over_maximum(torch.logaddexp(torch.zeros_like(power), power), axes)
        return _over_maximum(distance, axes).pow(self.alpha / 2)


def _over_maximum(values: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Values of at least 0 over their maximum, 0 where that is 0."""
    return values / values.amax(axes, keepdim=True).clamp_min(torch.finfo(values.dtype).tiny)
