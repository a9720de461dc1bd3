"""What strangers may send costs little memory and time, whatever it unpacks to: each tried in a process of its own."""

import json
import subprocess
import sys
import zlib

import pytest

from tests.helpers import ROOT

MIB = 1 << 20
BODY = 8 * MIB

# Prints the status, and by how much the peak of the process rose while the body was looked at.
SCRIPT = """
import json, pathlib, resource, sys
from mea_plugin.serving.bodies import extract_image
from mea_plugin.serving.images import decode
from mea_plugin.serving.refusal import Refusal
kind, path = sys.argv[1:]
body = pathlib.Path(path).read_bytes()
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
before = peak()
try:
    decode(extract_image(kind, body), 1 << 20)
    status = 200
except Refusal as error:
    status = error.status_code
seconds = resource.getrusage(resource.RUSAGE_SELF).ru_utime
print(json.dumps({'status': status, 'MiB': peak() - before, 'seconds': seconds}))
"""


def chunk(kind, content):
    return len(content).to_bytes(4, 'big') + kind + content + zlib.crc32(kind + content).to_bytes(4, 'big')


def png_with(extra):
    header = (8).to_bytes(4, 'big') * 2 + b'\x08\x02\x00\x00\x00'
    pixels = chunk(b'IDAT', zlib.compress(bytes(8 * 25)))
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + extra + pixels + chunk(b'IEND', b'')


BOMB = zlib.compress(bytes(1 << 30), 9)  # a gigabyte in a megabyte
PART = b'--b\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n\r\n'
BODIES = {
    'lists': ('application/json', b'{"image":[' + b'[],' * (BODY // 3 - 9) + b'[]]}', 400),
    'objects': ('application/json', b'{"image":{' + b'"a":{},' * (BODY // 7 - 9) + b'"a":{}}}', 400),
    'nesting': ('application/json', b'{"image":' + b'[' * (BODY - 9), 400),
    'number': ('application/json', b'{"image":' + b'9' * (BODY - 10) + b'}', 400),
    'base64': ('application/json', b'{"image":"' + b'A' * (BODY - 12) + b'"}', 400),
    'escapes': ('application/json', b'{"image":"' + b'\\u4e2d' * (BODY // 6 - 9) + b'"}', 400),
    'parts': ('multipart/form-data; boundary=b', PART * (BODY // len(PART)) + b'--b--\r\n', 400),
    'part header': ('multipart/form-data; boundary=b', b'--b\r\nX: ' + b'x' * BODY + b'\r\n\r\n', 400),
    'part headers': ('multipart/form-data; boundary=b', b'--b\r\n' + b'X: y\r\n' * (BODY // 6) + b'\r\n', 400),
    'boundary': (f'multipart/form-data; boundary={"b" * 200}', b'--' + b'b' * 200 + b'\r\n', 400),
    'text': ('image/png', png_with(chunk(b'zTXt', b'a\0\0' + BOMB)), None),
    'international text': ('image/png', png_with(chunk(b'iTXt', b'a\0\1\0\0\0' + BOMB)), None),
    'profile': ('image/png', png_with(chunk(b'iCCP', b'a\0\0' + BOMB)), None),
    'pixels': ('image/png', png_with(b'').replace(zlib.compress(bytes(200)), BOMB), None),
}


@pytest.mark.parametrize('case', list(BODIES))
def test_a_body_takes_a_few_times_its_size(case, tmp_path):
    kind, body, status = BODIES[case]
    file = tmp_path / 'body'
    file.write_bytes(body)
    ended = subprocess.run(
        [sys.executable, '-c', SCRIPT, kind, str(file)], capture_output=True, text=True, timeout=120, cwd=ROOT
    )
    assert ended.returncode == 0, ended.stderr[-500:]
    seen = json.loads(ended.stdout)
    assert seen['status'] in ((200, 400) if status is None else (status,))
    assert seen['MiB'] < 64, seen
    assert seen['seconds'] < 20, seen
