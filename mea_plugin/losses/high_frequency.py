"""The high-frequency loss: L1 distance of the wavelet detail bands of two batches of images.

How it is computed. The transform is linear, so one transform of the difference serves instead of two; along each axis
it is a banded matrix product (:mod:`mea_plugin.losses.wavelet`). The gradient of the L1 norm is the adjoint transform
of the bands' signs, which are at hand when the value is known: one operator returns both, and writes the way back into
the buffers of the way down. Autograd and ``torch.compile`` see that operator as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mea_plugin.losses.images import accumulator, check_images, check_weight
from mea_plugin.losses.wavelet import MODES, Analysis, analysis, discrete_wavelet, smallest_size

__all__ = ['HighFrequencyLoss']

# On a CPU the batch is worked through in parts of this many numbers. Half of it suits the cache better, by a tenth, but
# doubles the number of short parallel sections, and each is a wait when other processes hold a core.
CPU_PART = 2**21


class HighFrequencyLoss(nn.Module):
    r"""L1 distance between the wavelet detail bands of a prediction and a target.

    .. math:: w \sum_{j=1}^{J} \operatorname{mean} |D_j(\mathrm{pred}) - D_j(\mathrm{target})|

    where :math:`D_j` stacks the horizontal, vertical and diagonal detail bands of level :math:`j` of
    ``pywt.wavedec2(x, wave, mode, level)``; each level's mean runs over its three bands. Smooth differences (colour,
    brightness) hardly count, differences in edges and texture do.

    Products run in float32 (float64 for float64 input), under autocast too. On a GPU they follow
    ``torch.backends.cuda.matmul.allow_tf32``, which is off unless you switch it on. The gradient is 0 where a
    coefficient's difference is 0, and constant between such points: its own derivative is 0.

    Source: Mi et al., Towards Model Extraction Attacks in GAN-Based Image Translation via Domain Shift Mitigation,
    AAAI 2024; the defaults are those of its published code.

    Args:
        loss_weight: The factor :math:`w`, finite and at least 0; an attribute that may be changed later.
        wave: Name of a discrete wavelet (``pywt.wavelist(kind='discrete')``).
        level: Number of levels :math:`J`, at least 1; ``pywt.dwt_max_level`` of the shorter side is the most.
        mode: How an image goes on beyond its border: ``zero``, ``reflect``, ``symmetric`` or ``periodization``.

    Raises:
        ValueError: An argument is not as described.

    Example:
        >>> loss = HighFrequencyLoss(loss_weight=0.15, wave='db3', level=2)
        >>> pred = torch.rand(1, 3, 64, 64, requires_grad=True)
        >>> loss(pred, torch.rand(1, 3, 64, 64)).backward()
    """

    def __init__(self, loss_weight: float = 0.15, wave: str = 'db3', level: int = 2, mode: str = 'zero') -> None:
        super().__init__()
        self.loss_weight = check_weight(loss_weight)
        if not isinstance(level, int) or isinstance(level, bool) or level < 1:
            raise ValueError(f'level is {level!r}. Use a whole number of at least 1')
        if mode not in MODES:
            raise ValueError(f'unknown mode {mode!r}. Use one of {", ".join(MODES)}')
        wavelet = discrete_wavelet(wave)
        self.wave = str(wavelet.name)
        self.level = level
        self.mode = mode
        self._taps = int(wavelet.dec_len)

    def extra_repr(self) -> str:
        """The arguments, for ``print``."""
        return f"loss_weight={self.loss_weight}, wave='{self.wave}', level={self.level}, mode='{self.mode}'"

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """The weighted distance.

        Args:
            pred: ``(N, C, H, W)``, float16, bfloat16, float32 or float64, any value range, any memory layout.
            target: The same shape, device and dtype (under autocast, the dtypes may differ).

        Returns:
            A scalar, float64 for float64 input and float32 otherwise, differentiable in both arguments.

        Raises:
            ValueError: Shape, dtype or device are not as described, the batch is empty, or the images are too small
                for the level.
        """
        self._check(pred, target)
        if not torch.is_grad_enabled() or not (pred.requires_grad or target.requires_grad):
            value, _ = torch.ops.mea_plugin.detail_distance(pred, target, self.wave, self.level, self.mode, False)
            return self.loss_weight * value
        if target.requires_grad:
            # The distance is symmetric, and its gradient is taken in the first argument.
            pred, target = target, pred
        if target.requires_grad:
            # In both: autograd splits the gradient of the difference.
            pred = pred.to(accumulator(pred, target)) - target
            target = pred.new_zeros(()).expand(pred.shape)
        return self.loss_weight * _Distance.apply(pred, target, self.wave, self.level, self.mode)

    def _check(self, pred: Tensor, target: Tensor) -> None:
        H, W = check_images(pred, target)
        least = smallest_size(self._taps, self.level)
        if min(H, W) < least:
            raise ValueError(
                f"level {self.level} of wave '{self.wave}' needs images of at least {least} x {least}, these are "
                f'{H} x {W}. Use a lower level, a shorter wavelet or larger images'
            )


class _Distance(torch.autograd.Function):
    """The distance of weight 1 for autograd; the gradient is that in ``pred``."""

    @staticmethod
    def forward(ctx: Any, pred: Tensor, target: Tensor, wave: str, level: int, mode: str) -> Tensor:
        value, gradient = torch.ops.mea_plugin.detail_distance(pred, target, wave, level, mode, True)
        ctx.save_for_backward(gradient)
        ctx.dtype = pred.dtype
        return value

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None, None, None, None]:
        (gradient,) = ctx.saved_tensors
        # In half precision only now: a gradient scaler's factor keeps the product above the smallest half.
        return (gradient * grad_output).to(ctx.dtype), None, None, None, None


class _Level(NamedTuple):
    """A level's operators and buffers; the way back overwrites the buffers.

    Attributes:
        rows: Acts along H.
        columns: Acts along W.
        image: ``(H, P, W)``, the input. With H first, either axis is one matrix product over all ``P = n * c`` planes.
        half: ``(2h, P, W)``, after the first axis.
        bands: ``(2h, P, 2w)``, after both, low- and high-pass alternating along both axes. The approximation (even,
            even) is set to 0: what remains are the details. It comes out of the same product; on the last level,
            where nobody needs it, products that leave it out would be narrower and slower.
    """

    rows: Analysis
    columns: Analysis
    image: Tensor
    half: Tensor
    bands: Tensor

    def details(self) -> int:
        """Detail coefficients of one plane."""
        return 3 * (self.bands.shape[0] // 2) * (self.bands.shape[2] // 2)


def _detail_distance(
    pred: Tensor, target: Tensor, wave: str, level: int, mode: str, with_gradient: bool
) -> tuple[Tensor, Tensor]:
    """The distance of weight 1 and, on demand, its gradient in ``pred`` (else an empty tensor)."""
    value, gradient = _outputs(pred, target, wave, level, mode, with_gradient)
    value.zero_()
    planes = pred.shape[0] * pred.shape[1]
    for part in _parts(pred):
        image = _difference(pred[part], target[part], value.dtype)
        levels = _decompose(image.flatten(1, 2), wave, level, mode)
        for each in levels:
            value += each.bands.abs().sum() / (planes * each.details())
        if with_gradient:
            _recompose_signs(levels)
            torch.mul(image, 1 / (planes * levels[0].details()), out=_height_first(gradient[part]))
    return value, gradient


def _outputs(
    pred: Tensor, target: Tensor, wave: str, level: int, mode: str, with_gradient: bool
) -> tuple[Tensor, Tensor]:
    """Uninitialised results of :func:`_detail_distance`: all that tracing needs to know of it."""
    dtype = accumulator(pred, target)
    value = torch.empty((), dtype=dtype, device=pred.device)
    return value, torch.empty(pred.shape if with_gradient else (0,), dtype=dtype, device=pred.device)


def _parts(images: Tensor) -> Iterator[tuple[slice, slice]]:
    """Indices that cut a batch ``(N, C, H, W)`` along N, and along C where one image is too much."""
    N, C, H, W = images.shape
    planes = max(CPU_PART // (H * W), 1) if images.device.type == 'cpu' else N * C
    n, c = max(planes // C, 1), min(planes, C)
    for i in range(0, N, n):
        for j in range(0, C, c):
            yield slice(i, i + n), slice(j, j + c)


def _height_first(images: Tensor) -> Tensor:
    """``(n, c, H, W)`` seen as ``(H, n, c, W)``."""
    return images.permute(2, 0, 1, 3)


def _difference(pred: Tensor, target: Tensor, dtype: torch.dtype) -> Tensor:
    """``pred - target`` as ``(H, n, c, W)``, subtracted in ``dtype``."""
    pred, target = _height_first(pred), _height_first(target)
    out = torch.empty(pred.shape, dtype=dtype, device=pred.device)
    if pred.dtype == target.dtype == dtype:
        return torch.sub(pred, target, out=out)
    return out.copy_(pred).sub_(target)


def _decompose(image: Tensor, wave: str, level: int, mode: str) -> list[_Level]:
    """The levels of the transform of ``image`` ``(H, P, W)``, finest first."""
    levels = []
    for index in range(level):
        H, P, W = image.shape
        rows, columns = (analysis(wave, size, mode, image.device, image.dtype) for size in (H, W))
        half = image.new_empty(rows.forward.rows, P, W)
        bands = image.new_empty(rows.forward.rows, P, columns.forward.rows)
        rows.forward.left(image.view(H, -1), half.view(-1, P * W))
        columns.forward.right(half.view(-1, W), bands.view(-1, bands.shape[2]))
        levels.append(_Level(rows, columns, image, half, bands))
        approximation = bands[::2, :, ::2]
        if index + 1 < level:
            image = approximation.contiguous()
        approximation.zero_()
    return levels


def _recompose_signs(levels: list[_Level]) -> None:
    """Write into the finest level's ``image`` the adjoint transform of the details' signs.

    Level j's signs count ``details(1) / details(j)`` times, as its mean runs over fewer coefficients.
    """
    coarser: _Level | None = None
    for each in reversed(levels):
        each.bands.sign_()
        if coarser is not None:
            torch.mul(coarser.image, each.details() / coarser.details(), out=each.bands[::2, :, ::2])
        W = each.image.shape[2]
        each.columns.adjoint.right(each.bands.view(-1, each.bands.shape[2]), each.half.view(-1, W))
        each.rows.adjoint.left(each.half.flatten(1), each.image.flatten(1))
        coarser = each


# One operator for dispatch and tracing: torch.compile needs to know its outputs' shapes, not its insides.
_LIBRARY = torch.library.Library('mea_plugin', 'FRAGMENT')
_LIBRARY.define(
    'detail_distance(Tensor pred, Tensor target, str wave, int level, str mode, bool with_gradient) -> (Tensor, Tensor)'
)
_LIBRARY.impl('detail_distance', _detail_distance, 'CompositeExplicitAutograd')
_LIBRARY.impl('detail_distance', _outputs, 'Meta')
