"""What the SDK returns: dictionaries that also know their fields."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, Union

from caracal.errors import UnexpectedAnswer

__all__ = ["Page", "Record"]

# Fields that are told once and are nobody's to print. They are there to be read by name.
SECRETS = frozenset({"api_key", "secret", "token"})

R = TypeVar("R", bound="Record")
T = TypeVar("T")


class Record(dict[str, Any]):
    """One thing, as the server told it: `thing["name"]` and `thing.name` are the same value.

    It is a dictionary, so it can be encoded as JSON or unpacked. Fields that a newer server adds are there as well.
    Times are texts of RFC 3339 in UTC. Printed, it shows `***` for secrets.

    Attributes:
        etag: the version of the thing that `if_match` of a change takes; None where the server told none.
        place: of an event from `stream_events`, what its `after` takes to go on behind it.
    """

    etag: str | None = None
    place: str | None = None

    if not TYPE_CHECKING:  # a type checker knows the fields, and would take a wrong one for right

        def __getattr__(self, name: str) -> Any:
            """A field as an attribute; one that the server may leave out and has left out is None."""
            if name in self:
                return self[name]
            if name in fields_of(type(self)) and accepts(None, fields_of(type(self))[name]):
                return None
            raise AttributeError(f"{type(self).__name__} has no field {name!r}; it has {', '.join(sorted(self))}")

    def __repr__(self) -> str:
        shown = ", ".join(f"{k!r}: {'***' if v and secret(type(self), k) else repr(v)}" for k, v in self.items())
        return f"{type(self).__name__}({{{shown}}})"

    __str__ = __repr__

    def __dir__(self) -> Iterable[str]:
        return {*super().__dir__(), *(k for k in self if k.isidentifier())}


class Page(list[T]):
    """The things of one page, and where the next page begins.

    Attributes:
        next_cursor: what `cursor` of the next call takes; None on the last page.
    """

    def __init__(self, items: Iterable[T] = (), next_cursor: str | None = None) -> None:
        super().__init__(items)
        self.next_cursor = next_cursor


# What a record has beside its fields.
OWN = frozenset({"etag", "place", "REQUIRED", "CONFIDENTIAL"})


def secret(kind: type[Record], name: str) -> bool:
    """Whether a field is nobody's to print."""
    return name in SECRETS or name.endswith("_token") or name in getattr(kind, "CONFIDENTIAL", ())


@cache
def fields_of(kind: type[Record]) -> Mapping[str, Any]:
    """The declared fields of a record, with their types."""
    hints = typing.get_type_hints(kind)
    return {name: hint for name, hint in hints.items() if name not in OWN}


@cache
def required_of(kind: type[Record]) -> frozenset[str]:
    """Fields without which an answer of this kind would be misread."""
    return frozenset(getattr(kind, "REQUIRED", ()))


def options_of(hint: Any) -> tuple[Any, ...]:
    if typing.get_origin(hint) in (Union, types.UnionType):
        return typing.get_args(hint)
    return (hint,)


def accepts(value: object, hint: Any) -> bool:
    """Whether a value of JSON is of a declared type, however deep."""
    return any(is_one(value, option) for option in options_of(hint))


def is_one(value: object, option: Any) -> bool:
    if option is Any:
        return True
    if option is type(None) or option is None:
        return value is None
    origin = typing.get_origin(option) or option
    if origin is list:
        (of,) = typing.get_args(option) or (Any,)
        return isinstance(value, list) and all(accepts(each, of) for each in value)
    if origin is dict:
        _, of = typing.get_args(option) or (str, Any)
        return isinstance(value, dict) and all(accepts(each, of) for each in value.values())
    if isinstance(origin, type) and issubclass(origin, Record):
        return isinstance(value, dict) and all(
            k not in value or accepts(value[k], h) for k, h in fields_of(origin).items()
        )
    if origin is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if origin is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, origin)


def build(kind: type[R], value: object) -> R:
    """Make a record of what JSON said.

    Raises:
        UnexpectedAnswer: it is not an object, or a field has another type than Caracal gives it.
    """
    if not isinstance(value, dict):
        raise UnexpectedAnswer(f"the server did not answer a {kind.__name__}")
    record = kind()
    declared = fields_of(kind)
    for name, each in value.items():
        if name in declared:
            if not accepts(each, declared[name]):
                raise UnexpectedAnswer(f"the server's {kind.__name__} has another type of {name}", field=name)
            each = nest(declared[name], each)
        dict.__setitem__(record, name, each)
    missing = required_of(kind) - record.keys()
    if missing:
        raise UnexpectedAnswer(f"the server's {kind.__name__} has no {', '.join(sorted(missing))}")
    return record


def nest(hint: Any, value: Any) -> Any:
    """Make records of what is inside a field."""
    for option in options_of(hint):
        if isinstance(option, type) and issubclass(option, Record) and isinstance(value, dict):
            return build(option, value)
        if typing.get_origin(option) is list and isinstance(value, list):
            return [nest(typing.get_args(option)[0], each) for each in value]
    return value
