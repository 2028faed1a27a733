"""Small files of others: the form that was asked for, or a `ValueError` that says what is wrong."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

import pytest

from storage_schema import documents
from storage_schema.documents import DocumentError


@dataclass(frozen=True, kw_only=True)
class Point:
    x: int
    names: dict[str, str] = field(default_factory=dict)


class Part(TypedDict):
    share: float
    entries: list[int]


def test_what_has_the_form_is_returned() -> None:
    assert documents.parse(b'{"x": 1, "names": {"a": "b"}}', Point) == Point(x=1, names={"a": "b"})
    assert documents.parse(b'{"share": 1, "entries": [], "more": null}', Part) == {
        "share": 1,
        "entries": [],
        "more": None,
    }
    assert documents.parse(b"[1]", Any) == [1]


@pytest.mark.parametrize(
    ("content", "form", "message"),
    [
        (b"[]", Point, "it is not of type dict"),
        (b"{}", Point, "it lacks x"),
        (b'{"x": true}', Point, "x is not of type int"),
        (b'{"x": 1, "y": 2}', Point, "it has the unknown 'y'"),
        (b'{"x": 1, "names": {"a": 1}}', Point, "names, 'a', is not of type str"),
        (b'{"share": "1", "entries": []}', Part, "share is not of type float"),
        (b'{"share": 1, "entries": [1, "2"]}', Part, "an entry of entries is not of type int"),
        (b"[" * 100_000, Any, "nested too deep"),
        (b'"\\ud800"', Any, "surrogates not allowed"),
        (b"\xff", Any, "can't decode"),
        (b"9" * 5000, Any, "digits"),
    ],
)
def test_what_has_not_is_a_value_error(content: bytes, form: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        documents.parse(content, form)


def test_only_regular_files_of_bounded_size_are_read(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(b" " * 11)
    with pytest.raises(DocumentError, match="larger than 10 bytes"):
        documents.read_bytes(path, 10)
    assert len(documents.read_bytes(path, 11)) == 11
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DocumentError, match="no regular file"):
        documents.read_bytes(tmp_path / "pipe")
    with pytest.raises(FileNotFoundError):
        documents.read_bytes(tmp_path / "none")
