"""Frozen dataclasses to and from plain JSON values, with errors that name the field: configs are written by hand."""

from __future__ import annotations

import dataclasses
import types
from enum import StrEnum
from functools import cache
from typing import Any, Final, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from agentdash.errors import UsageError

T = TypeVar("T")

_hints = cache(get_type_hints)
_NAMES: Final = {dict: "an object", list: "a list", str: "a string", type(None): "null", bool: "true/false"}


def encode(value: Any) -> Any:
    """`value` as JSON values; fields at their default are left out."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: encode(getattr(value, f.name)) for f in dataclasses.fields(value) if not _is_default(value, f)}
    if isinstance(value, tuple | list):
        return [encode(item) for item in value]
    if isinstance(value, StrEnum):
        return value.value
    return value


def _is_default(owner: Any, spec: dataclasses.Field[Any]) -> bool:
    value = getattr(owner, spec.name)
    if spec.default_factory is not dataclasses.MISSING:
        return bool(value == spec.default_factory())
    return spec.default is not dataclasses.MISSING and bool(value == spec.default)


def decode(cls: type[T], value: Any, where: str) -> T:
    """A dataclass of type `cls` from a JSON object; `where` is the field's name for messages."""
    if not isinstance(value, dict):
        raise UsageError(f"{where}: expected an object, found {_named(value)}")
    assert dataclasses.is_dataclass(cls)
    specs = {spec.name: spec for spec in dataclasses.fields(cls)}
    unknown = sorted(set(value) - set(specs))
    if unknown:
        raise UsageError(f"{where}: unknown field {unknown[0]!r}", hint=f"known fields: {', '.join(specs)}")
    for spec in specs.values():
        required = spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING
        if required and spec.name not in value:
            raise UsageError(f"{where}: field {spec.name!r} is missing")
    hints = _hints(cls)
    arguments = {name: _convert(hints[name], item, f"{where}.{name}") for name, item in value.items()}
    return cls(**arguments)


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return _convert_union(get_args(hint), value, where)
    if origin is Literal:
        if value not in get_args(hint):
            raise UsageError(f"{where}: expected one of {', '.join(map(repr, get_args(hint)))}, found {value!r}")
        return value
    if origin is tuple:
        return _convert_tuple(get_args(hint), value, where)
    if origin is dict:
        return dict(_convert_plain(dict, value, where))
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        if not isinstance(value, str) or value not in {member.value for member in hint}:
            raise UsageError(f"{where}: expected one of {', '.join(hint)}, found {value!r}")
        return hint(value)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return decode(hint, value, where)
    return _convert_plain(hint, value, where)


def _convert_plain(hint: Any, value: Any, where: str) -> Any:
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise UsageError(f"{where}: expected {_NAMES.get(hint, hint.__name__)}, found {_named(value)}")
    return value


def _convert_tuple(hints: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise UsageError(f"{where}: expected a list, found {_named(value)}")
    if len(hints) == 2 and hints[1] is Ellipsis:
        return tuple(_convert(hints[0], item, f"{where}[{number}]") for number, item in enumerate(value))
    if len(value) != len(hints):
        raise UsageError(f"{where}: expected {len(hints)} items, found {len(value)}")
    return tuple(_convert(hint, item, f"{where}[{n}]") for n, (hint, item) in enumerate(zip(hints, value, strict=True)))


def _convert_union(hints: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in hints:
        return None
    reasons = []
    for hint in hints:
        if hint is type(None):
            continue
        try:
            return _convert(hint, value, where)
        except UsageError as error:
            reasons.append(error)
    raise reasons[0]


def _named(value: Any) -> str:
    return _NAMES.get(type(value), f"{value!r}")
