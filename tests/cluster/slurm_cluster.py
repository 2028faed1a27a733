"""A real Slurm cluster of four nodes on this machine, for tests: `python slurm_cluster.py start | stop | status`.

Everything it writes is in `HOME`, but for the daemons' sockets under /run. Starting again starts what is missing.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

HOME: Final = Path("/var/lib/nap2-test-cluster")
CONF: Final = HOME / "slurm.conf"
NODES: Final = ("node1", "node2", "node3", "node4")
PACKAGES: Final = (
    "munge",
    "slurm-client",
    "slurmctld",
    "slurmd",
    "slurmdbd",
    "mariadb-server",
)
COMMANDS: Final = ("munged", "slurmctld", "slurmd", "slurmdbd", "mariadbd", "sbatch")

SLURM_CONF: Final = """\
ClusterName=lab
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort=16817
SlurmUser=slurm
AuthType=auth/munge
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
# Also the wait of a requeued job before it may start; to be kept above KillWait + 5.
AuthInfo=cred_expire=12
CredType=cred/munge
MailProg=/bin/true
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SlurmctldPidFile={home}/run/slurmctld.pid
SlurmdPidFile={home}/run/slurmd.%n.pid
StateSaveLocation={home}/state
SlurmdSpoolDir={home}/spool/%n
SlurmctldLogFile={home}/log/slurmctld.log
SlurmdLogFile={home}/log/slurmd.%n.log
SlurmdParameters=config_overrides
ReturnToService=2
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,bf_interval=2,sched_interval=5
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=600
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
MaxArraySize={max_array_size}
MaxJobCount=20000
SlurmctldParameters={parameters}
MessageTimeout=10
KillWait=5
SlurmdTimeout=10
AccountingStorageType=accounting_storage/{accounting}
AccountingStorageHost=localhost
AccountingStoragePort=16819
JobAcctGatherType=jobacct_gather/{gather}
JobAcctGatherFrequency=5
JobAcctGatherParams=OverMemoryKill
GresTypes=gpu
NodeName=node[1-2] Port=[17001-17002] Gres=gpu:gtx1080:2 Feature=gtx1080,pascal NodeHostname={host} \
NodeAddr=127.0.0.1 CPUs=4 Boards=1 SocketsPerBoard=1 CoresPerSocket=4 ThreadsPerCore=1 RealMemory=4000
NodeName=node[3-4] Port=[17003-17004] Gres=gpu:a100:2 Feature=a100,ampere NodeHostname={host} \
NodeAddr=127.0.0.1 CPUs=4 Boards=1 SocketsPerBoard=1 CoresPerSocket=4 ThreadsPerCore=1 RealMemory=4000
PartitionName=main Nodes=ALL Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime=5 MaxTime=INFINITE State=UP
PartitionName=gtx1080 Nodes=node[1-2] PriorityTier=1 PreemptMode=REQUEUE GraceTime=5 MaxTime=INFINITE State=UP
PartitionName=nograce Nodes=ALL PriorityTier=1 PreemptMode=REQUEUE GraceTime=0 MaxTime=INFINITE State=UP
PartitionName=cancel Nodes=ALL PriorityTier=1 PreemptMode=CANCEL GraceTime=5 MaxTime=INFINITE State=UP
PartitionName=urgent Nodes=ALL PriorityTier=100 PreemptMode=OFF MaxTime=INFINITE State=UP
"""
GRES_CONF: Final = """\
AutoDetect=off
NodeName=node[1-2] Name=gpu Type=gtx1080 File={home}/gpu/gpu[0-1]
NodeName=node[3-4] Name=gpu Type=a100 File={home}/gpu/gpu[0-1]
"""
SLURMDBD_CONF: Final = """\
AuthType=auth/munge
DbdHost=localhost
DbdPort=16819
SlurmUser=slurm
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=slurm
StorageLoc=slurm_acct_db
PidFile={home}/run/slurmdbd.pid
LogFile={home}/log/slurmdbd.log
"""
SQL: Final = """\
CREATE USER IF NOT EXISTS slurm@localhost IDENTIFIED VIA unix_socket;
CREATE DATABASE IF NOT EXISTS slurm_acct_db;
GRANT ALL ON slurm_acct_db.* TO slurm@localhost;
"""
DATABASE_SOCKET: Final = "/run/mysqld/mysqld.sock"


def install() -> None:
    """Install the Debian packages that are missing."""
    if all(shutil.which(command, path=_path()) for command in COMMANDS):
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise SystemExit(
            f"the test cluster needs root and Debian's packages {' '.join(PACKAGES)}; install them"
        )
    _run(["apt-get", "update", "-q"])
    _run(["apt-get", "install", "-q", "-y", "--no-install-recommends", *PACKAGES])


def start(*, accounting: bool = True, max_array_size: int = 1001, user_signal: bool = True) -> None:
    """Start what is missing and wait until all nodes take jobs; another configuration restarts the controller.

    Args:
        accounting: Run slurmdbd and its database.
        max_array_size: Slurm's MaxArraySize.
        user_signal: Whether preemption sends the job its `--signal` first.
    """
    install()
    _folders()
    changed = _configure(accounting, max_array_size, user_signal)
    _munge()
    if accounting:
        _database()
    if changed:
        for daemon in ("slurmctld", *(f"slurmd.{node}" for node in NODES)):
            _stop_pid(daemon)
    if not _alive("slurmctld"):
        _run(["slurmctld"])
    for node in NODES:
        start_node(node)
    _wait_for(_ready, 60, "the nodes to be idle")


def stop() -> None:
    """Stop every daemon and remove everything written."""
    for node in NODES:
        cut_node(node)
    for daemon in ("slurmctld", "slurmdbd", "mariadbd"):
        _stop_pid(daemon)
    shutil.rmtree(HOME, ignore_errors=True)


def start_node(node: str) -> None:
    """Start a node's daemon if it is not there, and resume the node."""
    if not _alive(f"slurmd.{node}"):
        _run(["slurmd", "-N", node])
    # A node that is up has nothing to resume, and Slurm says so: no failure.
    subprocess.run(
        ["scontrol", "update", f"nodename={node}", "state=resume"],
        env=environment(),
        capture_output=True,
        check=False,
    )


