"""The readers of untrusted bytes: what each is given, whole examples of it, and how it may refuse."""

from __future__ import annotations

import base64
import functools
import io
import json
import sqlite3
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import lmdb
import torch
from PIL import Image

from mea_plugin.core.errors import InputError
from mea_plugin.core.files import hash_array
from mea_plugin.core.images import decode_rgb, decode_size, encode_png, image_header, read_rgb
from mea_plugin.core.options import apply_overrides, load_options
from mea_plugin.core.weights import read_checkpoint
from mea_plugin.data.lmdb_images import lmdb_entries
from mea_plugin.query.ledger import Ledger
from mea_plugin.query_sets.finished import FinishedSet
from mea_plugin.query_sets.layout import PairFiles, QuerySet
from mea_plugin.report.sources import read_results
from mea_plugin.serving import images as service_images
from mea_plugin.serving.bodies import extract_image
from mea_plugin.serving.database import open_store
from mea_plugin.serving.refusal import Refusal
from mea_plugin.serving.watch.detector import Calibration
from mea_plugin.serving.watch.drift import Ordinary
from mea_plugin.serving.watch.memory import Memory
from mea_plugin.training import checkpoints
from mea_plugin.victims.http.bodies import read_image, read_json
from mea_plugin.victims.http.options import ResponseOptions
from mea_plugin.victims.http.session import retry_after
from mea_plugin.victims.remote import NotAnsweredError
from tests.helpers import photograph, save
from tests.report.results import make_evaluation

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Reader:
    """A reader.

    Attributes:
        read: Gives it bytes; a folder that is its own is for readers of files.
        examples: Bytes that it accepts, to begin with.
        refusals: The exceptions by which it may refuse.
    """

    read: Callable[[bytes, Path], object]
    examples: Callable[[], list[bytes]]
    refusals: tuple[type[Exception], ...] = (InputError,)


def _from_file(name: str, read: Callable[[Path], object]) -> Callable[[bytes, Path], object]:
    """A reader of a file of a name."""

    def write_and_read(data: bytes, folder: Path) -> object:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return read(path)

    return write_and_read


@functools.cache
def _pictures() -> list[bytes]:
    """An image in each format that is read, small."""
    image = photograph((9, 11), 0)
    found = [encode_png(image)]
    for kind in ('JPEG', 'WEBP', 'BMP', 'TIFF', 'PNG'):
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, kind)
        found.append(buffer.getvalue())
    palette, buffer = Image.fromarray(image).convert('P'), io.BytesIO()
    palette.save(buffer, 'PNG')
    return [*found, buffer.getvalue()]


def _replies() -> list[bytes]:
    return [*_pictures(), json.dumps({'image': _base64(_pictures()[0])}).encode(), b'<html></html>']


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _forms() -> list[bytes]:
    head = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
    return [head + _pictures()[0] + b'\r\n--x--\r\n', b'--x--\r\n']


@functools.cache
def _weights() -> list[bytes]:
    found = []
    for state in (
        {'params': {'conv.weight': torch.ones(2, 3, 1, 1), 'conv.bias': torch.zeros(2)}},
        {'iter': 3, 'epoch': 0, 'optimizers': [{'state': {0: {'step': 1.0}}, 'param_groups': [{'lr': 0.1}]}]},
    ):
        buffer = io.BytesIO()
        torch.save(state, buffer)
        found.append(buffer.getvalue())
    return found


@functools.cache
def _safetensors() -> list[bytes]:
    from safetensors.torch import save

    return [save({'conv.weight': torch.ones(2, 3, 1, 1)})]


def _options() -> list[bytes]:
    return [path.read_bytes() for path in sorted((ROOT / 'options').rglob('*.yml'))[:12]]


@functools.cache
def _evaluation() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        make_evaluation(Path(folder))
        return [path.read_bytes() for path in Path(folder).rglob('evaluation.json')]


@functools.cache
def _manifest() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        return [_make_set(Path(folder)).read_bytes()]


def _make_set(folder: Path) -> Path:
    """A query set of one pair; returns its manifest."""
    image = photograph((9, 11), 0)
    files = save(folder / 'a.png', image), save(folder / 'b.png', image)
    pair = PairFiles('a', hash_array(image), hash_array(image), (9, 11), files)
    description = {'victim': {'name': 'v', 'scale': 1, 'fingerprint': 'f'}}
    QuerySet(folder / 'set').build([pair], description, {})
    return folder / 'set' / 'manifest.json'


def _read_set(data: bytes, folder: Path) -> object:
    if not (folder / 'set').is_dir():
        _make_set(folder)
    (folder / 'set' / 'manifest.json').write_bytes(data)
    found = FinishedSet.load(folder / 'set')
    found.verify(jobs=1)
    return found


def _read_lmdb_list(data: bytes, folder: Path) -> object:
    place = folder / 'a.lmdb'
    if not place.is_dir():
        with lmdb.open(str(place)) as environment, environment.begin(write=True) as transaction:
            transaction.put(b'a', _pictures()[0])
    (place / 'meta_info.txt').write_bytes(data)
    return lmdb_entries(place)


