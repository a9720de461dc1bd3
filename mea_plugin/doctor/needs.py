"""What each tool, and each kind of victim, data or metric, needs beyond what this package requires itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from mea_plugin.doctor.rules import OPENCV, Finding, applies

__all__ = ['NEEDS', 'Need', 'examine_needs', 'needed_distributions']


class Need(NamedTuple):
    """What something cannot do without.

    Attributes:
        who: The tool, or what of an option file.
        distributions: Their names; alternatives are joined by ``or``.
        extra: The extra of setup.py that brings them; empty for those that stand in none (docs/install.md says why).
    """

    who: str
    distributions: tuple[str, ...]
    extra: str


_OPENCV = ' or '.join(OPENCV)

NEEDS = (
    Need('tools/train_basicsr.py; victims `basicsr` and `embedded`', ('basicsr',), 'basicsr'),
    Need('tools/train_mmagic.py; victim `mmagic`', ('mmagic', 'mmengine', 'mmcv or mmcv-lite'), 'mmagic'),
    Need('tools/serve.py', ('fastapi', 'prometheus-client', 'python-multipart', 'uvicorn'), 'serve'),
    Need('victim `http`', ('aiolimiter', 'httpx', 'tenacity'), 'http'),
    Need('tools/report.py; figures of tools/flatness.py and tools/study.py', ('jinja2', 'matplotlib'), 'report'),
    Need('LMDB folders', ('lmdb',), 'files'),
    Need('safetensors files', ('safetensors',), 'files'),
    Need('victim `onnx`; tools/export.py --format onnx', ('onnx', 'onnxruntime'), 'files'),
    Need('victim `spandrel`', ('spandrel',), 'files'),
    Need('metrics lpips_alex, lpips_vgg, lpips_squeeze', ('lpips', 'torchvision'), 'metrics'),
    Need('metrics fid, kid', ('torch-fidelity',), 'metrics'),
    Need('metric niqe', ('basicsr or mmagic',), 'basicsr'),
    Need(
        'tools/ownership.py, tools/calibrate_watch.py; `watch` of tools/serve.py; victim `opencv`; most defences',
        (_OPENCV,),
        '',
    ),
)
"""Every tool that is not named runs without any of these."""

# What to type, where it is not the name. A toolbox comes with the bounds that it holds with.
_WORDS = {
    'basicsr': "--no-build-isolation --use-pep517 -e '.[basicsr]'",
    'basicsr or mmagic': "--no-build-isolation --use-pep517 -e '.[basicsr]'",
    'mmagic': "-e '.[mmagic]'",
    'mmcv or mmcv-lite': 'mmcv-lite==2.1.0',
    _OPENCV: 'opencv-python-headless',
}


def needed_distributions() -> set[str]:
    """The distributions of :data:`NEEDS`."""
    return {name for need in NEEDS for choice in need.distributions for name in choice.split(' or ')}


def examine_needs(versions: Mapping[str, str]) -> list[Finding]:
    """What cannot be used, and what to type for it.

    Args:
        versions: Version by distribution name, of what is installed.

    Returns:
        A note for each of :data:`NEEDS` of which something is missing.
    """
    findings = []
    for need in NEEDS:
        absent = [choice for choice in need.distributions if not any(name in versions for name in choice.split(' or '))]
        if absent:
            names = ', '.join('OpenCV' if each == _OPENCV else each for each in absent)
            words = ' '.join(_WORDS.get(each, each) for each in absent)
            if applies({'numpy': '<2'}, versions):
                words = words.replace(_WORDS[_OPENCV], f"'{_WORDS[_OPENCV]}<4.12'")
            findings.append(Finding(False, f'{need.who}: needs {names}', f'python -m pip install {words}'))
    return findings
