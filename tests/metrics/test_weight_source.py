"""Weight files: where they are found, what is refused, and that nothing comes from where the user has not said."""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import os
import socket
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mea_plugin.metrics.catalogue import find_metrics
from mea_plugin.metrics.published_weights import KNOWN
from mea_plugin.metrics.weight_source import WeightSource
from tests.helpers import refused
from tests.metrics.weight_files import expect

NAME = 'squeezenet1_1-b8a52dc0.pth'
INCEPTION = 'pt_inception-2015-12-05-6726825d.pth'
CONTENT = bytes(range(256)) * 20


@pytest.fixture(autouse=True)
def _nowhere(tmp_path, monkeypatch):
    """Nothing of this machine is found, and one file's published content is known."""
    monkeypatch.delenv('MEA_METRIC_WEIGHTS', raising=False)
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    monkeypatch.setenv('no_proxy', '*')
    expect(monkeypatch, NAME, CONTENT)


@pytest.fixture
def hub(tmp_path) -> Path:
    folder = tmp_path / 'torch' / 'hub' / 'checkpoints'
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / 'weights'
    folder.mkdir()
    return folder


@pytest.fixture
def serve():
    """Answer requests: by path, the body and the length that is claimed for it."""
    pages: dict[str, tuple[bytes, int]] = {}
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            if self.path not in pages:
                self.send_error(404)
                return
            body, length = pages[self.path]
            self.send_response(200)
            self.send_header('Content-Length', str(length))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.01})
    thread.start()

    def page(path: str, body: bytes, length: int | None = None) -> str:
        pages[path] = body, len(body) if length is None else length
        return f'http://127.0.0.1:{server.server_port}{path}'

    page.asked = asked
    yield page
    server.shutdown()
    thread.join()
    server.server_close()


def test_published_names_begin_their_hashes():
    for name, file in KNOWN.items():
        for published in (file.name, *file.also, file.url):
            digits = published.removesuffix('.pth').rpartition('-')[2]
            assert len(digits) == 8
            if name != NAME:
                assert file.sha256.startswith(digits)
        assert len(file.sha256) == 64


def test_names_and_addresses_are_those_of_the_libraries():
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3
    from torchvision import models

    assert KNOWN['alexnet-owt-7be5be79.pth'].url == models.AlexNet_Weights.IMAGENET1K_V1.url
    assert KNOWN['vgg16-397923af.pth'].url == models.VGG16_Weights.IMAGENET1K_V1.url
    assert KNOWN[NAME].url == models.SqueezeNet1_1_Weights.IMAGENET1K_V1.url
    assert URL_INCEPTION_V3.rpartition('/')[2] in KNOWN[INCEPTION].also


def test_the_folder_comes_before_the_variable_and_torchs(folder: Path, hub: Path, tmp_path: Path, monkeypatch):
    named = tmp_path / 'named'
    named.mkdir()
    assert WeightSource().get(NAME) is None
    (hub / NAME).write_bytes(CONTENT)
    assert WeightSource().get(NAME) == hub / NAME
    assert WeightSource(folder).get(NAME) == hub / NAME
    monkeypatch.setenv('MEA_METRIC_WEIGHTS', str(named))
    (named / NAME).write_bytes(CONTENT)
    assert WeightSource().get(NAME) == named / NAME
    (folder / NAME).write_bytes(CONTENT)
    assert WeightSource(folder).get(NAME) == folder / NAME


def test_either_name_of_inceptions_file(folder: Path, monkeypatch):
    expect(monkeypatch, INCEPTION, CONTENT)
    (folder / 'weights-inception-2015-12-05-6726825d.pth').write_bytes(CONTENT)
    assert WeightSource(folder).get(INCEPTION) == folder / 'weights-inception-2015-12-05-6726825d.pth'


@pytest.mark.parametrize(
    ('content', 'quoted'),
    [(CONTENT[:-1], ('5119', '5120')), (CONTENT[:-1] + b'x', (NAME, 'SHA-256')), (b'', (' 0 ', '5120'))],
)
def test_other_content_is_refused_before_anything_runs(folder: Path, content: bytes, quoted: tuple[str, ...]):
    (folder / NAME).write_bytes(content)
    with refused(folder / NAME, *quoted, do=KNOWN[NAME].url):
        find_metrics(['psnr_y', 'lpips_squeeze'], sources=WeightSource(folder))


def test_a_file_that_was_changed_is_hashed_again(folder: Path):
    (folder / NAME).write_bytes(CONTENT)
    WeightSource(folder).get(NAME)
    (folder / NAME).write_bytes(b'x' + CONTENT[1:])
    with refused(folder / NAME, 'SHA-256'):
        WeightSource(folder).get(NAME)


def test_what_is_missing_says_how_to_get_it(folder: Path, hub: Path, monkeypatch):
    monkeypatch.setattr(urllib.request, 'urlopen', None)  # nothing is asked for
    url = KNOWN[NAME].url
    metric = find_metrics(['lpips_squeeze'], sources=WeightSource(folder))[0]
    assert metric.missing == f'weights: put {NAME} into {folder} or give weights.urls, from {url}'
    with pytest.raises(RuntimeError, match='`missing`'):
        metric.measure(None, None)
    (metric,) = find_metrics(['lpips_squeeze'])
    assert metric.missing == f'weights: put {NAME} into {hub} or give weights.urls, from {url}'
    for metric in find_metrics(['lpips_alex', 'lpips_vgg', 'fid', 'kid']):
        assert metric.missing.startswith('weights: put ')
        assert metric.extractor is None


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    commands = {'lpips_vgg': 'lpips torchvision', 'fid': 'torch-fidelity', 'niqe': '-e ".[basicsr]"'}
    for name, packages in commands.items():
        (metric,) = find_metrics([name])
        assert metric.missing.endswith(f'pip install {packages}')


