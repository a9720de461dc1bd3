"""Whole images for the report: query, ground truth and every answer as PNG, beside the JSON that names them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mea_plugin.core.errors import InputError
from mea_plugin.core.files import read_json
from mea_plugin.core.folders import part_folder
from mea_plugin.core.images import encode_png

__all__ = ['FOLDER', 'RESULT', 'PictureFolder', 'SavedPictures', 'check_pictures', 'file_names', 'results_in']

FOLDER = 'images'
RESULT = 'evaluation.json'

_LONGEST = 120  # bytes of a file's name: disks take 255, and a number and a suffix may follow


@dataclass(frozen=True)
class SavedPictures:
    """What was saved of one image; paths are relative to evaluation.json.

    Attributes:
        test_set: Its name.
        image: The image's name.
        query: Path of what was asked.
        truth: Path of the ground truth, where there is one.
        answers: Path of each model's answer.
    """

    test_set: str
    image: str
    query: str
    truth: str | None
    answers: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """As it stands in evaluation.json."""
        return {
            'set': self.test_set,
            'image': self.image,
            'query': self.query,
            'truth': self.truth,
            'answers': self.answers,
        }


class PictureFolder:
    """Where pictures are written.

    Args:
        folder: Takes them until all are there.
        models: Names that become file names.
        test_sets: Names that become folders.
        images: Names of all images of each test set, which become folders in it.
    """

    def __init__(
        self, folder: Path, models: Iterable[str], test_sets: Iterable[str], images: Iterable[Iterable[str]]
    ) -> None:
        self._folder = folder
        # 'query' and 'truth' are file names of ours, whatever a model is called.
        names = ['query', 'truth', *models]
        self._models = dict(zip(names[2:], file_names(names)[2:], strict=True))
        sets = list(test_sets)
        self._sets = dict(zip(sets, file_names(sets), strict=True))
        listed = [list(names) for names in images]
        self._images = {
            (name, image): file
            for name, members in zip(sets, listed, strict=True)
            for image, file in zip(members, file_names(members), strict=True)
        }

    def save(
        self,
        test_set: str,
        image: str,
        query: np.ndarray,
        truth: np.ndarray | None,
        answers: Mapping[str, np.ndarray],
    ) -> SavedPictures:
        """Write one image's pictures: uint8 ``(H, W, 3)``. Safe to call from several threads."""
        place = Path(self._sets[test_set]) / self._images[test_set, image]
        (self._folder / place).mkdir(parents=True, exist_ok=True)

        def write(name: str, pixels: np.ndarray) -> str:
            (self._folder / place / f'{name}.png').write_bytes(encode_png(pixels))
            return (Path(FOLDER) / place / f'{name}.png').as_posix()

        return SavedPictures(
            test_set,
            image,
            query=write('query', query),
            truth=None if truth is None else write('truth', truth),
            answers={name: write(self._models[name], answer) for name, answer in answers.items()},
        )


def check_pictures(output: Path) -> None:
    """Refuse to save pictures where a folder of that name holds something else.

    Raises:
        InputError: ``OUTPUT/images`` has a file that no ``OUTPUT/evaluation.json`` lists as its picture.
    """
    folder = output / FOLDER
    if (folder.exists() or folder.is_symlink()) and not _holds_only_ours(output):
        raise InputError(
            'holds files that are no pictures of an evaluation', where=folder, do='Give another folder with --output'
        )


@contextlib.contextmanager
def results_in(output: Path) -> Iterator[Path]:
    """A folder whose files lie in ``output`` when the block ends, in place of what an older evaluation left there.

    By then they are written, and need only new names: neither a full disk nor an interruption leaves new pictures
    beside an older JSON. When the block fails nothing is left, and the older results stay.
    """
    with part_folder(output / '.evaluation.part') as aside:
        yield aside
        _replace(aside, output)


def _replace(aside: Path, output: Path) -> None:
    """Put new files, the JSON last, in place of old ones; old pictures go even where there are no new ones."""
    older = aside / 'older'
    new = sorted(aside.iterdir(), key=lambda path: path.name == RESULT)
    older.mkdir()
    is_ours = _holds_only_ours(output)
    if (output / RESULT).exists():  # so that none ever names pictures of another run
        (output / RESULT).rename(older / RESULT)
    if is_ours and (output / FOLDER).is_dir():
        (output / FOLDER).rename(older / FOLDER)
    for path in new:
        path.replace(output / path.name)


def _holds_only_ours(output: Path) -> bool:
    """Whether every file below ``OUTPUT/images`` is a picture that ``OUTPUT/evaluation.json`` lists."""
    folder, found = output / FOLDER, read_json(output / RESULT)
    pictures = found.get('pictures') if isinstance(found, dict) else None
    known = set()
    for one in pictures if isinstance(pictures, list) else ():
        if isinstance(one, dict) and isinstance(one.get('answers'), dict):
            paths = (one.get('query'), one.get('truth'), *one['answers'].values())
            known |= {path for path in paths if isinstance(path, str)}
    if folder.is_symlink() or not folder.is_dir():
        return False
    return all(path.is_dir() or path.relative_to(output).as_posix() in known for path in folder.rglob('*'))


def file_names(names: Iterable[str]) -> list[str]:
    """A file name for each name: any characters become harmless ones, long ones are cut, and no two are the same."""
    found: list[str] = []
    taken = set()
    for name in names:
        plain = re.sub(r'[^\w.-]+', '_', name).strip('.') or '_'
        plain = plain.encode()[:_LONGEST].decode(errors='ignore')
        file, number = plain, 1
        while file.lower() in taken:  # some disks do not tell upper case from lower
            number += 1
            file = f'{plain}_{number}'
        taken.add(file.lower())
        found.append(file)
    return found
