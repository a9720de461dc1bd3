"""Packaging of mea_plugin.

The bounds are loose on purpose: they name what is known not to work, so that installing this package beside a toolbox
that works changes nothing there. The environments this project is tested in are pinned in ``requirements/``.
"""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent


def read_version() -> str:
    """The version, read as text: importing or executing the package would need what is not installed yet."""
    text = (ROOT / 'mea_plugin' / '__init__.py').read_text(encoding='utf-8')
    match = re.search(r"^__version__ = '([^']+)'$", text, flags=re.MULTILINE)
    if match is None:
        raise RuntimeError("mea_plugin/__init__.py has no line __version__ = '...'")
    return match.group(1)


def read_readme() -> str:
    """The README, for the package's page; a checkout without one still installs."""
    readme = ROOT / 'README.md'
    return readme.read_text(encoding='utf-8') if readme.is_file() else ''


CORE = [
    'isal; platform_machine in "x86_64 AMD64 aarch64 arm64"',  # encodes PNG nine times as fast
    'torch>=2.1',
    'numpy',
    'PyWavelets',
    'pydantic>=2.10',  # descriptions of fields from the strings below them, defaults made of other fields
    'Pillow>=10.1',  # a default font that can be scaled
    'PyYAML',
    'tqdm',
    'scikit-image',  # ships the photographs of the embedded default
    'scipy',
    'typing-extensions',
]

EXTRAS = {
    'basicsr': ['basicsr>=1.4.2'],
    # Neither mmcv nor mmcv-lite: both install the module `mmcv`, so naming one would overwrite the other where a user
    # has it. docs/install.md says which to take.
    'mmagic': [
        'mmagic==1.2.*',
        'mmengine>=0.10',
        'albumentations',  # mmagic imports it without requiring it
        'diffusers<0.25',  # controlnet_xs moved
        'huggingface-hub<0.26',  # cached_download went
    ],
    'http': ['aiolimiter', 'httpx', 'tenacity'],  # a victim behind HTTP
    'serve': ['fastapi', 'prometheus-client', 'python-multipart', 'uvicorn'],
    'files': ['lmdb', 'onnx', 'onnxruntime', 'safetensors', 'spandrel'],  # victims, data and exports in other formats
    'metrics': ['lpips', 'torch-fidelity'],  # evaluation with learned metrics
    'report': ['jinja2', 'matplotlib'],
    'dev': [
        *('hypothesis', 'mypy', 'playwright', 'ptwt', 'pytest', 'pytest-timeout', 'pytest-xdist', 'pytorch-msssim'),
        *('pytorch-wavelets', 'ruff', 'schemathesis', 'types-PyYAML'),
    ],
}

setup(
    name='mea_plugin',
    version=read_version(),
    description='Model extraction of image-to-image networks, for BasicSR and MMagic',
    long_description=read_readme(),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.10',
    packages=find_packages(include=['mea_plugin', 'mea_plugin.*']),
    package_data={'mea_plugin': ['py.typed', 'report/templates/*', 'victims/weights/*']},
    install_requires=CORE,
    extras_require=EXTRAS,
    zip_safe=False,
)
