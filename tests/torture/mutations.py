"""Hostile variants of valid files: what bit rot, bad tools and bad people make of JSON, TOML, CSV and bytes.

`mutate` changes a file of a format in one to three places; the same seed gives the same file again.
"""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable
from typing import Any

DEEP = 100_000
INTEGERS = (
    0, 1, -1, 2, 7, 127, 128, 255, 256, 32_767, 65_535, 65_536, 999_999, 2**31 - 1, 2**31, 2**32 - 1, 2**32,
    2**53, 2**63 - 1, 2**63, 2**64, -(2**31), -(2**63), 10**18, 10**400,
)  # fmt: skip
TEXTS = (
    "", " ", "\0", "\n", "²", "٣", "\ud800", "é" * 300, "A" * 70_000, "../../../etc/passwd", "/etc/passwd", "..", ".",
    "-1", "1e999", "nan", "true", "a\nb", "\x1b[2J", "$(touch pwned)", "`touch pwned`", "; touch pwned", "x\"'\\",
    "float32", "int64", "object", "load", "__class__", "%s%n", "{0.__class__}", "--help", "--user=root",
)  # fmt: skip
RAW_JSON = (
    "NaN", "Infinity", "-Infinity", "1e999", "-0", "0.1", "1" * 5000, "9" * 4000, "[" * DEEP, "[" * 900 + "]" * 900,
    '{"a":' * 900 + "1" + "}" * 900, "[[[[[[[[1]]]]]]]]", '"\\ud800"', "{}", "[]", "null", "true", "false",
    '{"a": 1, "a": 2}',
)  # fmt: skip
RAW_TOML = (
    "nan", "inf", "-inf", "1e999", "0x10", "1_000", "9" * 5000, "[" * DEEP, "[" * 900 + "]" * 900, "{a = 1}", "[]",
    "{}", "true", "1979-05-27",
    "1979-05-27T07:32:00Z", "'''\n'''", '"""x"""', '"\\u0000"', "{a.b.c = {d = 1}}", "[[1, [2]]]",
)  # fmt: skip
MARK = "\ue000"
"""Stands for a literal that no JSON value gives, until the text is written."""


def mutate(random_: random.Random, content: bytes, kind: str, others: list[bytes]) -> bytes:
    """Return a hostile variant of a file.

    Args:
        random_: Decides everything.
        content: The valid file.
        kind: `json`, `toml`, `csv` or `bytes`.
        others: Files to splice parts of.
    """
    structured = STRUCTURED.get(kind)
    if structured is not None and random_.random() < 0.75:
        return structured(random_, content)
    for _ in range(random_.randint(1, 3)):
        content = random_.choice(BYTEWISE)(random_, content, random_.choice(others))
    return content


def _flipped(random_: random.Random, content: bytes, _other: bytes) -> bytes:
    changed = bytearray(content or b"\0")
    for _ in range(random_.choice((1, 1, 2, 8))):
        changed[random_.randrange(len(changed))] ^= 1 << random_.randrange(8)
    return bytes(changed)


def _cut(random_: random.Random, content: bytes, _other: bytes) -> bytes:
    return content[: random_.randrange(len(content) + 1)]


def _spliced(random_: random.Random, content: bytes, other: bytes) -> bytes:
    start, end = sorted(random_.randrange(len(other) + 1) for _ in range(2))
    at, to = sorted(random_.randrange(len(content) + 1) for _ in range(2))
    return content[:at] + other[start : min(end, start + 4096)] + content[random_.choice((at, to)) :]


def _counted(random_: random.Random, content: bytes, _other: bytes) -> bytes:
    """Overwrite a few bytes by an interesting number, as a length or a count might be written."""
    code = random_.choice(("<B", "<H", ">H", "<I", ">I", "<Q", ">Q", "<d"))
    value = random_.choice(INTEGERS)
    size = struct.calcsize(code)
    packed = (
        struct.pack(code, float(value % 2**60))
        if code[1] == "d"
        else (value % 256**size).to_bytes(size, "little" if code[0] == "<" else "big")
    )
    # Headers are at the beginning or, in archives, at the end.
    near = random_.choice((len(content), min(len(content), 128)))
    at = random_.randrange(near + 1)
    at = at if random_.random() < 0.8 else max(0, len(content) - at)
    return content[:at] + packed + content[at + size :]


def _repeated(random_: random.Random, content: bytes, _other: bytes) -> bytes:
    at = random_.randrange(len(content) + 1)
    return (
        content[:at]
        + content[at : at + random_.randrange(1, 64)] * random_.choice((2, 3, 500))
        + content[at:]
    )


def _deleted(random_: random.Random, content: bytes, _other: bytes) -> bytes:
    at = random_.randrange(len(content) + 1)
    return content[:at] + content[at + random_.choice((1, 2, 4, 8, 100)) :]


