"""What a batch has made so far: the manifest of a finished one, the journal of one under way."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mea_plugin.core.errors import InputError, shortened
from mea_plugin.core.files import parse_json, read_bytes, read_json, write_json, write_text
from mea_plugin.core.folders import is_inside

__all__ = ['BatchState', 'Made']

_MANIFEST = 'manifest.json'
_JOURNAL = '.prepare.jsonl'


@dataclass(frozen=True)
class Made:
    """The files of one image.

    Attributes:
        key: Hash of the input's content and of the settings.
        files: File, relative to the output folder, to the hash of its content.
    """

    key: str
    files: dict[str, str]


@dataclass
class BatchState:
    """The record of an output folder.

    The manifest exists only beside a complete result. While a batch is under way, the journal takes its place: first
    the names of all files that are or may be the batch's, then a line for each image that is finished.

    Attributes:
        output: The folder.
        recipe_name: What kind of result it holds.
        made: By name of the input image.
        ours: Files that this batch or an earlier one made, or may have made.
        complete: Whether the manifest is there.
    """

    output: Path
    recipe_name: str
    made: dict[str, Made] = field(default_factory=dict)
    ours: set[str] = field(default_factory=set)
    complete: bool = False

    @classmethod
    def load(cls, output: Path, *, recipe_name: str) -> BatchState:
        """Read what is known of a folder; nothing, when it is new.

        Raises:
            InputError: The folder holds something else.
        """
        state = cls(output, recipe_name)
        if output.exists() and not output.is_dir():
            raise InputError(f'{output} is not a folder', where='--output', do='Choose another folder')
        if (output / _MANIFEST).exists():
            state._take(state._check(read_json(output / _MANIFEST), 'images', _MANIFEST)['images'], _MANIFEST)
            state.complete = not (output / _JOURNAL).exists()
        if (output / _JOURNAL).exists():
            head, *lines = read_bytes(output / _JOURNAL).decode(errors='replace').split('\n')
            state.ours.update(state._check(_parse(head), 'ours', _JOURNAL)['ours'])
            for line in lines:
                state._take(_parse(line) or {}, _JOURNAL)  # the last line may be torn
        return state

    def _check(self, record: Any, key: str, file: str) -> dict[str, Any]:
        if not isinstance(record, dict) or 'recipe' not in record or key not in record:
            raise self._refusal('is not one of tools/prepare_data.py', file)
        if record['recipe'] != self.recipe_name:
            raise self._refusal(f'was made by another command ({record["recipe"]})', file)
        return record

    def _take(self, images: Mapping[str, Any], file: str) -> None:
        try:
            made = {name: Made(entry['key'], dict(entry['files'])) for name, entry in images.items()}
        except (AttributeError, KeyError, TypeError, ValueError):
            raise self._refusal('is damaged', file) from None
        names = [name for entry in made.values() for name in entry.files]
        self._check_inside(names, file)
        self.made.update(made)
        self.ours.update(names)

    def _check_inside(self, names: Iterable[str], file: str) -> None:
        """Refuse names of files that are elsewhere, also by a link: they might be removed."""
        parents = set()  # there are few: following links costs time
        for name in names:
            parent, _, last = name.rpartition('/')
            if name.startswith('/') or last in ('', '.', '..'):
                raise self._refusal(f'names a file elsewhere, {shortened(name)}', file)
            parents.add(parent or '.')
        for parent in parents:
            if not is_inside(self.output, parent):
                raise self._refusal(f'names files elsewhere, in {shortened(parent)}', file)

    def _refusal(self, what: str, file: str) -> InputError:
        return InputError(what, where=self.output / file, do='Choose another output folder')

    def begin(self, kept: Mapping[str, Made], files: set[str]) -> None:
        """Start the journal, then remove the manifest, files that no longer belong, and leftovers of a killed run.

        Args:
            kept: What need not be made again.
            files: All files of the result.

        Raises:
            InputError: The folder cannot be written to.
        """
        head = {'recipe': self.recipe_name, 'ours': sorted(self.ours | files)}
        lines = [head, *({name: asdict(made)} for name, made in kept.items())]
        try:
            write_text(self.output / _JOURNAL, ''.join(json.dumps(line) + '\n' for line in lines))
        except OSError as error:
            raise InputError(
                f'cannot be written to ({error.strerror})', where=self.output, do='Choose another output folder'
            ) from None
        (self.output / _MANIFEST).unlink(missing_ok=True)
        for file in self.ours - files:
            (self.output / file).unlink(missing_ok=True)
        for folder in {(self.output / file).parent for file in files}:
            for leftover in folder.glob('.tmp-*'):  # of a process that was killed
                leftover.unlink(missing_ok=True)
        self.made, self.ours, self.complete = dict(kept), set(files), False

    def add(self, name: str, made: Made) -> None:
        """Note that an image is finished."""
        self.made[name] = made
        with (self.output / _JOURNAL).open('a') as file:
            file.write(json.dumps({name: asdict(made)}) + '\n')

    def finish(self, description: Mapping[str, Any]) -> None:
        """Write the manifest, then remove the journal."""
        images = {name: asdict(made) for name, made in sorted(self.made.items())}
        write_json(self.output / _MANIFEST, {**description, 'images': images})
        (self.output / _JOURNAL).unlink()
        self.complete = True


def _parse(line: str) -> Any | None:
    try:
        return parse_json(line)
    except ValueError:
        return None
