"""The sections of an extraction's option file that a query run reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field
from typing_extensions import Self

from mea_plugin.core.schema import FolderName, Images, Number, Options, Registered, Section, Whole
from mea_plugin.query.interrupts import STOP_WAIT

__all__ = ['Queries', 'QueryFile']


class Queries(Options):
    """Which images are sent to the victim, and how many."""

    images: Images
    """Images to send: a folder, a glob, an LMDB folder, or a list of these."""
    budget: Annotated[int, Whole(1)] | None = None
    """Queries that may be charged in all, over all runs with this ledger; without it, any number."""
    shrink: Annotated[int, Whole(1)] = 1
    """Factor by which each image is shrunk first (MATLAB's bicubic)."""
    batch_size: Annotated[int, Whole(1)] = 8
    """Images of equal size in one call of a victim that is a network on this machine."""
    in_doubt: Literal['abandon', 'resend'] = 'abandon'
    """Queries that may or may not have been answered, where sending them again is charged: give up, or send again."""
    stop_wait: Annotated[float, Number(0, 86400)] = STOP_WAIT
    """Seconds that a run waits for answers on their way after Ctrl-C, SIGTERM or SIGHUP; a second signal ends it."""
    cost_per_query: Annotated[float, Number()] = 0.0
    """Price of one query, in any currency."""

    def settings(self) -> dict[str, Any]:
        """The options for :func:`~mea_plugin.query.engine.run_queries`, those that are given."""
        return self.model_dump(exclude_unset=True, exclude={'images', 'cost_per_query'})


class QueryFile(Options):
    """The option file of an extraction, as far as queries need it."""

    name: FolderName
    """Name of the run."""
    output: Path = Field(default_factory=lambda data: Path('results') / data.get('name', ''))
    """Folder for everything that is written, `results/NAME` by default; the query set is its sub-folder `queries`."""
    victim: Annotated[Section, Registered('victim')]
    """The model that is queried."""
    queries: Queries
    """Which images are sent to the victim, and how many."""
    surrogates: Any = None
    """Not read by a query run."""
    evaluation: Any = None
    """Not read by a query run."""

    @classmethod
    def read(cls, options: Mapping[str, Any], where: str, output: str | Path | None = None) -> Self:
        """Check the content of an option file.

        Args:
            options: The content.
            where: The file, for errors.
            output: Instead of the folder that the file names.

        Raises:
            InputError: A section or option is missing, unknown or of the wrong kind.
        """
        return cls.parse_document({**options, 'output': Path(output)} if output else options, where)

    def noted(self) -> dict[str, Any]:
        """The part of the option file that the query set's manifest keeps."""
        queries = self.queries
        asked = {'images': queries.images, **queries.settings(), 'cost_per_query': queries.cost_per_query}
        return {'victim': self.victim, 'queries': asked}