def _replaced(random_: random.Random, _content: bytes, other: bytes) -> bytes:
    return random_.choice(
        (b"", b"\0", b"\xff\xfe", b"null", b"[]", b"{}", b"[" * DEEP, b'{"":' * DEEP, other)
    )


BYTEWISE: tuple[Callable[[random.Random, bytes, bytes], bytes], ...] = (
    _flipped, _flipped, _cut, _spliced, _counted, _counted, _repeated, _deleted, _replaced,
)  # fmt: skip


def json_mutated(random_: random.Random, content: bytes) -> bytes:
    """Change values, keys and types anywhere in a JSON text."""
    tree, raw = json.loads(content), []
    for _ in range(random_.randint(1, 3)):
        parent, key = _place(random_, tree)
        if parent is None:
            tree = _hostile_value(random_, tree, raw)
        else:
            _change(random_, parent, key, raw)
    text = json.dumps(tree)
    for number, literal in enumerate(raw):
        text = text.replace(json.dumps(f"{MARK}{number}{MARK}"), literal)
    if random_.random() < 0.1:
        text = text.replace("{", '{"index": 5, "identity": 1, ', 1)  # a key twice, the first one foreign
    return text.encode("utf-8", "surrogatepass")


def _place(random_: random.Random, tree: Any) -> tuple[Any, Any]:
    """Walk down to some node; returns its container and its key, or None for the root."""
    parent, key, node = None, None, tree
    while isinstance(node, dict | list) and node and (parent is None or random_.random() < 0.8):
        parent, key = (
            node,
            random_.choice(list(node)) if isinstance(node, dict) else random_.randrange(len(node)),
        )
        node = parent[key]
    return (None, None) if random_.random() < 0.02 else (parent, key)


def _change(random_: random.Random, parent: Any, key: Any, raw: list[str]) -> None:
    what = random_.random()
    if what < 0.7:
        parent[key] = _hostile_value(random_, parent[key], raw)
    elif what < 0.85:
        del parent[key]
    elif isinstance(parent, dict):
        parent[random_.choice((*TEXTS, "extra"))] = parent.pop(key) if random_.random() < 0.5 else parent[key]
    else:
        parent.extend([parent[key]] * random_.choice((1, 2, 3000)))


def _hostile_value(random_: random.Random, value: Any, raw: list[str]) -> Any:
    what = random_.random()
    if what < 0.25:
        return random_.choice(INTEGERS)
    if what < 0.5:
        return random_.choice(TEXTS)
    if what < 0.75:
        raw.append(random_.choice(RAW_JSON))
        return f"{MARK}{len(raw) - 1}{MARK}"
    if what < 0.9:
        return random_.choice(
            ([value], {"a": value}, str(value), bool(value), None, 1.5, [[value, value]], [], {})
        )
    return value * random_.choice((-1, 2, 1000)) if isinstance(value, int | float | list) else [value]


def toml_mutated(random_: random.Random, content: bytes) -> bytes:
    """Change values, keys and sections of a TOML text."""
    lines = content.decode().split("\n")
    for _ in range(random_.randint(1, 3)):
        settings = [i for i, line in enumerate(lines) if " = " in line and not line.startswith("#")]
        if not settings:
            break
        at = random_.choice(settings)
        key, _, value = lines[at].partition(" = ")
        hostile = random_.choice(
            (
                random_.choice(RAW_TOML),
                str(random_.choice(INTEGERS)),
                json.dumps(random_.choice(TEXTS), ensure_ascii=random_.random() < 0.5),
                f"[{value}]",
                f'"{value}"',
            )
        )
        lines[at] = random_.choice(
            (f"{key} = {hostile}",) * 6 + (f"{key}.x = {value}", lines[at] + "\n" + lines[at], "")
        )
        if random_.random() < 0.1:
            lines.insert(
                at,
                random_.choice(("[slurm]", "[data]", "[[cae]]", "[" + "a." * 2000 + "a]", "[x", "=", "\0")),
            )
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def csv_mutated(random_: random.Random, content: bytes) -> bytes:
    """Change cells, columns and rows of a CSV text."""
    rows = [line.split(",") for line in content.decode().split("\n")]
    for _ in range(random_.randint(1, 3)):
        row = random_.choice(rows)
        cell = random_.randrange(len(row))
        hostile = random_.choice(
            (*TEXTS, *map(str, INTEGERS), '"', '"' + "x" * 200_000, "x" * 200_000, "1e999", "inf")
        )
        row[cell] = random_.choice((hostile, hostile, hostile, row[cell] + ",", '""', row[cell] + "\r"))
        if random_.random() < 0.2:
            rows.insert(random_.randrange(len(rows)), random_.choice(rows))
        if random_.random() < 0.1:
            del rows[random_.randrange(len(rows))]
        if not rows:
            return b""
    return "\n".join(",".join(row) for row in rows).encode("utf-8", "surrogatepass")


STRUCTURED: dict[str, Callable[[random.Random, bytes], bytes]] = {
    "json": json_mutated,
    "toml": toml_mutated,
    "csv": csv_mutated,
}
