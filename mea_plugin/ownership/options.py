"""The option file of tests of ownership."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator

from mea_plugin.core.schema import Images, Options, Registered, Section, Text, Whole, refusal
from mea_plugin.ownership.verify import FEWEST_DECOYS

__all__ = ['OwnershipOptions']


def _check_suspects(suspects: dict[str, Any]) -> dict[str, Any]:
    if not suspects:
        raise refusal('there is nobody to test', do='Add NAME: {type: ...}')
    return suspects


class OwnershipOptions(Options):
    """The option file of ``tools/ownership.py``."""

    name: Text
    """Name of the test."""
    output: Path | None = None
    """Folder of the results; by default ``results/NAME``."""
    victim: Annotated[Section, Registered('victim')]
    """The owner's victim, see docs/victims.md."""
    watermark: dict[str, Any]
    """The options of the defence ``invisible_watermark`` that the victim's customers were answered with."""
    suspects: Annotated[dict[Text, Annotated[Section, Registered('victim')]], AfterValidator(_check_suspects)]
    """Victims that may have been trained on the watermarked answers, by name."""
    images: Images
    """Images to ask about."""
    shrink: Annotated[int, Whole(1)] = 1
    """Factor by which images are made smaller before they are asked about."""
    decoys: Annotated[int, Whole(FEWEST_DECOYS, 1e6)] = 999
    """Other keys that the owner's is compared with."""
    seed: Annotated[int, Whole()] = 0
    """Seed of the other keys."""