@functools.cache
def _ledger() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        with Ledger(folder) as ledger:
            ledger.register([('s', 'h', (4, 4))])
            ledger.note(name='victim')
        with closing(sqlite3.connect(Path(folder) / 'ledger.sqlite')) as database:
            database.execute('PRAGMA journal_mode = DELETE')
        return [(Path(folder) / 'ledger.sqlite').read_bytes()]


def _read_ledger(path: Path) -> object:
    with Ledger(path.parent, create=False) as ledger:
        ledger.recover()
        return list(ledger.rows('SELECT * FROM queries')), ledger.about(), ledger.spent


@functools.cache
def _store() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'service.sqlite'
        open_store(path).close()
        with closing(sqlite3.connect(path)) as database:
            database.execute('PRAGMA journal_mode = DELETE')
        return [path.read_bytes()]


def _read_store(path: Path) -> object:
    connection = open_store(path, check=True)
    connection.close()
    return connection


@functools.cache
def _memory() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'queries.npz'
        Memory.write(path, Memory(100).content())
        return [path.read_bytes()]


@functools.cache
def _calibration() -> list[bytes]:
    streams = [[photograph((24, 24), seed + 10 * index) for seed in range(3)] for index in range(4)]
    with tempfile.TemporaryDirectory() as folder:
        Calibration(ordinary=Ordinary.fit(streams)).save(Path(folder) / 'a.json')
        return [(Path(folder) / 'a.json').read_bytes()]


def _zips() -> list[bytes]:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w') as archive:
        archive.writestr('archive/data.pkl', b'\x80\x02}q\x00.')
        archive.writestr('archive/version', b'3\n')
    return [buffer.getvalue()]


def _read_reply(data: bytes, folder: Path) -> object:
    options = ResponseOptions(formats=('png', 'jpeg', 'webp', 'bmp', 'tiff'), size='resize')
    return read_image(data, (9, 11), options, sent_bytes=0, hide=bytes)


def _read_json_reply(data: bytes, folder: Path) -> object:
    return read_image(data, (9, 11), ResponseOptions(body='json'), sent_bytes=0, hide=bytes), read_json(data)


def _override(data: bytes, folder: Path) -> object:
    options: dict[str, object] = {'victim': {'scale': 4}, 'list': [1, {'a': 2}]}
    apply_overrides(options, [data.decode('utf-8', 'surrogateescape')])
    return options


READERS: dict[str, Reader] = {
    'image': Reader(lambda data, folder: decode_rgb(data, where='image'), _pictures),
    'image file': Reader(_from_file('a.png', read_rgb), _pictures),
    'image header': Reader(
        lambda data, folder: (decode_size(data, where='image'), _from_file('a.png', image_header)(data, folder)),
        _pictures,
    ),
    'reply': Reader(_read_reply, _replies, (InputError, NotAnsweredError)),
    'reply as JSON': Reader(_read_json_reply, _replies, (InputError, NotAnsweredError)),
    'Retry-After': Reader(
        lambda data, folder: retry_after({'Retry-After': data.decode('latin-1')}),
        lambda: [b'3', b'Wed, 21 Oct 2015 07:28:00 GMT'],
    ),
    'form': Reader(
        lambda data, folder: extract_image('multipart/form-data; boundary=x', data), _forms, (InputError, Refusal)
    ),
    'form type': Reader(
        lambda data, folder: extract_image(data.decode('latin-1'), _forms()[0]),
        lambda: [b'multipart/form-data; boundary=x', b'application/json', b'image/png'],
        (InputError, Refusal),
    ),
    'JSON body': Reader(
        lambda data, folder: extract_image('application/json', data),
        lambda: [json.dumps({'image': _base64(_pictures()[0])}).encode()],
        (InputError, Refusal),
    ),
    'service image': Reader(
        lambda data, folder: service_images.decode(data, 1 << 20), _pictures, (InputError, Refusal)
    ),
    'weights': Reader(_from_file('a.pth', read_checkpoint), lambda: [*_weights(), *_zips()]),
    'training state': Reader(_from_file('a.state', checkpoints.read), lambda: [*_weights(), *_zips()]),
    'safetensors': Reader(_from_file('a.safetensors', read_checkpoint), _safetensors),
    'option file': Reader(_from_file('a.yml', load_options), _options),
    'override': Reader(_override, lambda: [b'victim:scale=3', b'list:1:a=[1, 2]', b'x={a: 1}']),
    'evaluation': Reader(_from_file('evaluation.json', lambda path: read_results([path])), _evaluation),
    'query set': Reader(_read_set, _manifest),
    'LMDB list': Reader(_read_lmdb_list, lambda: [b'a.png (9,11,3) 1\n']),
    'ledger': Reader(_from_file('ledger.sqlite', _read_ledger), _ledger),
    'service store': Reader(_from_file('service.sqlite', _read_store), _store),
    'watch memory': Reader(_from_file('queries.npz', lambda path: Memory.load(path, 100)), _memory),
    'watch calibration': Reader(_from_file('calibration.json', Calibration.load), _calibration),
}
"""All of them, by name."""


def check_refusal(error: Exception) -> None:
    """A refusal is one line of bounded length."""
    line = str(error)
    if not line or '\n' in line or len(line) > 1000:
        raise AssertionError(f'a refusal of {len(line)} characters: {line[:200]!r}')
