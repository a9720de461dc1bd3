"""A victim whose answers are kept, so that none is asked for twice: for whoever asks outside a query run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mea_plugin.core.errors import InputError
from mea_plugin.core.files import hash_array
from mea_plugin.core.images import read_rgb
from mea_plugin.query.engine import answer_all
from mea_plugin.query.ledger import InDoubt, Ledger
from mea_plugin.victims import Victim

__all__ = ['ArrayRef', 'RecordedVictim']


@dataclass(frozen=True)
class ArrayRef:
    """An image in memory, as :class:`~mea_plugin.data.references.ImageRef`.

    Attributes:
        pixels: uint8 ``(H, W, 3)``, RGB.
        name: Hash of the pixels.
    """

    pixels: np.ndarray
    name: str

    def read(self) -> np.ndarray:
        """The pixels."""
        return self.pixels

    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.pixels.shape[0], self.pixels.shape[1]

    def signature(self) -> tuple[str | int, ...]:
        """Its content."""
        return ('pixels', self.name)

    def __str__(self) -> str:
        return f'image {self.name[:12]}'


class RecordedVictim:
    """A victim with a ledger of its own.

    Args:
        victim: Who is asked.
        folder: The ledger's.
        in_doubt: See :func:`~mea_plugin.query.engine.run_queries`.
    """

    def __init__(self, victim: Victim, folder: str | Path, in_doubt: InDoubt = 'abandon') -> None:
        self.name, self.scale, self.fingerprint = victim.name, victim.scale, victim.fingerprint
        self._victim, self._folder, self._in_doubt = victim, Path(folder), in_doubt

    def query(self, images: list[np.ndarray]) -> list[np.ndarray]:
        """As any victim's; what was answered before comes from the ledger.

        Raises:
            InputError: There is no answer to one of them.
        """
        contents = [hash_array(image) for image in images]
        references = {content: ArrayRef(image, content) for content, image in zip(contents, images, strict=True)}
        with Ledger(self._folder) as ledger:
            plan = answer_all(self._victim, references, ledger, in_doubt=self._in_doubt)
            found = {pair.content: (ledger.pair(pair.query)[1], pair.response) for pair in plan.pairs()}
        missing = [content for content in contents if content not in found]
        if missing:
            raise InputError(
                f'{len(missing)} of {len(images)} images have no answer (given up)',
                where=self._folder,
                do='Remove them, or ask again with in_doubt: resend in another output folder',
            )
        return [_read_answer(*found[content]) for content in contents]


def _read_answer(file: Path, response: str) -> np.ndarray:
    image = read_rgb(file)
    if hash_array(image) != response:
        raise InputError(
            'the answer is not the one that was paid for',
            where=file,
            do="Restore it from a copy, or move its ledger's folder away: then all its answers are paid for again",
        )
    return image
