"""Which steps are done, decided by content: what went in, and whether what came out is still what it was."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mea_plugin import __version__
from mea_plugin.core.files import hash_file, hash_json
from mea_plugin.core.records import find_record, write_record

__all__ = ['Record']

_FORMAT = 2  # the first, which did not say so, had no checksum


class Record:
    """A small file that remembers one step.

    Args:
        path: The file.
        inputs: Everything that the step's result depends on, as JSON-like values; the package's version is added.
    """

    def __init__(self, path: str | Path, inputs: Mapping[str, Any]) -> None:
        self.path = Path(path)
        self.key = hash_json({'version': __version__, **inputs})

    def is_current(self) -> bool:
        """Whether the step has run on these inputs, and its outputs are unchanged since."""
        record = self._read()
        outputs = record.get('outputs')
        if record.get('key') != self.key or not isinstance(outputs, dict) or not outputs:
            return False
        return all(Path(path).is_file() and hash_file(path) == digest for path, digest in outputs.items())

    def was_begun(self) -> bool:
        """Whether the step was begun on these inputs and did not end."""
        record = self._read()
        return record.get('key') == self.key and 'outputs' not in record

    def begin(self) -> None:
        """Note that the step is running; forget what an older run left."""
        write_record(self.path, {'format': _FORMAT, 'key': self.key})

    def finish(self, outputs: list[Path]) -> None:
        """Note that the step is done and what came out."""
        found = {str(path): hash_file(path) for path in outputs}
        write_record(self.path, {'format': _FORMAT, 'key': self.key, 'outputs': found})

    def _read(self) -> dict[str, Any]:
        return find_record(self.path, format=_FORMAT, unsealed=1) or {}
