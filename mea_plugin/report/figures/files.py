"""A figure as PNG and PDF, whose bytes depend on the figure alone."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from mea_plugin.core.files import write_bytes
from mea_plugin.report.figures.style import styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ['save']

# What a file says of when and by what it was made.
_METADATA = {
    'png': {'Software': None},
    'pdf': {'CreationDate': None, 'Producer': None, 'Creator': None},
}


@styled
def save(figure: Figure, stem: str | Path) -> list[Path]:
    """Write ``stem.png`` (300 dpi) and ``stem.pdf`` (fonts embedded); each appears whole or not at all.

    Returns:
        The two files.

    Raises:
        OSError: One cannot be written.
    """
    stem = Path(stem)
    data = {}
    for kind, metadata in _METADATA.items():
        buffer = io.BytesIO()
        with warnings.catch_warnings():  # a name may have any letters; those that no font has are boxes
            warnings.filterwarnings('ignore', r'Glyph .* missing from font', UserWarning)
            figure.savefig(buffer, format=kind, metadata=metadata)
        data[stem.with_name(f'{stem.name}.{kind}')] = buffer.getvalue()
    for path, content in data.items():
        write_bytes(path, content)
    return list(data)
