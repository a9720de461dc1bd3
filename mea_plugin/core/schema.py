"""Sections of option files as pydantic models: checked, completed, and described for editors and the docs.

A section is a subclass of :class:`Options`. Numbers carry their range (``Annotated[int, Whole(1, 100)]``), choices are
``Literal``, yes and no is :data:`Flag`, and the string below a field says what it means::

    class BatchOptions(Options):
        '''How waiting requests are put together.'''

        size: Annotated[int, Whole(1)] = 8
        '''Images of one size that are answered together, at most.'''

``BatchOptions.parse({'sise': 4}, 'serve.yml: batch')`` raises an :class:`~mea_plugin.core.errors.InputError` of one
line: ``serve.yml: batch: unknown option 'sise'. Use 'size'.``
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Annotated, Any, ClassVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetJsonSchemaHandler,
    StrictBool,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError, core_schema
from typing_extensions import Self

from mea_plugin.core.errors import InputError, shortened, suggestion

__all__ = [
    'Flag',
    'FolderName',
    'Images',
    'Number',
    'Options',
    'Registered',
    'Section',
    'Text',
    'Whole',
    'first_error',
    'refusal',
    'shortened',
]

_CUSTOM = 'option'
_DELETE = '_delete_'
_NAME_CHARACTERS = frozenset('abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-')


def refusal(what: str, *, do: str, at: str = '') -> PydanticCustomError:
    """The error that a validator of an :class:`Options` class raises.

    Args:
        what: What is wrong, with the value that was received. No full stop.
        do: What to do about it, as an instruction. No full stop.
        at: The option below the validated section, if the error is about one: ``queries.budget``.
    """
    return PydanticCustomError(_CUSTOM, '{what}', {'what': what, 'do': do, 'at': at})


class Options(BaseModel):
    """A section of an option file.

    An unknown option is refused, and the nearest known one named. An option that is given as nothing (``key:`` or
    ``key: ~``) takes its default, unless :attr:`keep_null` lists it. Instances cannot be changed.

    Attributes:
        keep_null: Options for which nothing has a meaning of its own.
    """

    model_config = ConfigDict(
        extra='forbid',
        frozen=True,
        arbitrary_types_allowed=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
    )
    keep_null: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def parse(cls, value: Any, where: str = '') -> Self:
        """Check a section.

        Args:
            value: What stands in the option file.
            where: The file and the section, for errors: ``run.yml: queries``.

        Raises:
            InputError: It is no section, an option is unknown, missing, of the wrong kind or out of range.
        """
        return cls._validated(value, where, '.')

    @classmethod
    def parse_document(cls, value: Any, where: str) -> Self:
        """Check a whole option file; ``where`` is the file. Otherwise as :meth:`parse`."""
        return cls._validated(value, where, ': ')

    @classmethod
    def _validated(cls, value: Any, where: str, joint: str) -> Self:
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            raise first_error(error, value, where, joint) from None

    @model_validator(mode='before')
    @classmethod
    def _check_section(cls, value: Any) -> Any:
        if isinstance(value, cls):
            return value
        keys = list(cls.model_fields)
        if not isinstance(value, Mapping):
            raise refusal(f'expected a section, got {shortened(value)}', do=f'Keys: {", ".join(keys)}')
        for key in value:
            if key == _DELETE:
                raise refusal(f'{_DELETE} meets no section that it could replace', do='Remove it')
            if key not in keys and cls.model_config['extra'] == 'forbid':
                raise refusal(f'unknown option {shortened(key)}', do=suggestion(str(key), keys))
        return {key: one for key, one in value.items() if one is not None or key in cls.keep_null}


@dataclass(frozen=True)
class _Range:
    """A number's range; used as an annotation: ``Annotated[int, Whole(1, 100)]``.

    Attributes:
        least: The smallest that may be.
        most: The largest that may be.
        above: The number must be larger than this.
    """

    least: float | None = 0
    most: float | None = None
    above: float | None = None

    kind: ClassVar[str] = 'a number'

    def _converted(self, value: Any) -> Any:
        """The number in its type, or None if the value is none."""
        good = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
        return float(value) if good else None

    def check(self, value: Any) -> Any:
        """The number, converted to its type.

        Raises:
            PydanticCustomError: It is no number of the range.
        """
        number = self._converted(value)
        if number is None or not self._holds(number):
            raise refusal(f'got {shortened(value)}', do=f'Give {self.kind} {self._span()}'.rstrip())
        return number

    def _holds(self, number: float) -> bool:
        if self.above is not None:
            return number > self.above and (self.most is None or number <= self.most)
        return (self.least is None or number >= self.least) and (self.most is None or number <= self.most)

    def _span(self) -> str:
        most = '' if self.most is None else f'{self.most:g}'
        if self.above is not None:
            return f'above {self.above:g}' + (f', {most} at most' if most else '')
        if self.least is None:
            return f'of at most {most}' if most else ''
        return f'from {self.least:g} to {most}' if most else f'of at least {self.least:g}'

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        kind: Any = core_schema.int_schema if source is int else core_schema.float_schema
        limits = {'ge': None if self.above is not None else self.least, 'gt': self.above, 'le': self.most}
        inner = kind(**{key: limit for key, limit in limits.items() if limit is not None})
        return core_schema.no_info_before_validator_function(self.check, inner)


@dataclass(frozen=True)
class Number(_Range):
    """A finite number: ``Annotated[float, Number(above=0)]``."""


@dataclass(frozen=True)
class Whole(_Range):
    """A whole number, which may be written ``5e3``: ``Annotated[int, Whole(1)]``."""

    kind: ClassVar[str] = 'a whole number'

    def _converted(self, value: Any) -> Any:
        number = super()._converted(value)
        return None if number is None or number % 1 else int(value)


def _check_flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise refusal(f'got {shortened(value)}', do='Write true or false')
    return value


def _check_folder_name(value: Any) -> str:
    text = str(value)
    if isinstance(value, bool) or not text.strip('.') or not set(text) <= _NAME_CHARACTERS:
        raise refusal(f'{shortened(value)} is no folder name', do='Use letters, digits, . _ -')
    return text


def _check_text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float | PurePath):
        raise refusal(f'got {shortened(value)}', do='Give a text')
    return str(value)


def _check_images(value: Any) -> str | list[str]:
    if isinstance(value, list) and value and all(isinstance(one, str) for one in value):
        return value
    if isinstance(value, list | Mapping | bool):
        raise refusal(f'got {shortened(value)}', do='Give a folder, a glob, an LMDB, or a list of these')
    return str(value)


def _check_filled(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise refusal(f'expected a section, got {shortened(value)}', do='Write key: value lines below it')
    if not value:
        raise refusal('the section is empty', do='Fill it in')
    return {str(key): one for key, one in value.items()}


Flag = Annotated[StrictBool, BeforeValidator(_check_flag)]
"""``true`` or ``false``, and nothing that could be read as either."""

FolderName = Annotated[str, BeforeValidator(_check_folder_name)]
"""A name that can be a folder's."""

