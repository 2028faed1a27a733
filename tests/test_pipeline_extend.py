"""`pipeline extend`: more networks in an experiment whose networks stay what they are, killed anywhere or not."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from baseline_scene import run
from pipeline import gather, verify
from pipeline.experiment import ExperimentError, change, check_preset, damaged_files, initialize, load
from pipeline.extend import extend
from pipeline.queue_view import QueueView
from pipeline.registry import STAGES
from pipeline.repair import damage
from pipeline.status import stage_status
from slurm.controller import QueuedTask
from stages.experiment import Experiment
from stages.search_spaces.config import ArchitecturesConfig
from stages.search_spaces.nasbench201.genotype import NUM_GENOTYPES, Genotype
from stages.settings import ConfigError
from storage_schema import create, durable, lease
from storage_schema.read import open_derived, open_dynamics
from storage_schema.schema import ZERO_COST
from storage_schema.write import file_digests
from test_pipeline_cli import Run, cli, refused  # noqa: F401  the fixture

SMALL = ("recording.snapshots=1", "labels.epochs=0", "zero_cost.batch_size=4")
COLLECT = STAGES["collect"]
KILLED = 9


def make(root: Path, number: int, *settings: str) -> Experiment:
    return initialize(root, "smoke", (*SMALL, f"architectures.number={number}", *settings))


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four networks, of which three are collected; labels and proxies of all."""
    root = tmp_path_factory.mktemp("extend") / "four"
    experiment = make(root, 4)
    assert run(experiment, "collect", "labels", "zero-cost") == 0
    shutil.rmtree(root / "dynamics.zarr" / "weights" / "c" / "3")
    (root / "markers" / "collect" / "00003.json").unlink()
    gather.finalise(experiment, COLLECT)
    return root


@pytest.fixture(scope="module")
def six(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """As many at once."""
    experiment = make(tmp_path_factory.mktemp("extend") / "six", 6)
    assert run(experiment, "collect") == 0
    return experiment


@pytest.fixture
def root(four: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(four, tmp_path / "e"))


def contents(root: Path) -> dict[str, bytes]:
    return {str(f.relative_to(root)): f.read_bytes() for f in sorted(root.rglob("*")) if f.is_file()}


def sound(root: Path) -> Experiment:
    """The experiment opens, and all that is on disk is as it was written."""
    experiment = load(root)
    assert damage(experiment, list(STAGES.values()), None) == []
    return experiment


def collected(experiment: Experiment) -> list[int]:
    return stage_status(experiment, COLLECT).indices["done"]


def test_the_store_is_that_of_so_many_networks_at_once(root: Path, six: Experiment) -> None:
    before, made = load(root), contents(root / "markers" / "collect")
    told = extend(root, 6)
    assert (told["architectures"], told["added"]) == (6, 2)
    after = sound(root)
    assert (after.identity, after.schema_version) == (before.identity, before.schema_version)
    assert after.architectures == six.architectures
    assert after.settings(ArchitecturesConfig).number == 6
    assert stage_status(after, COLLECT).indices["missing"] == [3, 4, 5]
    assert collected(after) == [0, 1, 2]
    assert stage_status(after, STAGES["labels"]).indices["missing"] == [4, 5]
    store = open_dynamics(root / "dynamics.zarr")
    assert store["written"].values.all(axis=1).tolist() == [True] * 3 + [False] * 3
    assert run(after, "collect", "labels", "zero-cost") == 0
    for index in range(6):
        found = file_digests(after.layout.dynamics, index)
        assert found.keys() == {"weights", "gradients", "curves"}
        assert found == file_digests(six.layout.dynamics, index)
    mine, other = (open_dynamics(each.layout.dynamics).load() for each in (after, six))
    same = ["provenance", "seconds"]
    assert mine.drop_vars(same).equals(other.drop_vars(same))
    assert {name: made[name] for name in made if name != "shared.json"}.items() <= contents(
        root / "markers" / "collect"
    ).items()
    assert len((root / "labels.csv").read_text().splitlines()) == 7
    assert open_derived(root / "zero_cost.zarr", "zero-cost", ZERO_COST).sizes["architecture"] == 6
    sound(root)


def test_other_networks_have_other_digests(six: Experiment) -> None:
    """What the comparison above could not tell, it would not notice."""
    found = [file_digests(six.layout.dynamics, index) for index in range(6)]
    assert len({each["weights"] for each in found}) == 6


def test_it_may_be_extended_again_and_the_first_command_still_goes_on(root: Path) -> None:
    identity = load(root).identity
    for number in (5, 7):
        extend(root, number)
    assert sound(root).identity == identity
    assert [each["number"] for each in json.loads((root / "identity.json").read_bytes())["extended"]] == [
        5,
        7,
    ]
    for number in (4, 5, 7):
        asked = (*SMALL, f"architectures.number={number}")
        check_preset(root, "smoke", asked)
        assert len(change(root, asked).architectures) == 7
        number = [made.settings(ArchitecturesConfig).number for made in (change(root, asked), load(root))]
        assert number == [7, 7]
    with pytest.raises(ExperimentError, match=r"number 4 -> 6\).*pipeline extend"):
        check_preset(root, "smoke", (*SMALL, "architectures.number=6"))


def test_an_experiment_without_a_store_is_extended(tmp_path: Path) -> None:
    make(tmp_path / "e", 2)
    extend(tmp_path / "e", 3)
    assert len(sound(tmp_path / "e").architectures) == 3
    assert not (tmp_path / "e" / "dynamics.zarr").exists()


def test_a_dry_run_changes_nothing(root: Path) -> None:
    before = contents(root)
    assert extend(root, 6, dry_run=True)["added"] == 2
    assert contents(root) == before
    with pytest.raises(ExperimentError, match="name a larger number"):
        extend(root, 4, dry_run=True)


def test_lost_files_of_an_extended_experiment_are_made_again(root: Path) -> None:
    extend(root, 6)
    for name in ("identity.json", "plan.csv"):
        content = (root / name).read_bytes()
        (root / name).write_bytes(content[:-40])
        assert damaged_files(root) == {root / name: content}
        (root / name).write_bytes(content)
    (root / "plan.csv").write_bytes(b"")
    (root / "identity.json").write_bytes(b"")
    assert set(damaged_files(root)) == {root / "identity.json", root / "plan.csv"}


def test_a_plan_that_was_changed_is_refused_in_either_part(root: Path) -> None:
    extend(root, 6)
    lines = (root / "plan.csv").read_text().splitlines(keepends=True)
    for row in (2, 6):
        changed = [*lines[:row], lines[row].replace("~0", "~0 "), *lines[row + 1 :]]
        (root / "plan.csv").write_text("".join(changed))
        with pytest.raises(ExperimentError, match="is not the plan the experiment was made with"):
            load(root)
    (root / "plan.csv").write_text("".join([*lines, lines[-1]]))
    assert len(load(root).architectures) == 6


# Refused


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (4, "has 4 architectures; name a larger number"),
        (3, "has 4 architectures; name a larger number"),
        (
            NUM_GENOTYPES + 1,
            f"architectures.number = {NUM_GENOTYPES + 1} is more than slice 0 holds; use at most {NUM_GENOTYPES}",
        ),
    ],
)
def test_a_number_that_cannot_be_is_one_line(number: int, says: str, cli: Run, root: Path) -> None:  # noqa: F811
    before = contents(root)
    refused(cli("extend", "--number", str(number), "-e", str(root)), says)
    after = contents(root)
    assert {name: after[name] for name in before} == before


