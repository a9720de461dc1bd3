"""The protocol of a defence on the answer, and the key that some of them have."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any, Protocol, runtime_checkable

import numpy as np
from pydantic import BeforeValidator

from mea_plugin.core.errors import InputError
from mea_plugin.core.paths import expanded
from mea_plugin.core.schema import refusal

__all__ = ['AnswerDefence', 'Key', 'Linear', 'Secret', 'Undoable', 'rounded']


@runtime_checkable
class AnswerDefence(Protocol):
    """Changes answers before they leave the service.

    One that is :class:`Undoable` or :class:`Linear` besides says what an attacker can do about it who knows its options
    and not its key, see :mod:`mea_plugin.defences.known`.
    """

    def describe(self) -> dict[str, Any]:
        """Its options as plain values, a key as its fingerprint: another description is another victim."""
        ...

    def apply(self, query: np.ndarray, answer: np.ndarray, count: int) -> np.ndarray:
        """Change an answer.

        Args:
            query: What was asked: uint8 ``(h, w, 3)``, RGB.
            answer: uint8 ``(H, W, 3)``, RGB; not to be changed in place.
            count: How many answers the victim has given before: what makes noise fresh.

        Returns:
            uint8 ``(H, W, 3)``, RGB.
        """
        ...


@runtime_checkable
class Undoable(Protocol):
    """A defence that can be taken away again."""

    def undo(self, answer: np.ndarray) -> np.ndarray:
        """The answer as it was, as far as it can be had without the key: uint8 ``(H, W, 3)``, RGB."""
        ...


@runtime_checkable
class Linear(Protocol):
    """A defence that is linear along an answer's columns and rows."""

    def operators(self, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Float32 ``A``, ``(height, height)``, and ``B``, ``(width, width)``: of each channel it makes ``A x B.T``."""
        ...


_SHORTEST = 8


def _check_secret(value: Any) -> str:
    if not isinstance(value, str) or len(value) < _SHORTEST:  # it is not quoted
        raise refusal(f'the key has fewer than {_SHORTEST} characters', do='Make one: openssl rand -hex 32')
    return value


Secret = Annotated[str, BeforeValidator(_check_secret)]
"""A key in an option file; no error shows it."""


class Key:
    """A secret that patterns and noise are drawn from.

    Args:
        key: The secret itself; at least 8 characters.
        key_file: Or a file that holds it (``openssl rand -hex 32 > FILE``).
        where: The option it stands in, for errors.

    Attributes:
        fingerprint: Says whether two keys are the same, and nothing else of a random key.

    Raises:
        InputError: Neither or both are given, the file cannot be read, or the secret is too short.
    """

    def __init__(self, key: str | None, key_file: str | Path | None, where: str) -> None:
        if (key is None) == (key_file is None):
            raise InputError('a key is needed, once', where=where, do='Give either key or key_file')
        if key_file is not None:
            try:
                key = expanded(key_file).read_text(encoding='utf-8').strip()
            except (OSError, UnicodeDecodeError) as error:
                reason = getattr(error, 'strerror', None) or 'not text'
                do = f'Make it: openssl rand -hex 32 > {key_file}'
                raise InputError(f'{key_file} cannot be read ({reason})', where=f'{where}.key_file', do=do) from None
        if not isinstance(key, str) or len(key) < _SHORTEST:
            what = f'the key has fewer than {_SHORTEST} characters'
            raise InputError(what, where=where, do='Make one: openssl rand -hex 32')
        self._secret = hashlib.sha256(key.encode()).digest()
        self.fingerprint = hashlib.blake2b(b'fingerprint', key=self._secret, digest_size=16).hexdigest()

    def generator(
        self, purpose: str, content: np.ndarray | None = None, count: int | None = None
    ) -> np.random.Generator:
        """Random numbers that only who has the key can draw.

        Args:
            purpose: Separates what is drawn for one thing from what is drawn for another.
            content: Of an image, which they then depend on.
            count: Of answers, which they then depend on.
        """
        digest = hashlib.blake2b(purpose.encode(), key=self._secret, digest_size=32)
        if content is not None:
            digest.update(f'{content.shape}'.encode())
            digest.update(np.ascontiguousarray(content).data)
        if count is not None:
            digest.update(count.to_bytes(8, 'little'))
        return np.random.Generator(np.random.SFC64(np.frombuffer(digest.digest(), np.uint32).tolist()))


def rounded(image: np.ndarray) -> np.ndarray:
    """A float image in grey levels as uint8."""
    return np.clip(np.rint(image, out=image), 0, 255, out=image).astype(np.uint8)
