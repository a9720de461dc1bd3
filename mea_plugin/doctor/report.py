"""What is installed, what of it clashes, and what to type: told from the packages' metadata, importing none."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from importlib import metadata

from mea_plugin.doctor.needs import needed_distributions
from mea_plugin.doctor.rules import (
    HANDLED,
    MEDIAPIPE,
    RULES,
    SAME_FOLDER,
    Finding,
    Rule,
    applies,
    stand_ins,
    torch_pair,
    version_of,
)

__all__ = ['SHOWN', 'Finding', 'examine', 'handled', 'installed_versions', 'report']

SHOWN = (
    'torch',
    'torchvision',
    'numpy',
    'pydantic',
    'pywavelets',
    'pillow',
    'pyyaml',
    'scikit-image',
    'scipy',
    'tqdm',
    'typing-extensions',
    'isal',
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

UNKNOWN = 'unknown'
"""The version of what can be imported and has no metadata: a checkout on ``PYTHONPATH``, a system's package."""

PYTHONS = ((3, 10), (3, 11), (3, 12))


def installed_versions() -> dict[str, str]:
    """The versions of those of :data:`SHOWN` and :func:`needed_distributions` that are installed."""
    found: dict[str, str] = {}
    wanted = {*SHOWN, *needed_distributions()}
    for distribution in metadata.distributions():
        name = re.sub('[-_.]+', '-', distribution.metadata['Name'] or '').lower()
        if name in wanted:
            found.setdefault(name, distribution.version or UNKNOWN)
    # What is often there without having been installed by pip.
    for module, names in (('cv2', SAME_FOLDER['cv2']), ('basicsr', ('basicsr',)), ('mmagic', ('mmagic',))):
        spec = importlib.util.find_spec(module)
        # Any folder of the name makes a spec; only a package has an origin.
        if spec is not None and spec.origin is not None and not any(name in found for name in names):
            found[names[0]] = UNKNOWN
    return found


def examine(versions: Mapping[str, str], python: tuple[int, int], *, mediapipe_broken: bool = False) -> list[Finding]:
    """Find what clashes or is missing.

    Args:
        versions: Version by distribution name, of what is installed.
        python: Major and minor version of Python.
        mediapipe_broken: What :func:`mea_plugin.toolboxes.mediapipe_compat.mediapipe_lacks_solutions` says.

    Returns:
        The findings, serious ones first.
    """
    rules = (*RULES, MEDIAPIPE) if mediapipe_broken else RULES
    findings = [
        *_python(python),
        *_torchvision(versions),
        *(_finding(rule, versions) for rule in rules if applies(rule.when, versions)),
        *_same_folder(versions),
    ]
    return sorted(findings, key=lambda finding: not finding.serious)


def _finding(rule: Rule, versions: Mapping[str, str]) -> Finding:
    _, pair = torch_pair(versions.get('torch', ''))
    return Finding(rule.serious, rule.what, rule.do.format(pair=pair, **stand_ins(versions)))


def _python(python: tuple[int, int]) -> list[Finding]:
    if python in PYTHONS:
        return []
    text = f'Python {python[0]}.{python[1]}: neither toolbox is known to install on it (3.10, 3.11 and 3.12 do)'
    return [Finding(True, text, 'make env PYTHON=python3.11')]


def _torchvision(versions: Mapping[str, str]) -> list[Finding]:
    """A torchvision that was built for another torch: its operators do not load."""
    torch, here = versions.get('torch', ''), version_of(versions.get('torchvision', ''))
    wanted, pair = torch_pair(torch)
    if not wanted or not here or here[:2] == version_of(wanted):
        return []
    text = f'torch {torch} needs torchvision {wanted}, not {versions["torchvision"]}'
    return [Finding(True, text, f'python -m pip install {pair}')]


def _same_folder(versions: Mapping[str, str]) -> list[Finding]:
    """Distributions that install the same folder: whichever came last overwrote the others."""
    findings = []
    for module, names in SAME_FOLDER.items():
        here = [name for name in names if name in versions]
        if len(here) > 1:
            text = f'{", ".join(here)} all install `{module}`: whichever came last overwrote the others'
            again = f'python -m pip install {here[0]}=={versions[here[0]]}'
            # Of one version they are the same code, apart from what was compiled in; of several they may be a mixture.
            mixed = len({version_of(versions[name])[:2] for name in here}) > 1
            do = f'python -m pip uninstall -y {" ".join(here)} && {again}'
            findings.append(Finding(mixed and module != 'tensorboard', text, do))
    return findings


def handled(versions: Mapping[str, str]) -> list[str]:
    """Clashes that are there and need nothing: this package works around them."""
    return [what for what, when in HANDLED.items() if applies(when, versions)]


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
