"""Applies a recipe to every image of a set: in parallel, resumable, and whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from mea_plugin.core.errors import InputError
from mea_plugin.core.files import hash_file, hash_json
from mea_plugin.core.folders import held_folder
from mea_plugin.core.images import EXTENSIONS, read_rgb, write_png
from mea_plugin.core.paths import expanded
from mea_plugin.data.batch_state import BatchState, Made
from mea_plugin.data.parallel import mapper
from mea_plugin.data.recipes import Recipe

__all__ = ['BatchResult', 'run_batch']

_VERSION = 1  # of what the recipes make; with another, everything is made again


@dataclass(frozen=True)
class BatchResult:
    """How many of the input images were worked on, and how many had up-to-date files already."""

    made: int
    kept: int


@dataclass(frozen=True)
class _Item:
    """An input image (or pair), and what is known of its files from an earlier run."""

    name: str
    paths: tuple[Path, ...]
    known: Made | None


@dataclass(frozen=True)
class _Plan:
    """What an item needs: its key (of content and settings), its files, and whether they are there."""

    item: _Item
    key: str
    files: list[str]
    done: bool


def run_batch(
    recipe: Recipe, images: Mapping[str, Sequence[Path]], output: str | Path, *, jobs: int = 1, where: str = ''
) -> BatchResult:
    """Make the files of every image.

    All images are read and checked before anything is written. A file is kept when it is what an earlier run made from
    the same input content with the same settings; files of earlier runs that no longer belong are removed. ``OUTPUT/
    manifest.json`` is written last and names every file with its hash; a run that was interrupted goes on where it was.

    Args:
        recipe: What is made.
        images: Name to the files it is made from.
        output: Folder for the result; new, or made by an earlier run of the same kind.
        jobs: Processes to use.
        where: The option that names the images, for errors.

    Returns:
        What was done.

    Raises:
        InputError: An image cannot be used, the output folder holds images of another origin, or no image gives a file.
    """
    output = expanded(output)
    state = BatchState.load(output, recipe_name=type(recipe).__name__)
    _refuse_foreign(output, recipe.folders, state.ours)
    items = [_Item(name, tuple(paths), state.made.get(name)) for name, paths in images.items()]
    with mapper(jobs, len(items)) as each:
        plans = list(each(partial(_plan, recipe, output), items, 'check'))
        files = {file for plan in plans for file in plan.files}
        if not files:
            raise InputError('every image is smaller than the crop', where=where, do='Lower --crop')
        todo = [plan for plan in plans if not plan.done]
        if todo or state.ours != files or not state.complete:
            kept = {plan.item.name: plan.item.known for plan in plans if plan.done and plan.item.known}
            with held_folder(output):
                state.begin(kept, files)
                for name, made in each(partial(_make, recipe, output), todo, 'write'):
                    state.add(name, made)
                state.finish({'recipe': type(recipe).__name__, **asdict(recipe)})
    return BatchResult(made=len(todo), kept=len(plans) - len(todo))


def _refuse_foreign(output: Path, folders: Iterable[str], ours: set[str]) -> None:
    """Leave a folder alone whose images would be mixed with, or replaced by, what is made."""
    for folder in folders:
        path = output / folder
        if path.exists() and not path.is_dir():
            raise InputError(f'{path} is not a folder', where='--output', do='Choose another folder')
        for file in sorted(path.iterdir()) if path.is_dir() else []:
            known = file.relative_to(output).as_posix() in ours
            if not known and file.suffix.lower() in EXTENSIONS and not file.name.startswith('.'):
                raise InputError(
                    f'holds {file.name}, which was not made here', where=path, do='Choose another output folder'
                )


def _plan(recipe: Recipe, output: Path, item: _Item) -> _Plan:
    """Hash the input; unless its files are there, read and check it. Runs in a worker."""
    inputs = [hash_file(path) for path in item.paths]
    content = {'version': _VERSION, 'recipe': type(recipe).__name__, 'settings': asdict(recipe), 'inputs': inputs}
    key = hash_json(content)
    if item.known and item.known.key == key and _are_there(output, item.known.files):
        return _Plan(item, key, list(item.known.files), done=True)
    images = [read_rgb(path) for path in item.paths]
    return _Plan(item, key, recipe.plan(item.name, images, item.paths), done=False)


def _are_there(output: Path, files: Mapping[str, str]) -> bool:
    return all((output / file).is_file() and hash_file(output / file) == value for file, value in files.items())


def _make(recipe: Recipe, output: Path, plan: _Plan) -> tuple[str, Made]:
    """Write the files of one image. Runs in a worker."""
    made = {}
    for file, image in recipe.make(plan.item.name, [read_rgb(path) for path in plan.item.paths]):
        write_png(output / file, image)
        made[file] = hash_file(output / file)
    return plan.item.name, Made(plan.key, made)
