"""What is known to clash among installed distributions, as a table, and how a row of it is matched."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

__all__ = [
    *('HANDLED', 'OPENCV', 'RULES', 'SAME_FOLDER', 'Finding', 'Rule'),
    *('applies', 'stand_ins', 'torch_pair', 'version_of'),
]

OPENCV = ('opencv-python', 'opencv-python-headless', 'opencv-contrib-python', 'opencv-contrib-python-headless')
MMCV = ('mmcv', 'mmcv-lite')

SAME_FOLDER = {'mmcv': MMCV, 'cv2': OPENCV, 'tensorboard': ('tensorboard', 'tb-nightly')}
"""Distributions that install the same folder, by its name."""

_ANY_OF = {'any_mmcv': MMCV, 'any_cv2': OPENCV, 'any_toolbox': ('basicsr', 'mmagic')}


class Finding(NamedTuple):
    """Something about an environment that a user should know.

    Attributes:
        serious: Whether something does not work; otherwise it does, for now or by luck.
        what: What is wrong, and what it leads to.
        do: The command that mends it; ``python`` in it is the one that was examined.
    """

    serious: bool
    what: str
    do: str


class Rule(NamedTuple):
    """A fault, and how to know it.

    Attributes:
        when: What must hold of the distributions for the fault to be there: ``any`` (installed), ``missing``, or
            bounds (``>=2.0,<2.2``); alternatives are joined by ``or``. A name of ``_ANY_OF`` stands for the first of
            its distributions that is installed.
        what: What is wrong, and what it leads to.
        do: The command that mends it. Names of ``_ANY_OF`` in braces become that distribution's name, ``{pair}`` what
            :func:`torch_pair` returns.
        serious: Whether something does not work; otherwise it does, for now or by luck.
    """

    when: Mapping[str, str]
    what: str
    do: str
    serious: bool = True


_INSTALL = 'python -m pip install'
_UNINSTALL = 'python -m pip uninstall -y'
# basicsr's build imports torch, which an isolated build would download once more.
_FROM_SOURCE = f'{_INSTALL} --no-build-isolation --use-pep517'
# These three bound one another, so pip has to see all bounds at once.
_DIFFUSERS = f"{_INSTALL} 'diffusers>=0.23,<0.25' 'transformers>=4.27.4,<4.49' 'huggingface-hub<0.26'"
# The first versions with which `import mmagic.models` fails.
_TOO_NEW_FOR_MMAGIC = {
    'diffusers': ('0.25', _DIFFUSERS),
    'huggingface-hub': ('0.26', _DIFFUSERS),
    'transformers': ('4.49', _DIFFUSERS),
    'albumentations': ('2.0.9', f"{_INSTALL} 'albumentations<2.0.9'"),
}

RULES = (
    Rule({'torch': 'missing'}, 'torch is missing', f'{_INSTALL} torch torchvision'),
    Rule({'torch': '<2.1'}, 'torch is older than 2.1', f"{_INSTALL} --upgrade 'torch>=2.1' torchvision"),
    Rule(
        {'torch': '<2.3', 'numpy': '>=2'},
        'torch before 2.3 was built for numpy 1 and fails with numpy 2',
        f"{_INSTALL} 'numpy<2'",
    ),
    Rule({'torch': '<2.3', 'numpy': 'missing'}, 'numpy is missing', f"{_INSTALL} 'numpy<2'"),
    Rule({'torch': '>=2.3 or missing', 'numpy': 'missing'}, 'numpy is missing', f'{_INSTALL} numpy'),
    *(
        Rule({name: 'missing'}, f'{name} is missing', f'{_INSTALL} {name}')
        for name in ('pydantic', 'pywavelets', 'pyyaml', 'scikit-image', 'scipy', 'tqdm', 'typing-extensions')
    ),
    Rule(
        {'isal': 'missing'},
        'isal is missing: PNG files are encoded by Pillow, nine times as slowly',
        f'{_INSTALL} isal',
        False,
    ),
    Rule({'pillow': 'missing or <10.1'}, 'Pillow 10.1 or later is missing', f"{_INSTALL} 'pillow>=10.1'"),
    Rule(
        {'pytorch-wavelets': 'any', 'setuptools': '>=81'},
        'pytorch-wavelets imports pkg_resources, which setuptools 81 removed',
        f"{_INSTALL} 'setuptools<81'",
    ),
    # OpenCV.
    Rule(
        {'any_toolbox': 'any', 'any_cv2': 'missing', 'numpy': '<2'},
        'the toolboxes import cv2, and no OpenCV is installed',
        f"{_INSTALL} 'opencv-python-headless<4.12'",
    ),
    Rule(
        {'any_toolbox': 'any', 'any_cv2': 'missing', 'numpy': '>=2 or missing'},
        'the toolboxes import cv2, and no OpenCV is installed',
        f'{_INSTALL} opencv-python-headless',
    ),
    # It does run there (5.0.0.93 with numpy 1.26.4), but pip, asked for anything else, may raise numpy for it.
    Rule(
        {'any_cv2': '>=4.12', 'numpy': '<2'},
        'OpenCV 4.12 and later ask for numpy 2, and pip may bring it',
        f"{_INSTALL} '{{any_cv2}}<4.12'",
        serious=False,
    ),
    # Toolboxes.
    Rule(
        {'any_toolbox': 'any', 'torch': 'any', 'torchvision': 'missing'},
        'the toolboxes need torchvision',
        f'{_INSTALL} {{pair}}',
    ),
    Rule({'basicsr': '<1.4.2'}, 'basicsr is older than 1.4.2', f"{_FROM_SOURCE} 'basicsr>=1.4.2'"),
    Rule(
        {'mmagic': '<1.2 or >=1.3'},
        'this package is written for mmagic 1.2',
        f"{_INSTALL} 'mmagic==1.2.*'",
    ),
    Rule({'mmagic': 'any', 'mmengine': 'missing'}, 'mmagic needs mmengine', f"{_INSTALL} 'mmengine>=0.10,<1'"),
    Rule(
        {'mmagic': 'any', 'mmengine': '<0.10 or >=1'},
        'mmagic is used here with mmengine 0.10, and refuses 1.0',
        f"{_INSTALL} 'mmengine>=0.10,<1'",
    ),
    Rule(
        {'mmagic': 'any', 'any_mmcv': 'missing'},
        'mmagic needs mmcv and does not ask for it',
        f"{_INSTALL} 'mmcv-lite==2.1.0'",
    ),
    Rule(
        {'mmagic': 'any', 'any_mmcv': '<2.0 or >=2.2'},
        'mmagic refuses any mmcv but 2.0 and 2.1',
        f"{_INSTALL} '{{any_mmcv}}>=2.0,<2.2'",
    ),
    *(
        Rule({'mmagic': 'any', name: 'missing'}, f'mmagic does not import without {name}', command)
        for name, command in (
            ('diffusers', _DIFFUSERS),
            ('transformers', _DIFFUSERS),
            ('albumentations', f'{_INSTALL} albumentations==1.3.1'),
            ('lpips', f'{_INSTALL} lpips'),
        )
    ),
    *(
        Rule({'mmagic': 'any', name: f'>={bound}'}, f'mmagic does not import with {name} {bound} and later', command)
        for name, (bound, command) in _TOO_NEW_FOR_MMAGIC.items()
    ),
)
"""Every fault that versions alone tell."""

MEDIAPIPE = Rule(
    {'mmagic': 'any', 'controlnet-aux': 'any'},
    'this mediapipe has no `solutions`, so `import mmagic.apis` fails unless mea_plugin.mmagic is imported before it',
    f'{_UNINSTALL} mediapipe',
    serious=False,
)
"""Where a mediapipe without ``solutions`` is installed."""

HANDLED: dict[str, dict[str, str]] = {
    'basicsr imports a module that torchvision 0.17 removed': {'basicsr': 'any', 'torchvision': '>=0.17'},
    "mmagic uses names that numpy 2 removed (its own tools/train.py fails: take this package's)": {
        'mmagic': 'any',
        'numpy': '>=2',
    },
    "mmengine's checkpoints hold classes that torch 2.6 refuses to load": {'mmengine': 'any', 'torch': '>=2.6'},
    'mmcv-lite has no compiled operators: networks that need one (DeformConv2d, ...) say so': {'mmcv-lite': 'any'},
}
"""Clashes that this package works around, and when they are there."""


def version_of(text: str) -> tuple[int, ...]:
    """The leading numbers of a version: ``2.1.2+cu121`` is ``(2, 1, 2)``; nothing for one that is not known."""
    match = re.match(r'\d+(?:\.\d+)*', text)
    return tuple(int(number) for number in match.group().split('.')) if match else ()


def stand_ins(versions: Mapping[str, str]) -> dict[str, str]:
    """The distribution that each name of ``_ANY_OF`` stands for; none where none of them is installed."""
    found = {alias: [name for name in names if name in versions] for alias, names in _ANY_OF.items()}
    return {alias: names[0] for alias, names in found.items() if names}


def applies(when: Mapping[str, str], versions: Mapping[str, str]) -> bool:
    """Whether all conditions of a :class:`Rule` hold."""
    names = stand_ins(versions)
    return all(_fits(versions.get(names.get(name, name)), wanted) for name, wanted in when.items())


def _fits(text: str | None, wanted: str) -> bool:
    alternatives = wanted.split(' or ')
    if text is None:
        return 'missing' in alternatives
    version = version_of(text)
    # A version that is not known (a checkout) is not accused.
    return 'any' in alternatives or (bool(version) and any(_within(version, bounds) for bounds in alternatives))


def _within(version: tuple[int, ...], bounds: str) -> bool:
    return bounds != 'missing' and all(_keeps(version, bound) for bound in bounds.split(','))


def _keeps(version: tuple[int, ...], bound: str) -> bool:
    limit = version_of(bound.lstrip('<>='))
    size = max(len(version), len(limit))
    # 2 and 2.0 are the same version.
    here, there = ((*numbers, *[0] * (size - len(numbers))) for numbers in (version, limit))
    return here < there if bound.startswith('<') else here >= there


def torch_pair(torch: str) -> tuple[str, str]:
    """The torchvision that is built for a torch.

    Args:
        torch: Version of torch, with its label if it has one (``2.1.2+cu121``).

    Returns:
        Beginning of torchvision's version, and what to give ``pip install``: this torch and its torchvision. For a
        torch whose pair is not known, nothing and the plain names.
    """
    public = torch.partition('+')[0]
    version = version_of(public)
    if not (2, 1) <= version < (3,):
        return '', 'torch torchvision'
    torchvision = f'0.{version[1] + 15}'
    return torchvision, f"torch=={public} 'torchvision=={torchvision}.*'"
