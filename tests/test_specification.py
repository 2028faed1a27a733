"""The specification has every ruling that code names, and users meet no number."""

from __future__ import annotations

import ast
import io
import json
import re
import sys
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from pipeline import config
from pipeline.cli import app, main
from pipeline.presets import FOLDER, preset_names
from storage_schema import schema
from storage_schema.create import create
from storage_schema.read import open_dynamics
from storage_schema.schema import Sizes, Variable
from storage_schema.validate import check_arrays, check_store
from synthetic_store import ATTRIBUTES, static_values

ROOT = Path(__file__).parents[1]
PACKAGES = ("pipeline", "slurm", "stages", "storage_schema")
PYTHON = [path for name in (*PACKAGES, "tests") for path in sorted((ROOT / name).rglob("*.py"))]
PROSE = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NUMBER = re.compile(r"\bR\d+\b")
SECTION = re.compile(r"^### R(\d+) \S.*\n((?:(?!##).*\n)*)", re.MULTILINE)
PLACE = r"(sections? \d|Tables? \d|Appendi\w+ [A-J]|\b[A-J]\.\d|\beqs?\. \d|the tables named|silent)"
ELSEWHERE = re.compile(r"\b(SPEC|DESIGN|BASELINES|SLURM)\.md\b|\b(SPEC|DESIGN|BASELINES)\b")
"""Documents that are not in this repository; SLURM is also what a section of settings is called."""

SIZES = Sizes(architectures=2, snapshots=2, layers=3, mini_batches=4)


@pytest.fixture(scope="module")
def rulings() -> dict[int, str]:
    """What stands under each number."""
    text = (ROOT / "docs" / "specification.md").read_text(encoding="utf-8")
    found = SECTION.findall(text)
    assert len(found) == len(dict(found)) == len(re.findall(r"^#+ R\d", text, re.MULTILINE))
    return {int(number): section for number, section in found}


def numbers(text: str) -> set[int]:
    """Return the numbers that a text names, those within a range (R5-R8) too."""
    ends = re.findall(r"\bR(\d+)(?:\s?[-–]\s?R(\d+))?\b", text)
    return {number for first, last in ends for number in range(int(first), int(last or first) + 1)}


def documented(tree: ast.AST) -> set[int]:
    """Return which nodes are docstrings, of attributes too."""
    return {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}