def test_the_command_tells_what_it_did(cli: Run, root: Path) -> None:  # noqa: F811
    code, told, _ = cli("extend", "--number", "6", "-e", str(root), "--json")
    assert code == 0
    assert json.loads(told) == {
        "experiment": str(root),
        "identity": load(root).identity,
        "architectures": 6,
        "added": 2,
        "next": f"pipeline run --experiment {root} --stage all",
    }


def test_a_slice_holds_no_more(tmp_path: Path) -> None:
    make(tmp_path / "e", 2, "architectures.slice=1")
    with pytest.raises(ConfigError, match="1001 is more than slice 1 holds; use at most 1000"):
        extend(tmp_path / "e", 1001)


def table(path: Path, rows: int, skip: int = -1, shift: float = 0.0) -> tuple[str, ...]:
    names = [str(Genotype.from_number(n)) for n in range(rows) if n != skip]
    lines = [f"{name},{50 + shift + 40 * n / NUM_GENOTYPES!r}" for n, name in enumerate(names)]
    path.write_text("\n".join(["arch_str,accuracy", *lines]) + "\n")
    return ("labels.source=table", f"labels.table={path}", "labels.column=accuracy")


def test_a_label_table_bounds_and_binds(tmp_path: Path) -> None:
    file, root = tmp_path / "t.csv", tmp_path / "e"
    experiment = make(root, 3, *table(file, 5))
    with pytest.raises(ConfigError, match="number = 6 is more than slice 0 holds; use at most 5"):
        extend(root, 6)
    first = Genotype.parse(experiment.architectures[0]).number
    for change_ in ({"skip": first}, {"shift": 1.0}):
        table(file, 5, **change_)  # type: ignore[arg-type]
        with pytest.raises(
            ExperimentError, match=r"instead|where its own has.*labels\.table is not the table"
        ):
            extend(root, 4)
    table(file, 5)
    extend(root, 5)
    assert None not in load(root).planned_labels


def test_the_paper_s_sample_is_another_for_each_number(tmp_path: Path) -> None:
    make(tmp_path / "e", 9, *table(tmp_path / "t.csv", NUM_GENOTYPES), "architectures.sample=paper")
    with pytest.raises(ExperimentError, match='"paper" spreads each number in its own way'):
        extend(tmp_path / "e", 36)


