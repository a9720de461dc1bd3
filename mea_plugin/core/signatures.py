"""A callable's signature as the schema of its options.

Annotations say which values are taken (``quality: Annotated[int, Whole(1, 100)] = 75``, see
:mod:`mea_plugin.core.schema`), defaults stand where they are used, and the docstring's ``Args`` describe each option.
Annotations that nobody can check, as those of other packages may be, mean anything.
"""

from __future__ import annotations

import functools
import inspect
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import Field, create_model
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import PydanticOmit
from typing_extensions import NotRequired, ParamSpec, Required, get_type_hints

from mea_plugin.core.errors import InputError
from mea_plugin.core.schema import Flag, Number, Options, Whole

__all__ = ['check_arguments', 'checked', 'signature_model', 'typed_schema']

_Parameters = ParamSpec('_Parameters')
_Returned = TypeVar('_Returned')

_STRICT: dict[Any, Any] = {
    bool: Flag,
    int: Annotated[int, Whole(None)],
    float: Annotated[float, Number(None)],
}
_ENTRY = re.compile(r'^(?:\*\*)?(\w+)(?: \([^)]*\))?: +(.*)$')
_ROLE = re.compile(r':\w+:`~?(?:[\w.]*\.)?(\w+)`')


def check_arguments(function: Callable[..., Any], arguments: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The arguments as the callable is to get them: a whole number written ``5e3`` is an ``int``.

    An argument that is None is left out, so that the default is taken, unless the annotation allows None.

    Args:
        function: A class or function.
        arguments: By name.
        where: The file and section they come from, for errors.

    Raises:
        InputError: One is unknown, missing, of the wrong kind or out of range.
    """
    model = signature_model(function).parse(arguments, where)
    values = {**vars(model), **(model.model_extra or {})}
    return {key: values[key] for key in arguments if key in model.model_fields_set}


def checked(
    where: str,
) -> Callable[[Callable[_Parameters, _Returned]], Callable[_Parameters, _Returned]]:
    """A decorator for constructors: calls in Python are checked as option files are.

    Args:
        where: What is made, for errors: ``victim``.

    Example:
        >>> class Frame:
        ...     @checked('frame')
        ...     def __init__(self, width: Annotated[int, Whole(1)] = 4) -> None:
        ...         self.width = width
        >>> Frame(width=3).width
        3
    """

    def decorate(function: Callable[_Parameters, _Returned]) -> Callable[_Parameters, _Returned]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def call(*positional: _Parameters.args, **named: _Parameters.kwargs) -> _Returned:
            signature.bind(*positional, **named)  # a call that Python itself refuses is a TypeError, as ever
            arguments = {**dict(zip([*signature.parameters][1:], positional[1:], strict=False)), **named}
            checked_call: Any = function
            return checked_call(positional[0], **check_arguments(function, arguments, where))

        return call

    return decorate


@functools.cache
def signature_model(function: Callable[..., Any]) -> type[Options]:
    """The options that a class or function takes as its keyword arguments.

    ``**options: Unpack[SomeTypedDict]`` adds the dictionary's keys; other ``**options`` take whatever they are given.

    Args:
        function: The class or function; a ``self`` in front is left out.
    """
    doc = inspect.getdoc(function) or ''
    hints, text = _hints(function), _descriptions(doc)
    fields: dict[str, Any] = {}
    is_open = False
    for name, parameter in _parameters(function).items():
        shared = get_args(hints.get(name))
        if parameter.kind is parameter.VAR_KEYWORD and shared:
            fields.update(_shared_fields(shared[0]))
        elif parameter.kind is parameter.VAR_KEYWORD or name.startswith('_'):  # pydantic has no such names
            is_open = True
        elif parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            default = ... if parameter.default is parameter.empty else parameter.default
            fields[name] = (_strict(hints.get(name, Any)), Field(default, description=text.get(name)))
    name, summary = getattr(function, '__name__', 'options'), doc.partition('\n')[0]
    return _build(partial(_create, name, summary, is_open), fields)


def typed_schema(names: Iterable[str], find: Callable[[str], Callable[..., Any]]) -> dict[str, Any]:
    """JSON schema of a section whose ``type`` says what else it holds.

    Args:
        names: What ``type`` may be.
        find: Gives a name's class or function. What cannot be imported is left out.

    Returns:
        A schema with ``oneOf`` over the types.
    """
    models: list[Any] = []
    for name in names:
        try:
            model = signature_model(find(name))
        except (ImportError, InputError):
            continue
        models.append((_model(name, model, model.__doc__, {'type': (Literal[name], ...)}), 'validation'))
    found, rest = models_json_schema(models, schema_generator=_FileSchema)
    return {'oneOf': [found[key] for key in models], **rest}


class _FileSchema(GenerateJsonSchema):
    """Leaves out what only Python can give: an object of a class, a function."""

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> JsonSchemaValue:
        raise PydanticOmit

    def emit_warning(self, kind: Any, detail: str) -> None:
        """What is left out, and a default that is no JSON, is nobody's mistake."""


def _parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    try:
        found = dict(inspect.signature(function).parameters)
    except ValueError:  # of C: it does not say
        return {'_': inspect.Parameter('_', inspect.Parameter.VAR_KEYWORD)}
    found.pop('self', None)
    return found


def _hints(function: Any) -> dict[str, Any]:
    while isinstance(function, partial):
        function = function.func
    function = getattr(function, '__init__', None) if isinstance(function, type) else function
    try:
        return get_type_hints(function, include_extras=True)
    except (NameError, TypeError):  # names that only type checkers see, or an object with __call__
        return {}


def _shared_fields(shared: Any) -> dict[str, Any]:
    """Fields for the keys of a ``TypedDict``; a key that need not be there has no default of its own."""
    text = _descriptions(inspect.getdoc(shared) or '')
    fields = {}
    for name, hint in get_type_hints(shared, include_extras=True).items():
        origin: Any = get_origin(hint)
        if origin in (Required, NotRequired):
            hint = get_args(hint)[0]
        default = ... if name in shared.__required_keys__ else None
        fields[name] = (_strict(hint), Field(default, description=text.get(name)))
    return fields


def _build(create: Callable[[dict[str, Any]], type[Options]], fields: dict[str, Any]) -> type[Options]:
    """The model, where an annotation that cannot be checked means anything."""
    try:
        return create(fields)
    except Exception:  # pydantic raises what it likes where it knows no way to check an annotation
        if len(fields) == 1:
            return create({name: (Any, default) for name, (_, default) in fields.items()})
    alone = [_build(create, {name: field}) for name, field in fields.items()]
    known = {name: one.model_fields[name].annotation for name, one in zip(fields, alone, strict=True)}
    return create({name: (Any if known[name] is Any else hint, default) for name, (hint, default) in fields.items()})


def _create(name: str, summary: str, is_open: bool, fields: dict[str, Any]) -> type[Options]:
    class Section(Options, extra='allow' if is_open else 'forbid', protected_namespaces=()):
        keep_null = tuple(key for key, (hint, _) in fields.items() if _takes_none(hint))

    return _model(name, Section, summary, fields)


def _model(name: str, base: type[Options], summary: str | None, fields: dict[str, Any]) -> type[Options]:
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', UserWarning)  # an argument called `copy` or `json` hides a method of the model
        return create_model(name, __base__=base, __doc__=summary, **fields)


def _strict(hint: Any) -> Any:
    """The annotation without pydantic's own conversions: ``int`` is no text, ``bool`` no number."""
    origin = get_origin(hint)
    if origin is Annotated or origin is Literal:
        return hint
    if origin in (Union, UnionType):
        return Union[tuple(_strict(one) for one in get_args(hint))]  # noqa: UP007 - of as many as there are
    if origin in (list, tuple, dict, Sequence, Mapping):
        return origin[tuple(one if one is ... else _strict(one) for one in get_args(hint))]
    is_protocol = getattr(hint, '_is_protocol', False) and not getattr(hint, '_is_runtime_protocol', False)
    if origin is Iterable or is_protocol:
        return Any  # pydantic would give an iterator that ends; and no object can be told to be one of those
    return _STRICT.get(hint, hint) if isinstance(hint, type) else hint


def _takes_none(hint: Any) -> bool:
    if get_origin(hint) is Annotated:
        return _takes_none(get_args(hint)[0])
    return hint in (Any, object, NoneType) or any(
        _takes_none(one) for one in get_args(hint) if get_origin(hint) in (Union, UnionType)
    )


def _descriptions(doc: str) -> dict[str, str]:
    """What the ``Args`` or ``Attributes`` of a Google-style docstring say, by name."""
    found: dict[str, str] = {}
    name = None
    for line in re.sub(r'^.*?^(?:Args|Attributes):\n', '', f'\n{doc}', count=1, flags=re.M | re.S).splitlines():
        if line and not line.startswith(' '):
            break
        entry = _ENTRY.match(line[4:]) if line.startswith('    ') else None
        if entry:
            name, found[entry[1]] = entry[1], entry[2]
        elif name and line.strip():
            found[name] += f' {line.strip()}'
    return {key: _ROLE.sub(r'\1', text).replace('``', '`') for key, text in found.items()}