def cut_node(node: str) -> None:
    """Kill a node's daemon, step daemons and tasks at once, as a power cut does; Slurm notices later."""
    listing = subprocess.run(["ss", "-xlp"], capture_output=True, text=True, check=False).stdout
    spool = str(HOME / "spool" / node)
    steps = {
        int(word.partition(",")[0])
        for line in listing.splitlines()
        if f"{spool}/" in line
        for word in line.split("pid=")[1:]
    }
    pids = [pid for step in steps for pid in (step, *_descendants(step))]
    daemon = _pid(f"slurmd.{node}")
    for pid in [*([daemon] if daemon else []), *pids]:
        _kill(pid, signal.SIGKILL)
    for left in (HOME / "spool" / node).glob(f"*{node}_*"):
        if left.is_socket():
            left.unlink(missing_ok=True)


def cut_daemon(node: str) -> None:
    """Kill a node's daemon alone: its tasks go on, and the controller takes the node for dead."""
    pid = _pid(f"slurmd.{node}")
    if pid is not None:
        _kill(pid, signal.SIGKILL)


def stop_controller() -> None:
    """Stop slurmctld; nodes and their tasks go on."""
    _stop_pid("slurmctld")


def environment() -> dict[str, str]:
    """Return the environment in which Slurm's commands talk to this cluster."""
    return {**os.environ, "SLURM_CONF": str(CONF), "PATH": _path()}


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def _folders() -> None:
    for name in ("run", "state", "log", "spool", "gpu"):
        (HOME / name).mkdir(parents=True, exist_ok=True)
    for name in ("run", "state", "log"):
        shutil.chown(HOME / name, "slurm", "slurm")
    for node in NODES:
        (HOME / "spool" / node).mkdir(exist_ok=True)
    for number in (0, 1):
        device = HOME / "gpu" / f"gpu{number}"
        if not device.exists():
            os.mknod(device, 0o020666, os.makedev(1, 3))


def _configure(accounting: bool, max_array_size: int, user_signal: bool) -> bool:
    """Write the configuration; returns whether it is another one than before."""
    values = {
        "host": socket.gethostname().partition(".")[0],
        "home": str(HOME),
        "max_array_size": max_array_size,
        "parameters": "preempt_send_user_signal" if user_signal else "idle_on_node_suspend",
        "accounting": "slurmdbd" if accounting else "none",
        "gather": "linux" if accounting else "none",
    }
    text = SLURM_CONF.format(**values)
    changed = not CONF.exists() or CONF.read_text() != text
    CONF.write_text(text)
    (HOME / "gres.conf").write_text(GRES_CONF.format(**values))
    database = HOME / "slurmdbd.conf"
    database.write_text(SLURMDBD_CONF.format(**values))
    database.chmod(0o600)
    shutil.chown(database, "slurm", "slurm")
    return changed


def _munge() -> None:
    if _works(["munge", "-n"]):
        return
    _run(["install", "-d", "-o", "munge", "-g", "munge", "-m", "755", "/run/munge"])
    if not Path("/etc/munge/munge.key").exists():
        _run(["runuser", "-u", "munge", "--", "mungekey", "--create"])
    _run(["runuser", "-u", "munge", "--", "/usr/sbin/munged"])
    _wait_for(lambda: _works(["munge", "-n"]), 30, "munged")


