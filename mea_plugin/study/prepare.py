"""What the cells of a study share, made before the first one starts: query sets, test sets, the victims themselves."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mea_plugin.core.errors import InputError
from mea_plugin.core.files import hash_array, hash_json
from mea_plugin.core.images import list_images, read_rgb
from mea_plugin.core.locks import locked
from mea_plugin.data.references import ImageRef
from mea_plugin.defences.known import can_be_undone
from mea_plugin.defences.registry import build_defences
from mea_plugin.extract.test_sets import prepare_test_sets
from mea_plugin.query import run_queries
from mea_plugin.query.recorded import RecordedVictim
from mea_plugin.query_sets.layout import Pair
from mea_plugin.study.grid import Cell, draw, naming
from mea_plugin.study.options import StudyFile
from mea_plugin.study.picking import source_images
from mea_plugin.victims import Victim, build_victim
from mea_plugin.victims.defended import DefendedVictim

__all__ = ['Asked', 'Shared', 'TestSets', 'asked_of', 'build_victims', 'check_budgets', 'check_defences', 'prepare']


@dataclass(frozen=True)
class TestSets:
    """Test sets as folders, and a hash of their names and pixels."""

    __test__ = False  # no test class of pytest's

    entries: list[dict[str, Any]]
    fingerprint: str


class Asked(NamedTuple):
    """Who answers a cell's queries: a victim, behind a defence, asked in a way.

    Attributes:
        victim: Its name.
        defence: Likewise; empty without that axis.
        repeats: How often each image is asked about.
        denoise: What is done to the answers; see :class:`~mea_plugin.victims.adapted.AdaptedVictim`.
        undo: Whether known defences that have an inverse are undone.
    """

    victim: str
    defence: str = ''
    repeats: int = 1
    denoise: float = 0.0
    undo: bool = False

    @property
    def folder(self) -> str:
        """A name that can be a folder's."""
        attack = ['undone'] if self.undo else []
        attack += [f'x{self.repeats}'] if self.repeats > 1 else []
        attack += [f'denoised-{self.denoise:g}'] if self.denoise else []
        return '+'.join([self.victim, *([self.defence] if self.defence else []), *attack])


def asked_of(study: StudyFile, cell: Cell) -> Asked:
    """Who answers a cell's queries; without a defence that is the victim alone, whatever that is called."""
    attack, defence = study.attack(cell.method), cell.defence if study.defences.get(cell.defence) else ''
    undo = bool(attack.knows and defence and can_be_undone(study.defences[defence]))
    return Asked(cell.victim, defence, attack.repeats, attack.denoise, undo)


