"""One reader under atheris: ``target.py READER`` and libFuzzer's arguments. Ends with a crash when it is at fault."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=['mea_plugin', 'PIL', 'json', 'yaml', 'pickle', 'zipfile', 'python_multipart']):
    from tests.fuzz.readers import READERS, check_refusal


def main() -> None:
    """Fuzz."""
    name = sys.argv.pop(1)
    reader, folder = READERS[name], Path(tempfile.mkdtemp(prefix='fuzz-'))

    def test_one_input(data: bytes) -> None:
        try:
            reader.read(data, folder)
        except reader.refusals as error:
            check_refusal(error)
        finally:
            for path in folder.iterdir():  # what a reader leaves must not meet the next input
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()


if __name__ == '__main__':
    main()
