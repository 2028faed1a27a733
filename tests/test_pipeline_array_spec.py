from __future__ import annotations

import importlib.metadata
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pipeline
from pipeline.array_spec import LARGEST_INDEX, ArraySpec, ArraySpecError, format_array, parse_array
from storage_schema.errors import UserError

INDEX = st.integers(0, LARGEST_INDEX)


@pytest.mark.parametrize(
    ("text", "indices", "throttle"),
    [
        ("7", (7,), None),
        ("0-3", (0, 1, 2, 3), None),
        ("5-5", (5,), None),
        ("0-9:3", (0, 3, 6, 9), None),
        ("0-10:4", (0, 4, 8), None),
        ("1,5,9-12", (1, 5, 9, 10, 11, 12), None),
        ("9-12,1,10", (1, 9, 10, 11, 12), None),
        ("007", (7,), None),
        (" 1,2 ", (1, 2), None),
        ("0-15:4%2", (0, 4, 8, 12), 2),
    ],
)
def test_slurm_syntax_is_read(text: str, indices: tuple[int, ...], throttle: int | None) -> None:
    assert parse_array(text) == ArraySpec(indices=indices, throttle=throttle)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "names no index"),
        ("   ", "names no index"),
        ("%4", "names no index"),
        ("1,,2", "empty item"),
        ("1,", "empty item"),
        ("-1", "negative index"),
        ("3,-5-7", "negative index"),
        ("3--1", "negative index"),
        ("9-3", "runs backwards; write 3-9"),
        ("0-9:0", "step 0"),
        ("5:2", "no index or range"),
        ("0-", "no index or range"),
        ("0-9:", "no index or range"),
        ("0-9:-1", "no index or range"),
        ("1, 2", "no index or range"),
        ("a", "'a' is no index"),
        ("1.5", "no index or range"),
        ("٣", "no index or range"),
        ("0-9%", "'%' in array"),
        ("0-9%0", "'%0' in array"),
        ("0-9%x", "'%x' in array"),
        ("0-9%2%3", "'%2%3' in array"),
        ("0-999999999999", "index 999999999999 in array"),
        ("9" * 5000, "is above the largest allowed"),
    ],
)
def test_a_mistake_is_one_line_that_shows_it(text: str, says: str) -> None:
    with pytest.raises(ArraySpecError) as caught:
        parse_array(text)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, UserError)
    assert isinstance(caught.value, ValueError)


def test_within_accepts_the_last_index_and_hands_the_specification_on() -> None:
    spec = parse_array("0-99%3")
    assert spec.within(100) is spec


@pytest.mark.parametrize(
    ("count", "says"),
    [
        (15625, "index 15625 is out of range: only 0-15624 exist"),
        (0, "index 0 is out of range: there are no"),
    ],
)
def test_within_names_the_offender_and_the_range(count: int, says: str) -> None:
    with pytest.raises(ArraySpecError, match=says):
        parse_array(f"0,{count}").within(count)


@pytest.mark.parametrize(
    ("indices", "text"),
    [
        ([], ""),
        ([4], "4"),
        ([4, 5], "4-5"),
        ([4, 6], "4,6"),
        ([4, 6, 8], "4-8:2"),
        ([0, 1, 2, 10, 20, 30, 31], "0-2,10-30:10,31"),
        ([3, 1, 2, 2], "1-3"),
        ([0, 5, 6, 7], "0,5-7"),
    ],
)
def test_format_is_compact(indices: list[int], text: str) -> None:
    assert format_array(indices) == text


def test_format_refuses_what_could_not_be_read_back() -> None:
    with pytest.raises(ArraySpecError, match="index -3 is negative"):
        format_array([2, -3])


@given(st.sets(INDEX, min_size=1, max_size=60) | st.sets(st.integers(0, 40), min_size=1))
def test_what_is_written_reads_back(indices: set[int]) -> None:
    assert parse_array(format_array(indices)).indices == tuple(sorted(indices))


@given(INDEX, st.integers(0, 500), st.integers(1, 60), st.integers(1, 10**5))
def test_a_range_is_python_s_range_with_its_end(first: int, length: int, step: int, throttle: int) -> None:
    last = min(first + length, LARGEST_INDEX)
    spec = parse_array(f"{first}-{last}:{step}%{throttle}")
    assert spec == ArraySpec(indices=tuple(range(first, last + 1, step)), throttle=throttle)


@given(st.text(alphabet="0123456789-:,% x", max_size=12))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        spec = parse_array(text)
    except ArraySpecError:
        return
    assert spec.indices == tuple(sorted(set(spec.indices)))
    assert spec.indices


def test_version_is_the_distribution_s() -> None:
    try:
        expected = importlib.metadata.version("nap2-pipeline")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("the distribution is not installed")
    assert pipeline.__version__ == expected


def test_an_unknown_attribute_is_named() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = pipeline.nonsense


def test_reading_a_specification_imports_no_torch() -> None:
    code = "import sys, pipeline.array_spec; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
