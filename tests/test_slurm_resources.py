"""What a job asks for: names and values are checked before Slurm sees them."""

from __future__ import annotations

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurm.controller import Limits
from slurm.errors import SlurmError
from slurm.resources import OPTIONS, OWN, Resources, parse_options, profile
from slurm.submit import cut


def test_later_settings_win_and_false_takes_an_option_out() -> None:
    found = profile("gtx1080ti").with_options({"mem": "16G", "constraint": False}, "--sbatch")
    assert found.options["mem"] == "16G"
    assert found.options["partition"] == "gtx1080"
    assert "constraint" not in found.options
    assert found.origin["mem"] == "--sbatch"
    assert found.origin["partition"] == "profile gtx1080ti"


def test_underscores_stand_for_dashes() -> None:
    assert Resources().with_options({"cpus_per_task": 4}, "here").options == {"cpus-per-task": 4}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"partitoin": "main"}, ("'partitoin'", "did you mean partition")),
        ({"array": "0-3"}, ("array", "set by pipeline itself")),
        ({"partition": ""}, ("partition", "no value")),
        ({"comment": "a\n#SBATCH --uid=0"}, ("comment", "no value")),
        ({"gres": ["gpu:1"]}, ("gres", "write text")),
        ({"time": "soon"}, ("time = 'soon'", "minutes")),
        ({"$(reboot)": "1"}, ("unknown option",)),
    ],
)
def test_wrong_options_are_named_with_where_they_were_said(
    options: dict[str, object], words: tuple[str, ...]
) -> None:
    with pytest.raises(SlurmError) as caught:
        Resources().with_options(options, "[slurm] of e.toml")
    assert all(word in str(caught.value) for word in ("[slurm] of e.toml", *words))
    assert "\n" not in str(caught.value)


def test_an_unknown_profile_names_the_known() -> None:
    with pytest.raises(SlurmError, match="cpu, gtx1080ti"):
        profile("gpu")


@pytest.mark.parametrize(
    ("text", "minutes"),
    [(90, 90), ("90", 90), ("90:30", 90.5), ("1:30:00", 90), ("2-12", 3600), ("1-01:30", 1530)],
)
def test_times_as_slurm_writes_them(text: str | int, minutes: float) -> None:
    assert Resources(options={"time": text}).minutes == minutes


def test_options_on_the_command_line() -> None:
    assert parse_options(["--mem=4G", "exclusive", "comment=a=b"], "--sbatch") == {
        "mem": "4G",
        "exclusive": True,
        "comment": "a=b",
    }
    with pytest.raises(SlurmError, match="write name=value"):
        parse_options(["=4"], "--sbatch")


def test_every_name_is_a_whole_word() -> None:
    assert not [name for name in OPTIONS | OWN if re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) is None]
    assert {"mem-bind", "ntasks-per-gpu"} <= OPTIONS
    assert not {"bind", "per-gpu"} & OPTIONS


def test_no_option_is_both_free_and_our_own() -> None:
    assert not OPTIONS & OWN


@given(st.text(string.printable, max_size=40), st.text(max_size=40))
def test_whatever_is_said_is_accepted_as_one_line_or_refused_in_one(name: str, value: str) -> None:
    refusal, found = "", Resources()
    try:
        found = found.with_options({name: value}, "here")
    except SlurmError as error:
        refusal = str(error)
    assert len(refusal.splitlines()) <= 1
    assert all(str(part).isprintable() for pair in found.options.items() for part in pair)


@given(
    st.integers(0, 400), st.integers(1, 50), st.none() | st.integers(1, 500), st.none() | st.integers(1, 20)
)
def test_every_index_is_in_one_task_and_no_limit_is_passed(
    count: int, array: int, jobs: int | None, pack: int | None
) -> None:
    indices = list(range(7, 7 + count))
    arrays = cut(indices, Limits(array=array, jobs=jobs), pack)
    assert [i for tasks in arrays for group in tasks for i in group] == indices
    assert all(0 < len(tasks) <= array for tasks in arrays)
    if pack is None and jobs is not None:
        assert sum(map(len, arrays)) <= jobs


def test_all_of_the_search_space_is_sixteen_arrays() -> None:
    arrays = cut(range(15_625), Limits(array=1001, jobs=20_000), None)
    assert len(arrays) == 16
    assert len(cut(range(15_625), Limits(array=1001, jobs=10_000), None)[0][0]) == 2