def _database() -> None:
    data = HOME / "mysql"
    if not data.exists():
        made = data.with_name("mysql.partial")  # an installation that ended halfway is no database
        shutil.rmtree(made, ignore_errors=True)
        _run(["mariadb-install-db", "--user=mysql", f"--datadir={made}", "--skip-test-db"])
        made.rename(data)
    client = ["mariadb", f"--socket={DATABASE_SOCKET}", "-e"]
    if not _works([*client, "SELECT 1"]):
        # A server that was killed leaves its socket, which is there and which nobody listens to.
        Path(DATABASE_SOCKET).unlink(missing_ok=True)
        _run(["install", "-d", "-o", "mysql", "-g", "mysql", "/run/mysqld"])
        command = ["/usr/sbin/mariadbd", "--no-defaults", "--user=mysql", "--skip-networking"]
        command += [f"--datadir={data}", f"--socket={DATABASE_SOCKET}", "--innodb-buffer-pool-size=32M"]
        log, pid = HOME / "log" / "mariadbd.log", HOME / "run" / "mariadbd.pid"
        _run(["sh", "-c", f"setsid {' '.join(command)} >> {log} 2>&1 & echo $! > {pid}"])
        _wait_for(lambda: _works([*client, "SELECT 1"]), 60, "the database")
    if not _alive("slurmdbd"):
        _run([*client, SQL])
        _run(["runuser", "-u", "slurm", "--", "/usr/sbin/slurmdbd"])
        _wait_for(lambda: _works(["sacctmgr", "-n", "list", "cluster"]), 30, "slurmdbd")
    if not _output(["sacctmgr", "-nP", "list", "cluster", "lab"]):
        _run(["sacctmgr", "-i", "add", "cluster", "lab"])


def _ready() -> bool:
    states = _output(["sinfo", "-h", "-N", "-p", "main", "-o", "%N %T"]).split("\n")
    return len(states) == len(NODES) and all(
        state.split()[-1] in ("idle", "mixed", "allocated") for state in states
    )


def _output(command: Sequence[str]) -> str:
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _works(command: Sequence[str]) -> bool:
    return subprocess.run(command, env=environment(), capture_output=True, check=False).returncode == 0


def _run(command: Sequence[str]) -> None:
    """Run a command that may leave a daemon behind, which must not hold a pipe of ours."""
    log = HOME / "log" / "start.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    quiet = {**environment(), "DEBIAN_FRONTEND": "noninteractive"}
    quiet.pop("TMPDIR", None)  # it may be closed to the daemons' users
    with log.open("ab") as out:
        done = subprocess.run(
            command, env=quiet, stdout=out, stderr=out, stdin=subprocess.DEVNULL, check=False
        )
    if done.returncode:
        tail = log.read_text(errors="replace")[-2000:]
        raise SystemExit(f"`{' '.join(command)}` failed with {done.returncode}: {tail}")


def _pid(daemon: str) -> int | None:
    """Return the process of a pid file, if it is alive, no zombie and not another program's since."""
    try:
        pid = int((HOME / "run" / f"{daemon}.pid").read_text())
        name, _, rest = Path(f"/proc/{pid}/stat").read_text().partition("(")[2].rpartition(")")
    except (OSError, ValueError):
        return None
    ours = name == daemon.partition(".")[0] and rest.split()[0] not in "ZX"
    return pid if ours else None


def _alive(daemon: str) -> bool:
    return _pid(daemon) is not None


def _stop_pid(daemon: str) -> None:
    pid = _pid(daemon)
    if pid is None:
        return
    _kill(pid, signal.SIGTERM)
    try:
        _wait_for(lambda: _pid(daemon) is None, 20, f"{daemon} to stop")
    except TimeoutError:
        _kill(pid, signal.SIGKILL)


def _kill(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _descendants(pid: int) -> list[int]:
    listing = _output(["ps", "-eo", "pid=,ppid="]).split("\n")
    children: dict[int, list[int]] = {}
    for line in listing:
        child, parent = map(int, line.split())
        children.setdefault(parent, []).append(child)
    found, todo = [], [pid]
    while todo:
        todo = [child for parent in todo for child in children.get(parent, [])]
        found += todo
    return found


def _wait_for(condition, seconds: float, what: str) -> None:  # type: ignore[no-untyped-def]
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.2)


def main() -> None:
    """Do what the command line says."""
    command = sys.argv[1] if len(sys.argv) > 1 else ""
    if command == "start":
        start()
        print(f"export SLURM_CONF={CONF}")
    elif command == "stop":
        stop()
    elif command == "status":
        print(_output(["sinfo", "-N", "-l"]) or "no controller answers")
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main()
