"""Reads the option file of a study."""

from __future__ import annotations

from pathlib import Path

from mea_plugin.core.options import load_options
from mea_plugin.study.consistency import check_consistent
from mea_plugin.study.data_root import place_data
from mea_plugin.study.options import StudyFile

__all__ = ['load_study']


def load_study(path: str | Path, *, data: Path | None = None, output: Path | None = None) -> StudyFile:
    """Read a study's option file.

    Args:
        path: The file.
        data: The folder that stands for ``datasets`` in sources of images.
        output: Instead of the folder that the file names; results then go below it, too.

    Raises:
        InputError: An option is missing, unknown, of the wrong kind, or names something that there is not.
    """
    content = load_options(path)
    options = place_data(content, data) if data else content
    options = {**options, 'output': output, 'results': None} if output else options
    study = StudyFile.parse_document(options, str(path)).read_from(str(path), content)
    check_consistent(study)
    return study
