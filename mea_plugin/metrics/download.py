"""A file from an address: checked as it comes, and there whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import secrets
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mea_plugin.core.errors import InputError
from mea_plugin.metrics.published_weights import WeightFile

__all__ = ['download']

_CHUNK = 1 << 20
_TIMEOUT_S = 60


def download(url: str, path: Path, file: WeightFile) -> None:
    """Download a weight file under a temporary name beside ``path``, check it, and rename it.

    Args:
        url: ``https://``, ``http://`` or ``file://``.
        path: Where it goes; its folder is made.
        file: What it must be.

    Raises:
        InputError: It cannot be had or written, ends early or has other content. Nothing is left of it.
    """
    where, do = f'weights.urls.{file.name}', f'Check the address, or put the file into {path.parent}'
    aside = path.parent / f'.tmp-{secrets.token_hex(8)}'
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        digest = _fetch(url, aside, file.name)
        if digest != file.sha256:
            what = f'{url} gives other content than {file.name} (SHA-256 {digest[:8]}..., not {file.sha256[:8]}...)'
            raise InputError(what, where=where, do=do)
        aside.replace(path)
    except (OSError, http.client.HTTPException, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f'{url} cannot be downloaded ({_reason(error)})', where=where, do=do) from error
    finally:
        with contextlib.suppress(OSError):  # nor can it be there if its folder is none
            aside.unlink(missing_ok=True)


def _fetch(url: str, path: Path, name: str) -> str:
    """Write what an address gives; returns its SHA-256."""
    digest, count = hashlib.sha256(), 0
    with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer, path.open('xb') as output:
        length = _length(answer)
        with tqdm(total=length, desc=f'download {name}', unit='B', unit_scale=True, disable=None) as bar:
            while chunk := answer.read(_CHUNK):
                output.write(chunk)
                digest.update(chunk)
                count += len(chunk)
                bar.update(len(chunk))
        # A connection that is closed early ends such a read like the end of the file does.
        if length is not None and count != length:
            raise http.client.IncompleteRead(b'', length - count)
        output.flush()
        os.fsync(output.fileno())
    return digest.hexdigest()


def _length(answer: Any) -> int | None:
    text = answer.headers.get('Content-Length') or ''
    return int(text) if text.isdecimal() else None


def _reason(error: Exception) -> str:
    if isinstance(error, http.client.IncompleteRead):
        return f'it ended {error.expected} bytes early'
    if isinstance(error, urllib.error.URLError) and not isinstance(error, urllib.error.HTTPError):
        return str(error.reason)
    return str(error) or type(error).__name__
