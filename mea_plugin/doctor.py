"""What is installed, what of it clashes, and what to type: told from the packages' metadata, importing none."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

__all__ = ['SHOWN', 'Finding', 'examine', 'handled', 'installed_versions', 'report']

SHOWN = (
    'torch',
    'torchvision',
    'numpy',
    'PyWavelets',
    'scikit-image',
    'basicsr',
    'mmagic',
    'mmengine',
    'mmcv',
    'mmcv-lite',
    'diffusers',
    'transformers',
    'huggingface-hub',
    'albumentations',
    'controlnet-aux',
    'mediapipe',
    'lpips',
    'opencv-python',
    'opencv-python-headless',
    'opencv-contrib-python',
    'opencv-contrib-python-headless',
    'pytorch-wavelets',
    'setuptools',
    'tensorboard',
    'tb-nightly',
)
"""The distributions that decide whether the package and the toolboxes work, in the order of the report."""

# The first versions with which `import mmagic.models` fails.
_TOO_NEW_FOR_MMAGIC = (
    ('diffusers', (0, 25)),
    ('huggingface-hub', (0, 26)),
    ('transformers', (4, 49)),
    ('albumentations', (2, 0, 9)),
)

PYTHONS = ((3, 10), (3, 11), (3, 12))


class Finding(NamedTuple):
    """Something about an environment that a user should know.

    Attributes:
        serious: Whether something does not work; otherwise it does, for now or by luck.
        what: What is wrong, and what it leads to.
        do: What to type, or to do.
    """

    serious: bool
    what: str
    do: str


def version_of(text: str) -> tuple[int, ...]:
    """The leading numbers of a version: ``2.1.2+cu121`` is ``(2, 1, 2)``."""
    match = re.match(r'\d+(?:\.\d+)*', text)
    return tuple(int(number) for number in match.group().split('.')) if match else ()


def installed_versions() -> dict[str, str]:
    """The versions of those of :data:`SHOWN` that are installed."""
    wanted = {name.lower(): name for name in SHOWN}
    found: dict[str, str] = {}
    for distribution in metadata.distributions():
        name = re.sub('[-_.]+', '-', distribution.metadata['Name'] or '').lower()
        if name in wanted:
            found.setdefault(wanted[name], distribution.version)
    return found


def mediapipe_lacks_solutions() -> bool:
    """Whether a mediapipe is installed without ``mediapipe.solutions``, which controlnet-aux then fails to find."""
    spec = importlib.util.find_spec('mediapipe')
    folders = [Path(folder) for folder in (spec.submodule_search_locations or [])] if spec else []
    return bool(folders) and not any((folder / 'python' / 'solutions').is_dir() for folder in folders)


def examine(versions: Mapping[str, str], python: tuple[int, int], *, mediapipe_broken: bool = False) -> list[Finding]:
    """Find what clashes or is missing.

    Args:
        versions: Version by distribution name, of what is installed.
        python: Major and minor version of Python.
        mediapipe_broken: What :func:`mediapipe_lacks_solutions` says.

    Returns:
        The findings, serious ones first.
    """
    known = {name: version_of(text) for name, text in versions.items()}
    findings = [*_core(known, python), *_mmagic(known, mediapipe_broken), *_same_folder(versions)]
    if 'basicsr' not in known and 'mmagic' not in known:
        findings.append(Finding(False, 'no toolbox is installed: only losses and optimizers work', _install('basicsr')))
    return sorted(findings, key=lambda finding: not finding.serious)


def _install(extra: str) -> str:
    return f"pip install -e '.[{extra}]'"


def _core(known: Mapping[str, tuple[int, ...]], python: tuple[int, int]) -> list[Finding]:
    findings = []
    if python not in PYTHONS:
        text = f'Python {python[0]}.{python[1]}: neither toolbox is known to install on it'
        findings.append(Finding(True, text, 'use Python 3.10, 3.11 or 3.12'))
    if 'torch' not in known:
        findings.append(Finding(True, 'torch is missing', 'pip install torch torchvision'))
    elif known['torch'] < (2, 1):
        findings.append(Finding(True, 'torch is older than 2.1', "pip install --upgrade 'torch>=2.1' torchvision"))
    elif known['torch'] < (2, 3) and known.get('numpy', ()) >= (2,):
        findings.append(
            Finding(True, 'torch before 2.3 was built for numpy 1 and fails with numpy 2', "pip install 'numpy<2'")
        )
    if 'pytorch-wavelets' in known and known.get('setuptools', ()) >= (81,):
        text = 'pytorch-wavelets imports pkg_resources, which setuptools 81 removed'
        findings.append(Finding(True, text, "pip install 'setuptools<81'"))
    if 'basicsr' in known and 'torchvision' not in known:
        findings.append(Finding(True, 'basicsr needs torchvision', 'pip install torchvision'))
    return findings


def _mmagic(known: Mapping[str, tuple[int, ...]], mediapipe_broken: bool) -> list[Finding]:
    if 'mmagic' not in known:
        return []
    findings = []
    mmcv = known.get('mmcv') or known.get('mmcv-lite')
    if mmcv is None:
        text = 'mmagic needs mmcv and does not ask for it'
        findings.append(Finding(True, text, "pip install 'mmcv-lite==2.1.0'"))
    elif not (2,) <= mmcv < (2, 2):
        name = 'mmcv' if 'mmcv' in known else 'mmcv-lite'
        findings.append(Finding(True, f'mmagic refuses this {name}', f"pip install '{name}>=2.0,<2.2'"))
    findings += [
        Finding(True, f'mmagic imports {name} and does not ask for it', f'pip install {name}')
        for name in ('mmengine', 'albumentations')
        if name not in known
    ]
    for name, limit in _TOO_NEW_FOR_MMAGIC:
        if known.get(name, ()) >= limit:
            bound = '.'.join(map(str, limit))
            text = f'mmagic does not import with {name} {bound} and later'
            findings.append(Finding(True, text, f"pip install '{name}<{bound}'"))
    if mediapipe_broken and 'controlnet-aux' in known:
        text = 'this mediapipe has no `solutions`, so controlnet-aux and with it `import mmagic.apis` fail'
        findings.append(Finding(True, text, 'pip uninstall mediapipe'))
    return findings


def handled(versions: Mapping[str, str]) -> list[str]:
    """Clashes that are there and need nothing: this package works around them."""
    known = {name: version_of(text) for name, text in versions.items()}
    clashes: dict[str, dict[str, tuple[int, ...]]] = {
        'basicsr imports a module that torchvision 0.17 removed': {'basicsr': (0,), 'torchvision': (0, 17)},
        'mmagic uses names that numpy 2 removed': {'mmagic': (0,), 'numpy': (2,)},
        "mmengine's checkpoints hold classes that torch 2.6 refuses to load": {'mmengine': (0,), 'torch': (2, 6)},
        'mmcv-lite has no compiled operators: networks that need one (DeformConv2d, ...) say so': {'mmcv-lite': (0,)},
    }
    return [what for what, needs in clashes.items() if all(known.get(name, ()) >= low for name, low in needs.items())]


def _same_folder(versions: Mapping[str, str]) -> list[Finding]:
    """Distributions that install the same folder: whichever came last overwrote the others."""
    findings = []
    opencv = tuple(name for name in SHOWN if name.startswith('opencv'))
    for module, names in (('mmcv', ('mmcv', 'mmcv-lite')), ('cv2', opencv), ('tensorboard', SHOWN[-2:])):
        here = [name for name in names if name in versions]
        if len(here) > 1:
            text = f'{", ".join(here)} all install `{module}`: whichever came last overwrote the others'
            do = f'pip uninstall {" ".join(here)}, then pip install {here[0]}=={versions[here[0]]}'
            # Of one version they are the same code, apart from what was compiled in; of several they may be a mixture.
            mixed = len({version_of(versions[name])[:2] for name in here}) > 1
            findings.append(Finding(mixed and module != 'tensorboard', text, do))
    return findings


def report(versions: Mapping[str, str], findings: list[Finding]) -> str:
    """The text that ``tools/doctor.py`` prints: versions, then findings with what to type."""
    width = max(map(len, SHOWN))
    lines = [f'{name:{width}}  {versions.get(name, "-")}' for name in SHOWN]
    told = [f'handled: {what}' for what in handled(versions)]
    lines += ['', *told, ''] if told else ['']
    for finding in findings:
        lines += [f'{"PROBLEM" if finding.serious else "note"}: {finding.what}', f'  -> {finding.do}']
    if not findings:
        lines.append('nothing clashes')
    return '\n'.join(lines)