def test_nothing_is_extended_while_something_runs(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout, before = load(root).layout, contents(root)
    held = lease.Lease.acquire(layout.lease("labels", 2), layout.lease_lock("labels"), 2)
    with pytest.raises(ExperimentError, match=rf"labels 00002 is being computed by process {os.getpid()} on"):
        extend(root, 6)
    held.release(finished=True)
    task = QueuedTask(
        job="7", task=0, state="PENDING", reason="Priority", node="", started="", elapsed="", restarts=0
    )
    monkeypatch.setattr(QueueView, "of", lambda experiment: QueueView(layout.submissions, [], [task]))
    with pytest.raises(ExperimentError, match=r"1 tasks of .* are in the queue"):
        extend(root, 6)
    after = contents(root)
    assert {name: after[name] for name in before if "leases" not in name} == {
        name: before[name] for name in before if "leases" not in name
    }


def test_nobody_takes_an_index_meanwhile(root: Path) -> None:
    """Another process waits for the lock of its index until the extension is over."""
    layout = load(root).layout
    with lease.alone(layout.lease_lock("collect")):
        child = os.fork()
        if child == 0:
            os.close(1)
            lease.Lease.acquire(layout.lease("collect", 3), layout.lease_lock("collect"), 3)
            os._exit(0)
        assert not layout.lease("collect", 3).exists()
        pid, _ = os.waitpid(child, os.WNOHANG)
        assert pid == 0
        assert not layout.lease("collect", 3).exists()
    assert os.waitpid(child, 0)[1] == 0
    assert layout.lease("collect", 3).exists()


# Killed


def killed(prepare: Callable[[], None], root: Path, number: int) -> bool:
    """Extend in a process of its own, in which `prepare` was called; returns whether that process killed itself."""
    child = os.fork()
    if child == 0:
        try:
            prepare()
            extend(root, number)
            os._exit(0)
        except BaseException:  # noqa: BLE001  not into pytest's own code
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, KILLED)
    return code == KILLED


def before_step(step: int) -> Callable[[], None]:
    """Die before the n-th change of what is not a temporary file."""
    count = 0

    def counted(original: Any, always: bool) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal count
            count += always or durable.PARTIAL not in str(args[0])
            if count == step:
                os._exit(KILLED)
            return original(*args, **kwargs)

        return call

    def prepare() -> None:
        for place, name in (
            (durable, "write"),
            (os, "link"),
            (Path, "rename"),
            (Path, "unlink"),
            (shutil, "rmtree"),
        ):
            setattr(place, name, counted(getattr(place, name), name == "rename"))

    return prepare


@pytest.mark.slow
def test_killed_before_any_step_nothing_is_lost_and_the_same_command_finishes(
    four: Path, tmp_path: Path
) -> None:
    kept = {index: file_digests(four / "dynamics.zarr", index) for index in range(3)}
    step, root, gaps = 0, tmp_path / "e", 0
    while True:
        step += 1
        shutil.copytree(four, root)
        if not killed(before_step(step), root, 6):
            break
        gaps += not (root / "dynamics.zarr").exists()
        experiment = sound(root)
        assert len(experiment.architectures) in (4, 6)
        assert collected(experiment) == [0, 1, 2]
        assert {i: file_digests(root / "dynamics.zarr", i) for i in range(3)} == kept
        if len(experiment.architectures) == 4:
            if step % 3 == 0:  # somebody goes on first
                gather.finalise(experiment, COLLECT)
                sound(root)
            extend(root, 6)
        after = sound(root)
        assert len(after.architectures) == 6
        assert {i: file_digests(root / "dynamics.zarr", i) for i in range(3)} == kept
        assert not list(root.glob("*.before"))
        shutil.rmtree(root)
    assert step > 15
    assert gaps == 1


def test_without_recovery_the_gap_between_two_renames_would_lose_the_store(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert killed(lambda: setattr(create, "_rename", lambda *_: os._exit(KILLED)), root, 6)
    assert not (root / "dynamics.zarr").exists()
    with monkeypatch.context() as without:
        without.setattr(create, "recover", lambda path: None)
        assert verify.verify_digests(load(root), COLLECT, range(3)) != []
    assert verify.verify_digests(load(root), COLLECT, range(3)) == []


def test_a_file_system_without_links_gets_copies(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = os.link

    def refuse(source: Path, target: Path) -> None:
        if durable.PARTIAL in str(source):  # what Zarr itself does
            return link(source, target)
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    before = {index: file_digests(root / "dynamics.zarr", index) for index in range(4)}
    extend(root, 6)
    assert {index: file_digests(root / "dynamics.zarr", index) for index in range(4)} == before
    sound(root)


def test_what_somebody_else_put_into_the_store_is_kept(root: Path) -> None:
    (root / "dynamics.zarr" / "mine").mkdir()
    (root / "dynamics.zarr" / "mine" / "notes.txt").write_text("keep")
    extend(root, 6)
    assert (root / "dynamics.zarr" / "mine" / "notes.txt").read_text() == "keep"


def test_a_store_with_less_room_than_the_plan_is_refused(root: Path) -> None:
    shutil.copytree(root / "dynamics.zarr", root / "copy")
    extend(root, 6)
    shutil.rmtree(root / "dynamics.zarr")
    (root / "copy").rename(root / "dynamics.zarr")
    with pytest.raises(Exception, match="has room for 4 of 6 architectures; restore a later copy"):
        COLLECT.prepare(load(root))