def literals(code: str) -> Iterator[str]:
    """Yield what a program may show: string literals, also parts of f-strings, but no docstrings."""
    tree = ast.parse(code)
    apart = documented(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in apart:
            yield node.value


@cache
def explanations(code: str) -> str:
    """Return the comments and strings of a program."""
    tokens = tokenize.generate_tokens(io.StringIO(code).readline)
    comments = [token.string for token in tokens if token.type == tokenize.COMMENT]
    strings = [
        node.value
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    return "\n".join(comments + strings)


def test_there_is_a_ruling_for_every_number_that_is_named(rulings: dict[int, str]) -> None:
    files = [path for path in (*PYTHON, *PROSE) if path != Path(__file__)]
    named = {number: path for path in files for number in numbers(path.read_text(encoding="utf-8"))}
    assert len(named) > 20
    assert {number: path for number, path in named.items() if number not in rulings} == {}


def test_numbers_have_no_gap_and_none_is_used_twice(rulings: dict[int, str]) -> None:
    assert sorted(rulings) == list(range(1, len(rulings) + 1))


def test_every_ruling_has_a_reason_and_a_place_in_the_paper(rulings: dict[int, str]) -> None:
    for number, text in rulings.items():
        rule, why, paper = re.split(r"^- \*\*(?:Why|Paper):\*\* ", text, flags=re.MULTILINE)
        assert len(rule) > 40, number
        assert len(why) > 20, number
        assert re.search(PLACE, paper), number


def test_what_is_not_yet_implemented_is_named_by_no_code(rulings: dict[int, str]) -> None:
    """Who implements a ruling points to it, and takes the mark off."""
    pending = {number for number, text in rulings.items() if "**Not yet implemented" in text}
    code = [
        path.read_text(encoding="utf-8") for path in PYTHON if path.relative_to(ROOT).parts[0] in PACKAGES
    ]
    assert pending
    assert pending & set().union(*map(numbers, code)) == set()


def test_no_pointer_leads_to_a_document_that_is_not_here() -> None:
    found = {
        str(path): match[0]
        for path in PYTHON
        if path != Path(__file__)
        for match in [ELSEWHERE.search(explanations(path.read_text(encoding="utf-8")))]
        if match
    }
    assert found == {}
    assert ELSEWHERE.search(explanations('x = 1  # as in SPEC R7\n"""See DESIGN.md."""\n'))


def test_documents_that_docstrings_name_are_there() -> None:
    documents = [str(path.relative_to(ROOT)) for path in PROSE]
    for path in PYTHON:
        for name in re.findall(r"docs/[\w/-]+(?:\.md)?\b", explanations(path.read_text(encoding="utf-8"))):
            assert any(document.startswith(name) for document in documents), f"{path} names {name}"


def test_links_within_the_documents_lead_somewhere() -> None:
    for path in PROSE:
        for link in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", path.read_text(encoding="utf-8")):
            assert (path.parent / link).exists(), f"{path} links to {link}"


# What users see.


@pytest.mark.parametrize("package", PACKAGES)
def test_no_text_that_a_program_may_show_has_a_number(package: str) -> None:
    for path in sorted((ROOT / package).rglob("*.py")):
        shown = [text for text in literals(path.read_text(encoding="utf-8")) if NUMBER.search(text)]
        assert shown == [], path


def test_a_number_in_a_message_would_be_noticed() -> None:
    code = '''
def f(x):
    """As R7 says."""  # R8
    raise ValueError(f"{x!r} is not allowed (R99); take another")
'''
    assert [text for text in literals(code) if NUMBER.search(text)] == [" is not allowed (R99); take another"]


def tables() -> dict[str, dict[str, Variable]]:
    values = {name: value for name, value in vars(schema).items() if isinstance(value, dict)}
    return {
        name: value
        for name, value in values.items()
        if value and all(isinstance(each, Variable) for each in value.values())
    }


def test_attributes_of_new_stores_have_no_number(tmp_path: Path) -> None:
    assert tables().keys() == {"VARIABLES", "EMBEDDINGS", "SCORES", "ZERO_COST"}
    for table in tables().values():
        assert not [name for name, v in table.items() if NUMBER.search(f"{v.description} {v.units}")]
    path = new_store(tmp_path)
    for file in sorted(path.rglob("zarr.json")):
        assert not NUMBER.search(file.read_text(encoding="utf-8")), file


def new_store(folder: Path) -> Path:
    path = folder / "dynamics.zarr"
    create(path, SIZES, static_values(SIZES, (1, 4), layers=2), ATTRIBUTES)
    return path


def as_before(content: dict[str, Any]) -> dict[str, Any]:
    """Put a number into every description, as stores of before have them."""
    members = content.get("consolidated_metadata", {}).get("metadata", {}).values()
    for each in (content, *members):
        if "description" in each["attributes"]:
            each["attributes"]["description"] += " (R6-R8)"
    return content


def test_stores_with_numbers_in_their_attributes_are_read_as_ever(tmp_path: Path) -> None:
    path = new_store(tmp_path)
    for file in path.rglob("zarr.json"):
        file.write_text(json.dumps(as_before(json.loads(file.read_bytes()))), encoding="utf-8")
    before = {file: file.read_bytes() for file in path.rglob("zarr.json")}
    assert check_store(path, schema.VARIABLES) == []
    check_arrays(path, schema.VARIABLES, tuple(schema.VARIABLES))
    assert NUMBER.search(open_dynamics(path)["weights"].attrs["description"])
    create(path, SIZES, static_values(SIZES, (1, 4), layers=2), ATTRIBUTES)  # as each run does
    assert {file: file.read_bytes() for file in path.rglob("zarr.json")} == before


@pytest.mark.parametrize("words", [("baselines", "list", "--json"), ("baselines", "list")])
def test_the_list_of_methods_has_no_number(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["pipeline", *words])
    with pytest.raises(SystemExit):
        main()
    shown = capsys.readouterr().out
    assert "cell trees" in shown
    assert not NUMBER.search(shown)


@pytest.mark.parametrize("name", preset_names())
def test_settings_and_presets_have_no_number(name: str) -> None:
    written = config.to_toml(config.resolve(config.preset(name)), f"# Made from preset {name}.", {})
    assert not NUMBER.search(written)
    assert not NUMBER.search((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))


def test_help_has_no_number() -> None:
    waiting, seen = [typer.main.get_command(app)], 0
    while waiting:
        command: Any = waiting.pop()
        waiting += getattr(command, "commands", {}).values()
        texts = [command.help, command.epilog, *(getattr(each, "help", "") for each in command.params)]
        seen += 1
        assert not NUMBER.search("\n".join(text or "" for text in texts)), command.name
    assert seen > 10


@pytest.mark.parametrize("name", ["README.md", "docs/analysts.md", "docs/operators.md", "docs/results.md"])
def test_pages_for_users_have_no_number(name: str) -> None:
    assert not NUMBER.search((ROOT / name).read_text(encoding="utf-8"))
