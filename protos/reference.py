"""Writes the reference of a protobuf package in Markdown, from the comments of its files."""

from collections.abc import Iterable, Iterator

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    ServiceDescriptorProto,
)

_MESSAGE, _ENUM, _SERVICE = 4, 5, 6
"""Numbers of FileDescriptorProto's fields, which make up the paths of comments."""
_FIELD, _ONEOF_DECL, _VALUE, _METHOD = 2, 8, 2, 2
_SCALARS = {value: name.removeprefix("TYPE_").lower() for name, value in FieldDescriptorProto.Type.items()}

Comments = dict[tuple[int, ...], str]


def reference(files: Iterable[FileDescriptorProto], folder: str) -> str:
    """Return a section for each file of `folder`, the service first."""
    own = [file for file in files if file.name.startswith(f"{folder}/")]
    own.sort(key=lambda file: (not file.service, file.name))
    return "\n".join(line for file in own for line in _file(file))


def _file(file: FileDescriptorProto) -> Iterator[str]:
    comments: Comments = {
        tuple(one.path): _text(one.leading_comments) for one in file.source_code_info.location if one.leading_comments
    }
    yield f"## {file.name}\n"
    yield f"{_head(file)}\n"
    for number, service in enumerate(file.service):
        yield from _service(service, comments, (_SERVICE, number))
    for number, message in enumerate(file.message_type):
        yield from _message(message, comments, (_MESSAGE, number))
    for number, enum in enumerate(file.enum_type):
        yield from _enum(enum, comments, (_ENUM, number))


def _head(file: FileDescriptorProto) -> str:
    """Return the comment above `syntax`."""
    found = next(one for one in file.source_code_info.location if list(one.path) == [12])
    return _text(found.leading_comments)


def _service(service: ServiceDescriptorProto, comments: Comments, path: tuple[int, ...]) -> Iterator[str]:
    yield f"### {service.name}\n\n{comments[path]}\n"
    yield "| method | request | response | |\n|---|---|---|---|"
    for number, method in enumerate(service.method):
        asked = ("stream " if method.client_streaming else "") + _link(method.input_type)
        answered = ("stream " if method.server_streaming else "") + _link(method.output_type)
        yield f"| {method.name} | {asked} | {answered} | {comments[(*path, _METHOD, number)]} |"
    yield ""


def _message(message: DescriptorProto, comments: Comments, path: tuple[int, ...]) -> Iterator[str]:
    yield f"### {message.name}\n\n{comments[path]}\n"
    if not message.field:
        return
    yield "| field | type | no. | |\n|---|---|---|---|"
    for number, field in enumerate(message.field):
        text = comments[(*path, _FIELD, number)]
        yield f"| {field.name} | {_type(message, field)} | {field.number} | {text} |"
    yield ""


def _type(message: DescriptorProto, field: FieldDescriptorProto) -> str:
    nested = next((one for one in message.nested_type if field.type_name.endswith(f".{message.name}.{one.name}")), None)
    if nested is not None and nested.options.map_entry:
        key, value = nested.field
        return f"map&lt;{_plain(key)}, {_plain(value)}&gt;"
    name = _plain(field)
    if field.label == FieldDescriptorProto.LABEL_REPEATED:
        return f"repeated {name}"
    if field.HasField("oneof_index") and not field.proto3_optional:
        return f"{name}, one of `{message.oneof_decl[field.oneof_index].name}`"
    return f"optional {name}" if field.proto3_optional else name


def _plain(field: FieldDescriptorProto) -> str:
    return _link(field.type_name) if field.type_name else _SCALARS[field.type]


def _enum(enum: EnumDescriptorProto, comments: Comments, path: tuple[int, ...]) -> Iterator[str]:
    yield f"### {enum.name}\n\n{comments[path]}\n"
    yield "| value | no. | |\n|---|---|---|"
    for number, value in enumerate(enum.value):
        yield f"| {value.name} | {value.number} | {comments[(*path, _VALUE, number)]} |"
    yield ""


def _link(type_name: str) -> str:
    name = type_name.rpartition(".")[2]
    return name if type_name.startswith(".google.") else f"[{name}](#{name.lower()})"


def _text(comment: str) -> str:
    """Return a comment on one line."""
    return " ".join(comment.split())
