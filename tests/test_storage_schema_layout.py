"""Names of files: safe on any file system, legible, short, and never the same for two keys."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage_schema import lease
from storage_schema.layout import Layout, file_name

KEYS = st.one_of(
    st.text(st.characters(exclude_categories=("Cs",))),
    st.text("aAäÄ+-_ ,./0", max_size=8),
    st.text("a ", min_size=95, max_size=300),
    st.from_regex("[0-9]{4,10}", fullmatch=True),
)


@given(KEYS, KEYS)
def test_two_keys_never_have_one_name_also_where_a_file_system_folds_them(one: str, other: str) -> None:
    """Capitals count as small letters on some, and accents are taken apart on others."""
    names = [unicodedata.normalize("NFD", file_name(key)).casefold() for key in (one, other)]
    assert (names[0] == names[1]) == (one == other)


@given(KEYS)
def test_every_file_system_takes_a_name(key: str) -> None:
    name = file_name(key)
    assert re.fullmatch("[A-Za-z0-9+][A-Za-z0-9+-]*", name)
    assert len(f"{name}.json.1234567-0123abcd.partial") <= 150


def test_negative_control_without_the_hash_two_keys_would_share_a_name() -> None:
    pairs = (("cell trees", "cell-trees"), ("from-a", "from-A"), ("x" * 200, "x" * 201), ("ü", "ö"))
    for one, other in pairs:
        cut = [file_name(key).rpartition("-")[0].casefold() for key in (one, other)]
        assert cut[0] == cut[1], (one, other)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        (0, "00000"),
        (423_623, "423623"),
        ("00012", "00012"),
        ("maps/0/700/weights", "maps-0-700-weights-"),
        ("cell trees + zero-cost, from-Größe, trial 1", "cell-trees-+-zero-cost-from-Gr-e-trial-1-"),
    ],
)
def test_a_name_says_what_it_is_of(key: int | str, name: str) -> None:
    assert re.fullmatch(re.escape(name) + "[0-9a-f]{12}" * name.endswith("-"), file_name(key))
    layout = Layout(Path("e"))
    paths = (
        layout.marker("s", key),
        layout.lease("s", key),
        layout.failure("s", key),
        layout.checkpoint("s", key),
    )
    assert {path.stem for path in paths} == {file_name(key)}


@given(KEYS)
def test_a_place_in_the_lock_file_is_small_and_a_positions_own(key: str) -> None:
    name = file_name(key)
    place = lease.place(name)
    assert place == int(name) if name.isdigit() and len(name) < 10 else 0 <= place < lease.PLACES
