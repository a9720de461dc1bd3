"""A package of somebody else, as pip would install it: its modules, and its metadata with entry points."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def install(folder: Path, name: str, source: str, groups: Mapping[str, Mapping[str, str]]) -> Path:
    """Write the module ``NAME.py`` and a ``.dist-info`` folder that declares entry points; returns the folder.

    Args:
        folder: One that Python looks for modules in.
        name: The distribution's and its module's.
        source: Of the module.
        groups: Entry points, ``module:attribute`` by name, by group.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f'{name}.py').write_text(source)
    info = folder / f'{name}-1.0.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n')
    sections = [
        '\n'.join([f'[{group}]', *(f'{key} = {value}' for key, value in entries.items())])
        for group, entries in groups.items()
    ]
    (info / 'entry_points.txt').write_text('\n'.join(sections) + '\n')
    return folder
