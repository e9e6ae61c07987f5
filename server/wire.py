"""Looks at a protobuf message before it is parsed: a few bytes of it can stand for a million objects.

Parsing `repeated Message` costs 50 to 100 bytes of memory and a Python object for an element that takes two bytes on
the wire. So the elements are counted first, in the bytes, and only messages within their bound are parsed.
"""

import functools
from collections.abc import Mapping
from typing import Final, TypeVar, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT: Final = 10

_M = TypeVar("_M", bound=Message)


class MalformedError(Exception):
    """Bytes that are not the message that was expected, or more of it than is taken. Says so without their content."""


def parse(message: type[_M], data: bytes, max_fields: int) -> _M:
    """Return the parsed message.

    Args:
        message: what is expected.
        data: its wire format.
        max_fields: bound on its fields, together with those of the messages in it that can repeat something.

    Raises:
        MalformedError: it has more fields, or can't be parsed.
    """
    check_fields(data, cast(Descriptor, message.DESCRIPTOR), max_fields)
    try:
        return message.FromString(data)
    except DecodeError:
        raise MalformedError(f"not a valid {message.DESCRIPTOR.full_name}") from None


def check_fields(data: bytes, descriptor: Descriptor, max_fields: int) -> None:
    """Check the number of fields in O(max_fields), whatever the size of `data`; raises MalformedError."""
    name = descriptor.full_name
    count = 0
    spans = [(0, len(data), _walked(descriptor))]
    try:
        while spans:
            position, end, walked = spans.pop()
            while position < end:
                count += 1
                if count > max_fields:
                    raise MalformedError(f"the {name} has more than {max_fields} fields, which is the limit")
                number, kind, position = _tag(data, position)
                start, position = _skip(data, position, kind)
                if position > end:
                    raise MalformedError(f"not a valid {name}")
                if kind == _LENGTH and number in walked:
                    spans.append((start, position, walked[number]))
    except IndexError:
        raise MalformedError(f"not a valid {name}") from None


Walked = Mapping[int, "Walked"]
"""By field number: the messages to look into, since something in them can repeat."""


@functools.cache
def _walked(descriptor: Descriptor) -> Walked:
    nested = {field.number: field.message_type for field in descriptor.fields if field.message_type is not None}
    return {number: _walked(one) for number, one in nested.items() if _can_repeat(one)}


def _can_repeat(descriptor: Descriptor) -> bool:
    """Tell whether the message can hold many objects. Many numbers are one array, which costs what it weighs."""
    scalars = FieldDescriptor.CPPTYPE_STRING, FieldDescriptor.CPPTYPE_MESSAGE
    return any(
        (field.is_repeated and field.cpp_type in scalars)
        or (field.message_type is not None and _can_repeat(field.message_type))
        for field in descriptor.fields
    )


def _tag(data: bytes, position: int) -> tuple[int, int, int]:
    """Return the field's number, its wire type, and where its value begins."""
    tag, position = _varint(data, position)
    return tag >> 3, tag & 7, position


def _skip(data: bytes, position: int, kind: int) -> tuple[int, int]:
    """Return where the content of a value begins and where it ends; raises IndexError for an unknown wire type."""
    if kind == _VARINT:
        return position, _varint(data, position)[1]
    if kind == _LENGTH:
        size, start = _varint(data, position)
        return start, start + size
    if kind in (_FIXED64, _FIXED32):
        return position, position + (8 if kind == _FIXED64 else 4)
    raise IndexError("groups are not a part of proto3")


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for index in range(_LONGEST_VARINT):
        byte = data[position + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, position + index + 1
    raise IndexError("a varint has at most ten bytes")
