"""Tests of ownership from an option file: suspects, their p-values, a JSON file and a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mea_plugin.core.errors import InputError
from mea_plugin.core.paths import expanded
from mea_plugin.core.provenance import provenance
from mea_plugin.core.records import write_record
from mea_plugin.data.sources import image_references, read_shrunk
from mea_plugin.defences.invisible import InvisibleWatermark
from mea_plugin.defences.registry import build_defences
from mea_plugin.evaluation.markup import to_markdown
from mea_plugin.evaluation.table import Cell, Column, Table
from mea_plugin.ownership.options import OwnershipOptions
from mea_plugin.ownership.verify import OwnershipTest, verify_all
from mea_plugin.query.recorded import RecordedVictim
from mea_plugin.victims import Victim, build_victim

__all__ = ['Ownership', 'ownership_from_options']

FORMAT = 1


@dataclass(frozen=True)
class Ownership:
    """What tests end with: the content of the JSON file, a table as Markdown, and where the file is."""

    content: dict[str, Any]
    table: str
    json: Path


def ownership_from_options(
    options: Mapping[str, Any], output: str | Path, *, where: str = '', command: Sequence[str] = ()
) -> Ownership:
    """Test every suspect and write ``ownership.json``. Answers are kept in ``output``: nobody is asked twice.

    Args:
        options: See docs/defences.md; folders are relative to the current one.
        output: Folder of the files.
        where: The option file, for errors.
        command: What was typed, for the reader of the JSON.

    Raises:
        InputError: An option, an image or a network cannot be used; no result is written then.
    """
    output, prefix = expanded(output), f'{where}: ' if where else ''
    if output.exists() and not output.is_dir():
        raise InputError(f'{output} is a file', where='output', do='Give another folder with --output')
    checked = OwnershipOptions.parse_document(options, where)
    images = image_references(checked.images, where=f'{prefix}images')
    watermark = _watermark(checked.watermark, f'{prefix}watermark')
    victim = _recorded(checked.victim, output / 'victim', f'{prefix}victim')
    suspects = {
        name: _recorded(section, output / 'suspects' / name, f'{prefix}suspects.{name}')
        for name, section in checked.suspects.items()
    }
    decoys = checked.decoys
    queries = read_shrunk(images.values(), checked.shrink)
    found = verify_all(suspects, victim, watermark, queries, decoys=decoys, seed=checked.seed)
    content = {
        'format': FORMAT,
        'name': checked.name,
        **provenance(command, options),
        'watermark': watermark.describe(),
        'victim': victim.fingerprint,
        'images': len(images),
        'decoys': decoys,
        'suspects': {
            name: {
                'fingerprint': suspects[name].fingerprint,
                'p': one.p,
                'z': round(one.z, 4),
                'p_normal': one.p_normal,
            }
            for name, one in found.items()
        },
    }
    write_record(output / 'ownership.json', content)
    return Ownership(content, to_markdown(_table(found, decoys)), output / 'ownership.json')


def _watermark(options: Mapping[str, Any], where: str) -> InvisibleWatermark:
    (found,) = build_defences([{'type': 'invisible_watermark', **options}], where=where)
    if not isinstance(found, InvisibleWatermark):
        raise InputError('that is no invisible watermark', where=where, do='Give the options of invisible_watermark')
    return found


def _recorded(options: Mapping[str, Any], folder: Path, where: str) -> Victim:
    return RecordedVictim(build_victim(options, where=where), folder)


def _table(found: Mapping[str, OwnershipTest], decoys: int) -> Table:
    header = [
        Column('suspect', 'suspect', is_number=False),
        Column('z', 'z'),
        Column('p', 'p'),
        Column('p_normal', 'p, if normal'),
    ]
    rows = [
        [Cell(name), Cell(value=one.z), Cell(value=one.p, digits=4), Cell(f'{one.p_normal:.1e}', value=one.p_normal)]
        for name, one in found.items()
    ]
    legend = [
        f'p: of a network that has nothing to do with the key; exact, with {decoys} other keys at least '
        f'{1 / (decoys + 1):.4f}. One test: several suspects need a correction (times their number).',
    ]
    return Table('ownership', 'Does the suspect carry the watermark?', header, rows, legend=legend)