def test_download_into_a_folder_that_is_made(tmp_path: Path, serve):
    url = serve('/some%20file', CONTENT)
    source = WeightSource(tmp_path / 'new' / 'folder', {NAME: url})
    assert source.get(NAME) == tmp_path / 'new' / 'folder' / NAME
    assert source.get(NAME).read_bytes() == CONTENT
    assert source.get('vgg16-397923af.pth') is None
    assert len(serve.asked) == 1
    assert [path.name for path in (tmp_path / 'new' / 'folder').iterdir()] == [NAME]


def test_nothing_is_downloaded_that_is_there(folder: Path, hub: Path):
    (hub / NAME).write_bytes(CONTENT)
    assert WeightSource(folder, {NAME: 'http://127.0.0.1:9/nobody'}).get(NAME) == hub / NAME


def test_download_under_the_other_name_of_a_file(folder: Path, serve, monkeypatch):
    expect(monkeypatch, INCEPTION, CONTENT)
    source = WeightSource(folder, {'weights-inception-2015-12-05-6726825d.pth': serve('/x', CONTENT)})
    assert source.get(INCEPTION) == folder / INCEPTION


@pytest.mark.parametrize(
    ('body', 'length', 'quoted'),
    [
        (b'<html>sign in</html>', None, (NAME, 'SHA-256', hashlib.sha256(b'<html>sign in</html>').hexdigest()[:8])),
        (CONTENT[:1000], len(CONTENT), ('4120',)),
        (CONTENT[:1000], 1000, (NAME, 'SHA-256', hashlib.sha256(CONTENT[:1000]).hexdigest()[:8])),
    ],
)
def test_a_download_that_goes_wrong_leaves_nothing(folder: Path, serve, body: bytes, length, quoted: tuple[str, ...]):
    url = serve('/x', body, length)
    with refused(f'weights.urls.{NAME}', url, *quoted, do=str(folder)):
        find_metrics(['lpips_squeeze'], sources=WeightSource(folder, {NAME: url}))
    assert list(folder.iterdir()) == []


def test_addresses_that_do_not_answer(folder: Path, serve):
    where, url = f'weights.urls.{NAME}', serve('/x', b'').replace('/x', '/y')
    with refused(where, url, '404'):
        WeightSource(folder, {NAME: url}).get(NAME)
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))  # and nobody listens
        url = f'http://127.0.0.1:{taken.getsockname()[1]}/x'
        with refused(where, url, os.strerror(errno.ECONNREFUSED)):
            WeightSource(folder, {NAME: url}).get(NAME)
    url = (folder / 'absent').as_uri()
    with refused(where, url, os.strerror(errno.ENOENT)):
        WeightSource(folder, {NAME: url}).get(NAME)
    assert list(folder.iterdir()) == []


def test_a_folder_that_cannot_be_made(tmp_path: Path):
    (tmp_path / 'file').touch()
    (tmp_path / 'source').touch()
    source = WeightSource(tmp_path / 'file' / 'weights', {NAME: (tmp_path / 'source').as_uri()})
    with refused(f'weights.urls.{NAME}', f"'{tmp_path / 'file'}", do=str(tmp_path / 'file' / 'weights')):
        source.get(NAME)


def test_a_folder_that_may_not_be_looked_into_holds_nothing(tmp_path: Path, monkeypatch):
    stat = os.stat

    def refuse(path, *args, **kwargs):  # root, who may run this, may look into every folder
        if 'private' in str(path):
            raise PermissionError(13, 'Permission denied', str(path))
        return stat(path, *args, **kwargs)

    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'private'))
    monkeypatch.delenv('MEA_METRIC_WEIGHTS', raising=False)
    monkeypatch.setattr(os, 'stat', refuse)
    monkeypatch.setattr(Path, 'stat', refuse)
    assert WeightSource().get(NAME) is None
    with refused(tmp_path / 'private', do='weights.folder'):
        WeightSource(tmp_path / 'private')
    with refused('x' * 300, do='weights.folder'):
        WeightSource(Path('x' * 300))


def test_an_interrupted_download_leaves_nothing(folder: Path, serve, monkeypatch):
    class Impatient:
        def update(self, data: bytes) -> None:
            raise KeyboardInterrupt

    source = WeightSource(folder, {NAME: serve('/x', CONTENT)})
    monkeypatch.setattr(hashlib, 'sha256', Impatient)
    with pytest.raises(KeyboardInterrupt):
        source.get(NAME)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ('options', 'where', 'quoted', 'do'),
    [
        ({'folder': Path('absent')}, 'absent', '', 'weights.folder'),
        ({'folder': Path(__file__)}, 'test_weight_source.py', '', ''),
        ({'urls': {NAME: 'https://example.org/x'}}, 'weights.urls', '', 'weights.folder'),
        (
            {'folder': Path(), 'urls': {'squeezenet.pth': 'https://example.org/x'}},
            *('weights.urls', "'squeezenet.pth'", f"'{NAME}'"),
        ),
        ({'folder': Path(), 'urls': {NAME: 'example.org/x'}}, f'weights.urls.{NAME}', "'example.org/x'", 'https'),
        ({'folder': Path(), 'urls': {NAME: None}}, f'weights.urls.{NAME}', 'None', 'https'),
        ({'folder': Path(), 'urls': {NAME: 'https://[::1/x'}}, f'weights.urls.{NAME}', "'https://[::1/x'", 'https'),
    ],
)
def test_bad_options(options: dict, where: str, quoted: str, do: str):
    with refused(where, quoted, do=do):
        WeightSource(**options)