@dataclass(frozen=True)
class Shared:
    """What cells have in common.

    Attributes:
        victims: Their objects, by name.
        names: By source: the names of all its images.
        asked: What answers, by who is asked.
        pairs: By who is asked and source: the pairs of the query set, by the image's name.
        test_sets: Of the tables.
        validation: Of the tuning.
        study: The options.
    """

    victims: dict[str, Victim]
    names: dict[str, list[str]]
    asked: dict[Asked, Victim]
    pairs: dict[tuple[Asked, str], dict[str, Pair]]
    test_sets: TestSets
    validation: TestSets | None
    study: StudyFile

    def query_folder(self, asked: Asked, source: str) -> Path:
        """Where a query set lies."""
        return _query_folder(self.study, asked, source)

    def recorded(self, victim: str) -> Victim:
        """A victim whose answers to test images are kept."""
        return _recorded(self.study, self.victims[victim], victim)

    def defended(self, victim: str, defence: str) -> DefendedVictim:
        """The same behind a defence, as a customer sees it."""
        return DefendedVictim(self.recorded(victim), self.study.defences[defence])

    def drawn(self, cell: Cell) -> list[Pair]:
        """The pairs that a cell is trained on."""
        asked = asked_of(self.study, cell)
        pairs = self.pairs[asked, cell.queries]
        names = draw(self.names[cell.queries], cell.budget // asked.repeats, cell.seed)
        missing = [name for name in names if name not in pairs]
        if missing:
            raise InputError(f'there is no answer to {missing[0]}', where=cell.id, do='Ask again in another output')
        return [pairs[name] for name in names]

    def tests_of(self, cell: Cell) -> TestSets:
        """The test sets that a cell is measured on."""
        if cell.trial is None:
            return self.test_sets
        assert self.validation is not None
        return self.validation


def build_victims(study: StudyFile, cells: Iterable[Cell]) -> dict[str, Victim]:
    """The victims that cells ask.

    Raises:
        InputError: One cannot be built, or their scales differ.
    """
    victims: dict[str, Victim] = {}
    for cell in cells:
        if cell.victim not in victims:
            with naming(study, cell):
                victims[cell.victim] = build_victim(
                    study.victims[cell.victim].victim, where=f'victims.{cell.victim}.victim'
                )
    scales = {victim.scale: name for name, victim in victims.items()}
    if len(scales) > 1:
        (one, first), (other, second) = list(scales.items())[:2]
        raise InputError(
            f'{first} has scale {one}, {second} has scale {other}',
            where=f'{study.where}: victims',
            do='Make two studies',
        )
    return victims


def check_budgets(study: StudyFile, cells: Iterable[Cell]) -> None:
    """Refuse a budget above the number of images.

    Raises:
        InputError: There is one, or a source of images cannot be used.
    """
    counts = {name: len(_images(study, name)) for name in study.queries}
    for cell in cells:
        if cell.budget > counts[cell.queries]:
            raise InputError(
                f'budget {cell.budget} is above the {counts[cell.queries]} images of {cell.queries}',
                where=f'{study.where}: cell {cell.id}',
                do='Lower the budget, or add images',
            )
        repeats = asked_of(study, cell).repeats
        if cell.budget < repeats:
            raise InputError(
                f'budget {cell.budget} is less than asking {repeats} times about one image',
                where=f'{study.where}: cell {cell.id}',
                do='Raise the budget, or lower repeats',
            )


def check_defences(study: StudyFile, cells: Iterable[Cell]) -> None:
    """Refuse a defence that cannot be made.

    Raises:
        InputError: There is one.
    """
    first: dict[str, Cell] = {}
    for cell in cells:
        first.setdefault(cell.defence, cell)
    for name, defences in study.defences.items():
        if defences and name in first:
            with naming(study, first[name]):
                build_defences(defences, where=f'defences.{name}')


def prepare(study: StudyFile, cells: list[Cell], victims: Mapping[str, Victim]) -> Shared:
    """Make the test sets, and ask each victim about every image that any cell draws, once.

    Several processes may do so at once: one works, the others wait and find everything done.

    Raises:
        InputError: Images cannot be used, or an image to be tested on is a query or a validation image, too.
    """
    scale = next(iter(victims.values())).scale
    with locked(study.output / 'prepare.lock'):
        folder = study.output / 'test_sets'
        entries = prepare_test_sets(study.test_sets, folder, scale, where=f'{study.where}: test_sets')
        tests = {'test_sets': entries}
        if study.tuning and any(cell.trial for cell in cells):
            where = f'{study.where}: tuning.test_sets'
            folder = study.output / 'validation_sets'
            tests['tuning.test_sets'] = prepare_test_sets(study.tuning.test_sets, folder, scale, where=where)
        hashes = {key: _hashes(sets) for key, sets in tests.items()}
        parties = {asked_of(study, cell): cell for cell in reversed(cells)}
        asked = {one: _party(study, one, victims[one.victim], cell) for one, cell in parties.items()}
        pairs = {
            (one, source): _ask(study, one, asked[one], source, cells)
            for one, source in dict.fromkeys((asked_of(study, cell), cell.queries) for cell in cells)
        }
    _check_apart(study, hashes, pairs)
    validation = tests.get('tuning.test_sets')
    return Shared(
        dict(victims),
        {source: list(_images(study, source)) for source in study.queries},
        asked,
        pairs,
        TestSets(entries, hash_json(hashes['test_sets'])),
        None if validation is None else TestSets(validation, hash_json(hashes['tuning.test_sets'])),
        study,
    )


def _images(study: StudyFile, source: str) -> dict[str, ImageRef]:
    return source_images(study.queries[source], where=f'{study.where}: queries.{source}.images')


def _query_folder(study: StudyFile, asked: Asked, source: str) -> Path:
    return study.output / 'queries' / asked.folder / source


def _party(study: StudyFile, asked: Asked, victim: Victim, cell: Cell) -> Victim:
    """The victim itself, or that behind the defence and the attacker's way of asking."""
    if study.defences:  # behind each of them it is asked about the same images
        victim = _recorded(study, victim, asked.victim)
    if asked.defence:
        with naming(study, cell):
            victim = DefendedVictim(victim, study.defences[asked.defence])
    if asked.repeats > 1 or asked.denoise or asked.undo:
        from mea_plugin.victims.adapted import AdaptedVictim  # needs OpenCV, which other studies do not

        known = build_defences(study.defences[asked.defence]) if asked.undo else ()
        victim = AdaptedVictim(victim, repeats=asked.repeats, denoise=asked.denoise, known=known)
    return victim


def _recorded(study: StudyFile, victim: Victim, name: str) -> Victim:
    return RecordedVictim(victim, study.output / 'answers' / name)


def _ask(study: StudyFile, asked: Asked, victim: Victim, source: str, cells: Iterable[Cell]) -> dict[str, Pair]:
    images, wanted = _images(study, source), set()
    for cell in cells:
        if (asked_of(study, cell), cell.queries) == (asked, source):
            wanted.update(draw(images, cell.budget // asked.repeats, cell.seed))
    queries = run_queries(
        victim,
        {image: images[image] for image in sorted(wanted)},
        _query_folder(study, asked, source),
        shrink=study.queries[source].shrink,
        move_other_aside=True,
        options={'study': study.name, 'victim': asked.folder, 'queries': source},
    )
    manifest = queries.manifest()
    assert manifest is not None
    return {one['name']: Pair(**{**one, 'size': tuple(one['size'])}) for one in manifest['pairs']}


def _hashes(test_sets: list[dict[str, Any]]) -> dict[str, dict[str, str]]:
    """Hashes of pixels by file, of every folder of every test set."""
    return {
        f'{one["name"]}/{key}': {path.stem: hash_array(read_rgb(path)) for path in list_images(one[key])}
        for one, key in itertools.product(test_sets, ('lq', 'gt', 'target'))
        if key in one
    }


def _check_apart(
    study: StudyFile,
    hashes: Mapping[str, Mapping[str, Mapping[str, str]]],
    pairs: Mapping[tuple[Asked, str], Mapping[str, Pair]],
) -> None:
    """No image that is asked for training is one that is tested on, and none that is tuned on is either."""
    seen = {pair.query: f'queries.{source}, {name}' for (_, source), of in pairs.items() for name, pair in of.items()}
    for section, folders in hashes.items():
        found = {}
        for folder, images in folders.items():
            for name, content in images.items() if folder.endswith('/lq') else ():
                if content in seen:
                    raise InputError(
                        f'{folder.removesuffix("/lq")}, {name} is the same image as {seen[content]}',
                        where=f'{study.where}: {section}',
                        do='Keep queries, validation and test images apart',
                    )
                found[content] = f'{section}, {name}'
        seen.update(found)
