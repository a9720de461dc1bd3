"""What every victim that is a network here has in common: batches, uint8 in and out, its scale, its fingerprint."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import torch
from pydantic import BeforeValidator
from torch import Tensor, nn
from typing_extensions import TypedDict, Unpack

from mea_plugin.core.errors import InputError
from mea_plugin.core.files import hash_array, hash_json
from mea_plugin.core.networks import forward_padded, probe_size
from mea_plugin.core.schema import Text, Whole, refusal, shortened
from mea_plugin.core.signatures import checked
from mea_plugin.victims.checks import one_line
from mea_plugin.victims.tiling import Tiling

__all__ = ['NetworkOptions', 'NetworkVictim', 'Wiring', 'Wrapped', 'find_device', 'hash_weights']

_PROBES = (16, 64, 256)  # deep networks fail on the smallest
_FULL = ('out of memory', 'allocate memory')  # of a GPU; of torch's CPU allocator and ONNX Runtime's


def _check_range(value: Any) -> tuple[float, float]:
    try:
        low, high = map(float, value)
    except (TypeError, ValueError):
        low = high = 0.0
    if not 0 < high - low < float('inf'):
        raise refusal(f'got {shortened(value)}', do='Give low and high, for example [0, 1]')
    return low, high


ValueRange = Annotated[tuple[float, float], BeforeValidator(_check_range)]
ChannelOrder = Literal['rgb', 'bgr']


class NetworkOptions(TypedDict, total=False):
    """What every victim that is a network takes besides its own options; None stands for the default.

    Attributes:
        name: How tables call it.
        value_range: What the network's images range over; by default [0, 1].
        channel_order: What the network was trained on, ``rgb`` (default) or ``bgr``.
        multiple: What height and width are padded to a multiple of, and where tiles begin; by default what the
            network's type needs.
        scale: Checked against what the network does; found out when left away.
        device: ``auto`` (default), ``cpu``, ``cuda``, ``cuda:1``...
        batch_size: Images of equal size, or tiles, that are answered together; by default 8.
        tile_pixels: Height times width above which an image is cut into tiles (:class:`~.tiling.Tiling`); by default
            no image is.
        tile_overlap: Context on each side of a tile, in pixels of the input; by default 16.
    """

    name: Text | None
    value_range: ValueRange | None
    channel_order: ChannelOrder | None
    multiple: Annotated[int, Whole(1)] | None
    scale: Annotated[int, Whole(1)] | None
    device: str | None
    batch_size: Annotated[int, Whole(1)] | None
    tile_pixels: Annotated[int, Whole(1)] | None
    tile_overlap: Annotated[int, Whole(0)] | None


_DEFAULTS: NetworkOptions = {
    'value_range': (0.0, 1.0),
    'channel_order': 'rgb',
    'multiple': 1,
    'device': 'auto',
    'batch_size': 8,
    'tile_overlap': 16,
}


class Wiring(NamedTuple):
    """A network, and what it takes and gives.

    Attributes:
        network: In evaluation mode.
        value_range: What its images range over.
        channel_order: ``rgb`` or ``bgr``.
        multiple: What height and width must be multiples of.
    """

    network: nn.Module
    value_range: tuple[float, float]
    channel_order: str
    multiple: int


class NetworkVictim:
    """A network as a black box: uint8 RGB in, uint8 RGB out, always in evaluation mode.

    Args:
        network: Maps float ``(N, 3, H, W)`` to ``(N, 3, s * H, s * W)``; its weights are loaded.
        description: What answers, without the options below: JSON-like, hashed into the fingerprint.
        defaults: The type's own defaults of the options; ``name`` at least.
        options: See :class:`NetworkOptions`. Those that change answers go into the fingerprint where they are not the
            defaults.

    Raises:
        InputError: No such device, an option out of range, another scale, or no network from RGB image to RGB image.
    """

    @checked('victim')
    def __init__(
        self,
        network: nn.Module,
        description: Mapping[str, Any],
        *,
        defaults: NetworkOptions,
        **options: Unpack[NetworkOptions],
    ) -> None:
        usual: dict[str, Any] = {**_DEFAULTS, **defaults}
        chosen = {**usual, **{key: value for key, value in options.items() if value is not None}}
        self.name: str = chosen['name']
        self.device = find_device(chosen['device'])
        self.batch_size: int = chosen['batch_size']
        self._order: ChannelOrder = chosen['channel_order']
        self._low, self._high = chosen['value_range']
        self._multiple: int = chosen['multiple']
        pixels = chosen.get('tile_pixels')
        self._tiling = None if pixels is None else Tiling(pixels, chosen['tile_overlap'], self._multiple)
        self.fingerprint = hash_json({**description, **self._answering(usual['multiple'])})
        self._network = network.to(self.device).eval().requires_grad_(False)
        self._dtype = next((p.dtype for p in network.parameters() if p.is_floating_point()), torch.float32)
        self.scale = self._find_scale()
        scale = chosen.get('scale')
        if scale is not None and scale != self.scale:
            raise InputError(
                f'scale is {scale}, but {self.name} magnifies {self.scale} times',
                where='victim.scale',
                do='Correct the scale or the network',
            )

    def query(self, images: list[np.ndarray]) -> list[np.ndarray]:
        """Answer images of any sizes; those of equal size go through the network together.

        Raises:
            InputError: The network fails on one of them, or gives no image of ``scale`` times its size.
        """
        answers: dict[int, np.ndarray] = {}
        sizes: dict[tuple[int, ...], list[int]] = {}
        for index, image in enumerate(images):
            if self._tiling and self._tiling.applies(image):
                answers[index] = self._tiling.answer(self._answer, image, scale=self.scale, batch_size=self.batch_size)
            else:
                sizes.setdefault(image.shape, []).append(index)
        for same in sizes.values():
            for start in range(0, len(same), self.batch_size):
                some = same[start : start + self.batch_size]
                answers.update(zip(some, self._answer(np.stack([images[index] for index in some])), strict=True))
        return [answers[index] for index in range(len(images))]

    def _run(self, image: Tensor) -> Tensor:
        """From the network's images to the network's images."""
        return forward_padded(self._network, image, self._multiple)

    @property
    def wiring(self) -> Wiring:
        """What is in the box; for its owner, who exports it."""
        return Wiring(self._network, (self._low, self._high), self._order, self._multiple)

    def forward(self, rgb: Tensor) -> Tensor:
        """From RGB ``(N, 3, H, W)`` to RGB, both float32 in [0, 1]; neither is cut into tiles nor rounded."""
        usual = (self._low, self._high) == (0, 1)
        image = rgb if self._order == 'rgb' else rgb.flip(1)
        image = image if usual else image * (self._high - self._low) + self._low
        output = self._run(image.to(self._dtype)).float()
        output = output if usual else (output - self._low) / (self._high - self._low)
        return output if self._order == 'rgb' else output.flip(1)

    @torch.inference_mode()
    def _answer(self, batch: np.ndarray) -> list[np.ndarray]:
        answers = self._network_answer(batch)
        height, width = batch.shape[1:3]
        if answers.shape != (len(batch), height * self.scale, width * self.scale, 3):
            self._refuse(batch, f'into an array {answers.shape[1:]}, not {self.scale} times as large')
        return list(answers)

    def _network_answer(self, batch: np.ndarray) -> np.ndarray:
        """From uint8 ``(N, H, W, 3)`` to whatever image the network makes of it.

        Raises:
            InputError: The network fails, or makes no image of it.
        """
        height, width = batch.shape[1:3]
        try:
            rgb = torch.from_numpy(batch).to(self.device).permute(0, 3, 1, 2).float().div_(255)
            output = self.forward(rgb)
            finite = all(bool(edge.isfinite()) for edge in output.aminmax())
            answers = _grey_levels(output).cpu().numpy()
        except Exception as error:  # networks raise what they like
            full = any(words in str(error).lower() for words in _FULL)
            raise InputError(
                f'{self.name} fails on {width}x{height} pixels ({one_line(error)})',
                where='victim',
                do='Set tile_pixels or lower batch_size' if full else 'Use a network from RGB image to RGB image',
            ) from error
        if not finite:
            self._refuse(batch, 'into values that are not finite')
        return answers

    def _refuse(self, batch: np.ndarray, what: str) -> None:
        height, width = batch.shape[1:3]
        raise InputError(
            f'{self.name} turns {width}x{height} pixels {what}',
            where='victim',
            do='Use a network from RGB image to RGB image',
        )

    def _probe(self) -> tuple[np.ndarray, tuple[int, ...]]:
        """The smallest black image that the network takes, and the shape of its answer."""
        first: InputError | None = None
        for size in sorted({probe_size(self._multiple, least) for least in _PROBES}):
            batch = np.zeros((1, size, size, 3), np.uint8)
            try:
                return batch, self._network_answer(batch).shape
            except InputError as error:
                first = first or error
        assert first is not None
        raise first

    @torch.inference_mode()
    def _find_scale(self) -> int:
        batch, shape = self._probe()
        size = batch.shape[1]
        scale, rest = divmod(shape[1], size)
        if rest or not scale or shape != (1, scale * size, scale * size, 3):
            self._refuse(batch, f'into an array {shape[1:]}')
        return scale

    def _answering(self, usual_multiple: int) -> dict[str, Any]:
        """The options that change answers, but for those that are as usual."""
        changed: dict[str, Any] = {}
        if (self._low, self._high) != (0, 1):
            changed['range'] = [self._low, self._high]
        if self._order != 'rgb':
            changed['order'] = self._order
        if self._multiple != usual_multiple:
            changed['multiple'] = self._multiple
        if self._tiling:
            changed['tiles'] = [self._tiling.pixels, self._tiling.overlap]
        return changed


class Wrapped(nn.Module):
    """A network that is no plain module of torch; moving it and its mode are the business of who made it.

    Args:
        call: From float32 ``(N, 3, H, W)`` on the victim's device to ``(N, 3, s * H, s * W)``.
    """

    def __init__(self, call: Any) -> None:
        super().__init__()
        # In a tuple: a module among the attributes would be moved and switched with this one.
        self._call = (call,)

    def forward(self, image: Tensor) -> Tensor:
        """Call it."""
        return self._call[0](image)


def hash_weights(network: nn.Module) -> dict[str, str]:
    """A hash of every weight: where the file lies and how it was saved does not matter."""
    return {key: hash_array(_array(value)) for key, value in network.state_dict().items()}


def _array(value: Tensor) -> np.ndarray:
    # numpy has no bfloat16, and float32 holds its every value.
    return (value.float() if value.dtype == torch.bfloat16 else value).cpu().numpy()


def _grey_levels(output: Tensor) -> Tensor:
    """From ``(N, 3, H, W)`` in [0, 1] to uint8 ``(N, H, W, 3)``; image by image, so that each stays in the cache."""
    count, channels, height, width = output.shape
    answers = torch.empty((count, height, width, channels), dtype=torch.uint8, device=output.device)
    for answer, image in zip(answers, output, strict=True):
        # Only what clamp makes is ours to change in place.
        answer.copy_(image.clamp(0, 1).mul_(255).round_().to(torch.uint8).permute(1, 2, 0))
    return answers


def find_device(name: str | None) -> torch.device:
    """The device of that name; ``auto`` is a GPU where there is one, under ``torchrun`` the process's own.

    Raises:
        InputError: There is none.
    """
    if name in ('auto', None):
        rank = int(os.environ.get('LOCAL_RANK', 0))
        name = f'cuda:{rank % torch.cuda.device_count()}' if torch.cuda.is_available() else 'cpu'
    try:
        device = torch.device(str(name))
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"no device '{name}' here", where='victim.device', do='Use auto or cpu') from error
    return device
