"""The embedded default: photographs that ship in scikit-image's wheel, so that the first run downloads nothing."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from mea_plugin.core.errors import InputError, suggestion
from mea_plugin.core.packages import missing

__all__ = ['SPLITS', 'photographs']

SPLITS: dict[str, tuple[str, ...]] = {
    'query': (
        'brick.png',
        'camera.png',
        'coins.png',
        'grass.png',
        'gravel.png',
        'hubble_deep_field.jpg',
        'ihc.png',
        'moon.png',
        'motorcycle_left.png',
        'motorcycle_right.png',
        'retina.jpg',
    ),
    'test': (
        'astronaut.png',
        'chelsea.png',
        'coffee.png',
        'rocket.jpg',
    ),
}
"""Which photograph is on which side, fixed by name before anything was measured on it, and never tuned.

Test images are the colour photographs of everyday subjects (a person, an animal, a still life, a landscape), so that
they stand for what super-resolution is judged by, and RGB and Y metrics mean something on each. Everything else is the
attacker's: textures, grey photographs, microscopy and astronomy follow no victim's training data, which is the domain
shift that the paper is about. The stereo pair shows one scene and counts as one, so both are on one side; on the
test side it would count twice. Left out are drawings, pages of text, test patterns, and pictures with alpha.
"""


def photographs(split: str, *, where: str = '') -> dict[str, Path]:
    """The photographs of one side of the split.

    Args:
        split: ``'query'`` or ``'test'``.
        where: The option that names the split, for the error.

    Returns:
        Name (without extension) to file, sorted by name. scikit-image itself is not imported.

    Raises:
        InputError: There is no such split, scikit-image is not installed, or its version lacks a photograph.
    """
    if split not in SPLITS:
        raise InputError(f"no embedded images '{split}'", where=where, do=suggestion(split, SPLITS))
    spec = importlib.util.find_spec('skimage')
    if spec is None or not spec.submodule_search_locations:
        raise missing('the embedded images', ImportError(name='skimage'), where)
    folder = Path(spec.submodule_search_locations[0]) / 'data'
    paths = {Path(name).stem: folder / name for name in SPLITS[split]}
    for path in paths.values():
        if not path.is_file():
            raise InputError(
                f'this version of scikit-image lacks {path.name}',
                where=where,
                do='Install the version in requirements/, or give a folder of images',
            )
    return dict(sorted(paths.items()))
