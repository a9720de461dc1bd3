"""Codings of replies: the right bytes against the standard library, and memory within bounds whatever comes."""

import asyncio
import gzip
import json
import random
import subprocess
import sys
import zlib

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mea_plugin.victims.http.reading import read_body
from mea_plugin.victims.remote import InDoubtError, UnusableError
from tests.helpers import ROOT


def raw_deflate(data: bytes) -> bytes:
    engine = zlib.compressobj(wbits=-15)
    return engine.compress(data) + engine.flush()


CODERS = {
    '': bytes,
    'identity': bytes,
    'gzip': gzip.compress,
    'x-gzip': gzip.compress,
    'GZip': gzip.compress,
    'deflate': zlib.compress,
    ' deflate ': raw_deflate,
}


def read(content: bytes, coding: str, limit: int, seed: int = 0) -> bytes:
    """Read a body that comes in pieces of random sizes."""
    rng = random.Random(seed)

    async def pieces():
        place = 0
        while place < len(content):
            size = rng.choice((1, 2, 7, 1000))
            yield content[place : place + size]
            place += size

    headers = {'Content-Encoding': coding} if coding else {}
    return asyncio.run(read_body(httpx.Response(200, headers=headers, content=pieces()), limit))


@settings(max_examples=60)
@given(data=st.binary(max_size=3000), coding=st.sampled_from(sorted(CODERS)), seed=st.integers(0, 9))
def test_what_was_coded_is_read(data, coding, seed):
    assert read(CODERS[coding](data), coding, 4000, seed) == data


@given(size=st.integers(0, 300), limit=st.integers(0, 300), coding=st.sampled_from(['', 'gzip', 'deflate']))
def test_the_limit_counts_decoded_and_sent_bytes(size, limit, coding):
    data = random.Random(size).randbytes(size)
    sent = CODERS[coding](data)
    if size <= limit and len(sent) <= (limit + 1024 if coding else limit):
        assert read(sent, coding, limit) == data
    else:
        with pytest.raises(UnusableError, match=str(limit)):
            read(sent, coding, limit)


def test_a_gzip_of_several_members():
    assert read(gzip.compress(b'one ') + gzip.compress(b'two'), 'gzip', 100) == b'one two'


@pytest.mark.parametrize('coding', ['gzip', 'deflate'])
@pytest.mark.parametrize('damage', ['cut', 'flip', 'plain', 'more'])
def test_what_is_not_what_the_coding_says_is_in_doubt(coding, damage):
    sent = CODERS[coding](b'an answer' * 20)
    sent = {
        'cut': sent[:-5],
        'flip': sent[:12] + bytes([sent[12] ^ 255]) + sent[13:],
        'plain': b'an answer',
        'more': sent + b'and more',
    }[damage]
    with pytest.raises(InDoubtError, match='broke off'):
        read(sent, coding, 10_000)


@pytest.mark.parametrize(
    'coding', ['gzip, gzip', 'gzip,deflate', 'identity, gzip, gzip', 'br', 'zstd', 'compress', 'rot13']
)
def test_one_coding_that_was_asked_for_is_the_most(coding):
    with pytest.raises(UnusableError, match='content coding'):
        read(gzip.compress(gzip.compress(b'x')), coding, 1000)


BOMB = """
import asyncio, gzip, json, resource, sys, zlib
import httpx
from mea_plugin.victims.http.reading import read_body
from mea_plugin.victims.remote import NotAnsweredError
coding, sent = sys.argv[1], open(sys.argv[2], 'rb').read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
async def pieces():
    for place in range(0, len(sent), 65536):
        yield sent[place : place + 65536]
try:
    asyncio.run(read_body(httpx.Response(200, headers={'Content-Encoding': coding}, content=pieces()), 1 << 20))
except NotAnsweredError:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize('coding', ['gzip', 'deflate', 'gzip, gzip'])
def test_a_bomb_takes_no_more_memory_than_the_limit(coding, tmp_path):
    sent = bytes(512 << 20)
    for one in reversed(coding.split(', ')):
        sent = CODERS[one](sent)
    (tmp_path / 'sent').write_bytes(sent)
    done = subprocess.run(
        [sys.executable, '-c', BOMB, coding, str(tmp_path / 'sent')],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert json.loads(done.stdout) < 10 << 10, done.stderr  # KiB: ten times the limit
