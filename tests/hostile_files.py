"""Hands files of a hostile kind to tools, in a process whose memory is bounded: python -m tests.hostile_files DIR.

Writes a line of JSON for each tool and file: exit code, seconds, and what was said.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import sys
import time
import traceback
from pathlib import Path

from tests.helpers import call_tool

MEMORY = 12 << 30
"""Bytes of addresses: torch and its libraries take some, a bomb all."""


def aliases(count: int) -> str:
    """A text whose lists double ``count`` times when each alias is written out: a billion laughs."""
    lines = ['a0: &a0 [x, x]', *(f'a{i}: &a{i} [*a{i - 1}, *a{i - 1}]' for i in range(1, count))]
    return '\n'.join(lines) + '\n'


def merges(count: int) -> str:
    """The same with merge keys, which are written out while the file is read."""
    lines = ['a0: &a0 {k: 1}', *(f'a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}], k{i}: 1}}' for i in range(1, count))]
    return '\n'.join(lines) + '\n'


YAML = {
    'aliases': aliases(40),
    'merges': merges(40),
    'itself': 'name: &a [*a]\n',
    'lists': 'name: ' + '[' * 20_000,
    'mappings': '\n'.join(' ' * level + 'name:' for level in range(1500)),
    'balanced': 'name: ' + '[' * 200 + ']' * 200,
    'long number': 'name: ' + '9' * 5000,
    'base 60': 'name: ' + ':'.join(['1'] * 300_000),
    'base 16': 'name: 0x' + 'f' * 1_000_000,
    'large number': 'name: 1e999999',
    'twice': 'name: a\nname: b\n',
    'python': 'name: !!python/object/apply:os.system [touch hacked]\n',
    'python module': 'name: !!python/module:os\n',
    'tag': 'name: !!int ""\n',
    'flag': 'name: !!bool maybe\n',
    'map': 'name: !!map [1]\n',
    'binary': 'name: !!binary aGVsbG8=\n',
    'key': '? [a, b]\n: 1\n',
    'long key': f'? {"k" * 5000}\n: 1\n',
    'long value': f'name: [{"v" * 100_000}]\n',
    'escapes': 'name: {"\\e[31m\\nerror: \\u202e": 1}\n',
    'nothing': '',
    'a list': '- name\n',
    'zero': 'name: "\0"\n',
    'bases': '_base_: [b.yml, b.yml]\n',
    'no base': '_base_: "\\0"\n',
    'no user': '_base_: ~no_such_user/b.yml\n',
    'long base': f'_base_: {"b" * 5000}\n',
}
"""None of them is an option file of any tool."""

JSON = {
    'lists': '[' * 100_000 + ']' * 100_000,
    'objects': '{"format": ' * 5000 + '1' + '}' * 5000,
    'balanced': '{"format": 3, "name": ' + '[' * 200 + ']' * 200 + '}',
    'nan': '{"format": 3, "name": NaN}',
    'large number': '{"format": 3, "name": 1e999999}',
    'long number': '{"format": ' + '9' * 5000 + '}',
    'long value': '{"format": "' + 'v' * 100_000 + '"}',
    'escapes': '{"format": "\\u001b[31m\\nerror: \\u202e"}',
    'nothing': '',
    'null': 'null',
    'keys': '{"format": 2}',
    'bytes': '\udcff\udcfe',
}

OPTION_FILES = {
    **dict.fromkeys(('query', 'evaluate', 'extract', 'study', 'ownership', 'flatness', 'serve'), ('-opt',)),
    'export': ('--format', 'safetensors', '-opt'),
    'train_basicsr': ('-opt',),
}
RESULTS = {
    'evaluation.json': ('report',),
    'flatness.json': ('report',),
    'study.json': ('study', '-opt', 'none.yml', '--reproduce'),
}


def main(folder: Path) -> None:
    """Call everything."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    os.chdir(folder)
    for index in range(60):  # each is read twice by the one before it
        base = 'x: 1\n' if index == 59 else f'_base_: [b{index + 1}.yml, b{index + 1}.yml]\n'
        Path(f'b{index}.yml').write_text(base)
    Path('b.yml').write_text('_base_: [b0.yml]\n')
    for tool, arguments in OPTION_FILES.items():
        for name, text in YAML.items():
            call(tool, name, Path('options.yml'), text, arguments)
    for file, (tool, *arguments) in RESULTS.items():
        for name, text in JSON.items():
            call(tool, f'{file}, {name}', Path(file), text, arguments)


def call(tool: str, name: str, path: Path, text: str, arguments: tuple[str, ...] | list[str]) -> None:
    """Call a tool with one file, and tell what it did."""
    path.write_bytes(text.encode(errors='surrogateescape'))
    said, began = io.StringIO(), time.perf_counter()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            code: int | str = call_tool(tool, *arguments, path)
        except BaseException:
            code = traceback.format_exc()[-2000:]
    seconds = time.perf_counter() - began
    line = {'tool': tool, 'file': name, 'code': code, 'seconds': seconds, 'said': said.getvalue()}
    print(json.dumps(line), flush=True)


if __name__ == '__main__':
    main(Path(sys.argv[1]))
