"""What a run leaves behind and where: nothing through a shell, nothing outside, nobody's secrets, the user's umask."""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.experiment import initialize
from slurm import controller
from slurm.controller import Limits
from slurm.errors import SlurmError
from slurm.resources import Resources
from slurm.submit import Job, Submitter
from storage_schema import durable

FOLDER = "a b;touch pwned $(touch pwned) `touch pwned` 'q' \"d\" &|#"
SECRET = "s3cr3t-never-to-be-written-0123456789"
SMALL = ("--preset", "smoke", "--set", "architectures.number=3", "--set", "recording.snapshots=1")
SLURM = """#!/bin/sh
case "$0 $*" in
*sinfo*) ;;
*scontrol*ping*) echo "Slurmctld(primary) at here is UP" ;;
*scontrol*config*) echo "MaxArraySize = 1001" ;;
*sbatch*) for last; do :; done; cp "$last" "$RECEIVED/$$.sh"; echo "Submitted batch job 12" ;;
esac
"""
"""Commands of a cluster that takes every job and keeps its script."""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Of a process whose home, configuration and temporary folder can be looked at afterwards."""
    for name in ("home", "config", "scratch", "bin", "received"):
        (tmp_path / name).mkdir()
    for name in ("sbatch", "srun", "squeue", "scancel", "scontrol", "sacct", "sinfo"):
        (tmp_path / "bin" / name).write_text(SLURM)
        (tmp_path / "bin" / name).chmod(0o755)
    kept = {name: os.environ[name] for name in ("LANG", "LC_ALL") if name in os.environ}
    return kept | {
        "PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin",
        "HOME": str(tmp_path / "home"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "TMPDIR": str(tmp_path / "scratch"),
        "RECEIVED": str(tmp_path / "received"),
        "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "PASSWORD": SECRET,
    }


def pipeline(where: Path, environment: dict[str, str], *words: str, umask: int = 0o022) -> str:
    command = [sys.executable, "-m", "pipeline", *words]
    done = subprocess.run(
        command, cwd=where, env=environment, capture_output=True, text=True, umask=umask, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def tree(root: Path) -> set[Path]:
    return {path.relative_to(root) for path in root.rglob("*")}


@pytest.mark.parametrize("umask", [0o027, 0o077])
def test_a_run_in_a_folder_that_is_a_shells_nightmare(
    tmp_path: Path, environment: dict[str, str], umask: int, figure: Callable[[str], None]
) -> None:
    work = tmp_path / "work"
    work.mkdir(mode=0o700)
    before = tree(tmp_path)
    asked = (
        (*SMALL, "--stage", "collect", "--cluster", "inline", "--array", "0-1"),
        ("--stage", "labels", "--cluster", "local", "--workers", "2"),
        ("--stage", "collect", "--cluster", "slurm"),
    )
    told = "".join(pipeline(work, environment, "run", "-e", FOLDER, *each, umask=umask) for each in asked)
    told += pipeline(work, environment, "status", "-e", FOLDER, umask=umask)
    new = tree(tmp_path) - before
    inside = Path("work") / FOLDER
    outside = [path for path in new if not path.is_relative_to(inside) and path.parts[0] != "received"]
    # Torch makes an empty folder where temporary files go.
    assert [str(path) for path in outside if path.parts[0] != "scratch" or (tmp_path / path).is_file()] == []
    files = [tmp_path / path for path in new if not (tmp_path / path).is_symlink()]
    links = [tmp_path / path for path in new if (tmp_path / path).is_symlink()]  # submitit's, to its scripts
    assert all(link.resolve().is_relative_to(work / FOLDER) for link in links)
    wrong = [str(file) for file in files if stat.S_IMODE(file.stat().st_mode) & umask]
    assert wrong == []
    plain = [file for file in files if file.is_file()]
    # Not only not more than allowed: colleagues of the group can read what the umask lets them read.
    ours = [file for file in plain if file.is_relative_to(work / FOLDER)]
    shut = [str(file) for file in ours if stat.S_IMODE(file.stat().st_mode) | umask != 0o666 | umask]
    assert shut == []
    leaking = [str(file) for file in plain if SECRET.encode() in file.read_bytes()]
    assert leaking == []
    assert SECRET not in told
    figure(f"containment: {len(plain)} files under umask {umask:03o}, none outside, none with a secret")


def test_a_script_that_a_cluster_got_runs_no_more_than_its_command(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    pipeline(work, environment, "init", *SMALL, FOLDER)
    hostile = "x;touch pwned $(touch pwned) `touch pwned` 'q'"
    asked = [f"--sbatch={name}={hostile}" for name in ("partition", "constraint", "account", "comment")]
    pipeline(work, environment, "run", "-e", FOLDER, "--stage", "collect", "--cluster", "slurm", *asked)
    scripts = [path.read_text() for path in (tmp_path / "received").iterdir()]
    assert len(scripts) == 2  # the stage's, and the step after it
    for script in scripts:
        _check_script(script, work)
        # A shell does as it is told: `srun` is a command of ours that does nothing.
        done = subprocess.run(
            ["bash", "-c", script], cwd=work, env=environment, capture_output=True, check=False
        )
        assert done.returncode == 0
    assert not list(tmp_path.rglob("pwned"))


def _check_script(script: str, work: Path) -> None:
    lines = [line for line in script.splitlines() if line and not line.startswith("#")]
    assert [line.split()[0] for line in lines] == ["export", "export", "srun"]
    words = shlex.split(lines[-1])
    assert str(work / FOLDER) in " ".join(words)
    said = [line for line in script.splitlines() if line.startswith("#SBATCH") and "touch" in line]
    assert all(len(shlex.split(line.removeprefix("#SBATCH "))) == 1 for line in said)


@pytest.mark.parametrize("option", ["partition", "constraint", "mem", "comment"])
def test_an_option_cannot_end_its_line(option: str) -> None:
    for text in ("x\ntouch pwned", "x\rtouch pwned", "x\0", "\n", "x\u2028touch pwned"):
        with pytest.raises(SlurmError, match="is no value"):
            Resources(options={option: text})


@pytest.mark.parametrize("name", ["a\nb", "a\rtouch pwned", "x\n#SBATCH --uid=0"])
def test_a_folder_whose_name_would_end_a_line_is_refused(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SlurmError, match="cannot be printed; move the experiment"):
        Submitter(tmp_path / name / "slurm", Resources(), "label")


@pytest.mark.parametrize("name", ["100%", "%j", "a%xb"])
def test_a_folder_whose_name_slurm_would_fill_in_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SlurmError, match="has a '%', which Slurm replaces"):
        Submitter(tmp_path / name / "slurm", Resources(), "label")


def test_the_label_of_jobs_is_plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.cluster import Chain, ClusterOptions

    monkeypatch.setattr(controller, "limits", lambda: Limits(array=1001, jobs=None))
    monkeypatch.setenv("PATH", "/nowhere")
    for name in (FOLDER, "--uid=0", "..a", "é"):
        chain = Chain(initialize(tmp_path / name, "smoke", ("architectures.number=3",)), ClusterOptions())
        label = chain._submitter._label
        assert label
        assert shlex.quote(label) == label
        assert label[0] not in "-."


def test_a_written_file_replaces_a_link_and_not_what_it_points_at(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("theirs")
    link = tmp_path / "link.json"
    link.symlink_to(outside)
    durable.write_json(link, {"ours": 1})
    assert outside.read_text() == "theirs"
    assert not link.is_symlink()


def test_nothing_reads_the_whole_environment() -> None:
    """No list of variables can get into a log or a provenance that nobody can name."""
    root = Path(controller.__file__).parents[1]
    for package in ("pipeline", "slurm", "stages", "storage_schema"):
        for path in (root / package).rglob("*.py"):
            text = path.read_text()
            for use in ("dict(os.environ", "os.environ.items", "os.environ.copy", "json.dumps(os.environ"):
                assert use not in text, path


def test_a_job_is_described_without_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "srun").write_text("#!/bin/sh\n")
    (tmp_path / "srun").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PASSWORD", SECRET)
    job = Job(tasks=[lambda index: 0] * 2, stage="collect", indices=[[0], [1]])
    assert SECRET not in Submitter(tmp_path / "slurm", Resources(), "label").script(job)
