"""What victims that are one file of a network have in common."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mea_plugin.core.errors import InputError
from mea_plugin.core.paths import expanded

__all__ = ['check_shape', 'find_file']


def find_file(file: str | Path) -> Path:
    """The path of a file that is there.

    Raises:
        InputError: It is not.
    """
    path = expanded(file)
    if not path.is_file():
        raise InputError('no such file', where=path, do='Correct victim.file')
    return path


def check_shape(shape: Sequence[Any], path: Path) -> bool:
    """Check that a network's declared input is RGB images of any height and width.

    Args:
        shape: Whole numbers where a dimension is fixed, anything else where it is not.
        path: The network's file, for errors.

    Returns:
        Whether it takes only one image at a time.

    Raises:
        InputError: It is no batch of RGB images, or its size is fixed.
    """
    text = f'({", ".join(str(one) if isinstance(one, int) else "?" for one in shape)})'
    fixed = [one if isinstance(one, int) else None for one in shape]
    if len(shape) != 4 or fixed[1] not in (3, None):
        raise InputError(f'its input is {text}', where=path, do='Use a network of images (N, 3, H, W)')
    if fixed[2] is not None or fixed[3] is not None or fixed[0] not in (1, None):
        raise InputError(
            f'its input is fixed to {text}', where=path, do='Export it with dynamic height, width and batch size'
        )
    return fixed[0] == 1