Text = Annotated[str, BeforeValidator(_check_text)]
"""A text; one that looks like a number, or is a path, is taken as it is written."""

Images = Annotated[str | list[str], BeforeValidator(_check_images)]
"""One or several sources of images: folders, globs, LMDB folders."""


@dataclass(frozen=True)
class Registered:
    """Marks a section whose ``type`` names an entry of a registry: ``Annotated[Section, Registered('victim')]``.

    The section's options are checked when it is built; editors are told them (:mod:`mea_plugin.doctor.option_files`).

    Attributes:
        kind: The registry's :attr:`~mea_plugin.core.registry.Registry.kind`.
    """

    kind: str

    def __get_pydantic_json_schema__(self, schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """The section's own schema, with the mark."""
        return {**handler(schema), 'registered': self.kind}


Section = Annotated[dict[str, Any], BeforeValidator(_check_filled)]
"""A section that holds something, and whose options somebody else checks."""

_KINDS = {
    'string_type': 'a text',
    'path_type': 'a file or folder',
    'list_type': 'a list',
    'tuple_type': 'a list',
    'sequence_str': 'a list',
    'dict_type': 'key: value lines',
    'too_short': 'one or more',
    'mapping_type': 'key: value lines',
    'int_type': 'a whole number',
    'float_type': 'a number',
    'bool_type': 'true or false',
}


def first_error(error: ValidationError, value: Any, where: str, joint: str = ': ') -> InputError:
    """The first thing that pydantic found wrong, as this package reports it.

    Of several types that a value may have, the one that it comes nearest to is reported.

    Args:
        error: What pydantic raised.
        value: What it checked.
        where: The file, or the file and the section.
        joint: What stands between that and the option.
    """
    found = [(_path(one['loc'], value), one) for one in error.errors(include_url=False)]
    first = found[0][0]
    nearer = (one for one in found if one[0] == first or one[0].startswith((f'{first}.', f'{first}[')))
    path, details = max(nearer, key=lambda one: len(one[0]))
    if details['type'] == 'missing':
        section, _, key = path.rpartition('.')
        return InputError(f"the option '{key}' is missing", where=_joined(where, joint, section), do=f'Add {key}')
    cause = details.get('ctx', {}).get('error')
    if isinstance(cause, InputError):  # a check that knows nothing of pydantic; it names what is below the section
        path = '.'.join(part for part in (path, cause.where) if part)
        return InputError(cause.what, where=_joined(where, joint, path), do=cause.do)
    alternatives = [one for at, one in found if at == path]  # one for each type of a union
    written = [one for one in alternatives if one['type'] != 'is_instance_of']  # what a file can hold
    do = ', or: '.join(dict.fromkeys(_advice(one) for one in written or alternatives))
    if details['type'] != _CUSTOM:
        return InputError(f'got {shortened(details["input"])}', where=_joined(where, joint, path), do=do)
    path = '.'.join(part for part in (path, details['ctx']['at']) if part)
    return InputError(details['ctx']['what'], where=_joined(where, joint, path), do=do)


def _advice(details: ErrorDetails) -> str:
    """What to do about one of pydantic's errors."""
    kind, context = details['type'], details.get('ctx', {})
    if kind == _CUSTOM:
        return str(context['do'])
    if kind == 'literal_error':
        choices = [one.strip(" '") for one in context['expected'].replace(' or ', ',').split(',')]
        return suggestion(str(details['input']), choices)
    if kind in _KINDS:
        return f'Give {_KINDS[kind]}'
    return details['msg']


def _path(location: tuple[int | str, ...], value: Any) -> str:
    """``queries.budget``, ``suspects[0].type``: pydantic's location without its names of alternatives of a type."""
    text = ''
    if location[-1:] == ('[key]',):  # a name that cannot be one: the error quotes it
        location = location[:-2]
    for index, part in enumerate(location):
        if isinstance(part, int) and not isinstance(value, Mapping):
            text += f'[{part}]'
            value = value[part] if isinstance(value, list | tuple) and part < len(value) else None
            continue
        known = isinstance(value, Mapping) and part in value
        if not known and index < len(location) - 1:
            continue
        if not known and isinstance(value, list | tuple | str | int | float | bool):
            continue
        text += f'.{part}' if text else str(part)
        value = value.get(part) if isinstance(value, Mapping) else None
    return text


def _joined(where: str, joint: str, path: str) -> str:
    return f'{where}{joint}{path}' if where and path else where or path
