"""Small files that others may have written: regular, of bounded size and of the form asked for, or a `ValueError`."""

from __future__ import annotations

import dataclasses
import json
import os
import stat
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints, is_typeddict

from storage_schema.errors import UserError

MOST_BYTES = 64 * 2**20


class DocumentError(UserError, ValueError):
    """A file that is not what it should be; whoever asked for it says which file and what would help."""


def load(path: Path, form: Any) -> Any:
    """Read a JSON file of a form.

    Args:
        path: The file.
        form: A dataclass, of which an instance is returned; a TypedDict, whose keys have to be there and may not be
            all; or a type such as `dict[str, float]`.

    Raises:
        OSError: It cannot be read.
        DocumentError: It is of another form.
        ValueError: It is no JSON.
    """
    return parse(read_bytes(path), form)


def parse(content: bytes, form: Any) -> Any:
    """Turn JSON into something of a form; see `load`."""
    try:
        value = json.loads(content)
        if b"\\ud" in content.lower():
            json.dumps(value, ensure_ascii=False).encode()  # half a pair could not be printed
        check(value, form)
    except RecursionError:
        raise DocumentError("it is nested too deep") from None
    return form(**value) if isinstance(form, type) and dataclasses.is_dataclass(form) else value


def read_bytes(path: Path, most: int = MOST_BYTES) -> bytes:
    """Read a regular file that is not too large; a pipe or a device could block or never end.

    Raises:
        OSError: It cannot be read.
        DocumentError: It is too large or no regular file.
    """
    with open(path, "rb", opener=_at_once) as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise DocumentError("it is no regular file")
        if found.st_size > most:
            raise DocumentError(f"it is larger than {most} bytes")
        return file.read()


def _at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def check(value: Any, form: Any, where: str = "it") -> None:
    """Compare a JSON value with a form, which is called so in messages.

    Raises:
        DocumentError: Its first part that differs.
    """
    members = _members(form)
    arguments = get_args(form)
    if members is not None:
        check(value, dict, where)
        required, known = members
        for name in required - value.keys():
            raise DocumentError(f"{where} lacks {name}")
        for name in value.keys() - known.keys() if dataclasses.is_dataclass(form) else ():
            raise DocumentError(f"{where} has the unknown {name[:40]!r}")
        for name, kind in known.items():
            if name in value:
                check(value[name], kind, name)
    elif get_origin(form) is dict:
        check(value, dict, where)
        for key, item in value.items():
            check(item, arguments[1], f"{where}, {key[:40]!r},")
    elif get_origin(form) is list:
        check(value, list, where)
        for item in value:
            check(item, arguments[0], f"an entry of {where}")
    elif form is not Any and type(value) is not form and not (form is float and type(value) is int):
        raise DocumentError(f"{where} is not of type {form.__name__}")


@cache
def _members(form: Any) -> tuple[frozenset[str], dict[str, Any]] | None:
    """Names that have to be there, and the type of each that may be; None for what has no names."""
    if is_typeddict(form):
        return form.__required_keys__, get_type_hints(form)
    if not dataclasses.is_dataclass(form):
        return None
    fields = dataclasses.fields(form)
    free = (dataclasses.MISSING, dataclasses.MISSING)
    needed = frozenset(f.name for f in fields if (f.default, f.default_factory) == free)
    return needed, get_type_hints(form)
