"""A Slurm of two nodes on this machine, for a test: its own key, ports and folder, and no process left behind.

It is Debian's ``slurm-wlm`` and ``munge``. Every daemon runs in the foreground as a child of the test; the nodes are
two `slurmd` under the names ``n1`` and ``n2``. Nodes are said to have more cores, memory and GPUs than the machine, so
that the scripts of ``training/slurm`` are accepted as they are; the jobs train on the CPU.
"""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import psutil

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue", "scancel")
#: Where Debian puts daemons, which the PATH of a user may lack.
SYSTEM = ("/usr/sbin", "/sbin")
#: A step's credential lives so many seconds; a requeued job waits for as long before it starts again.
CREDENTIAL_SECONDS = 10
#: Between the warning to a preempted job and its end.
GRACE_SECONDS = 60

CONFIGURATION = """
ClusterName=relapet
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire={seconds}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MinJobAge=7200
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,sched_min_interval=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
KillWait=5
GresTypes=gpu
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=16 RealMemory=262144 Gres=gpu:4
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=16 RealMemory=262144 Gres=gpu:4
PartitionName=low Nodes=n1,n2 Default=YES PriorityTier=1 GraceTime={grace} State=UP
PartitionName=high Nodes=n1,n2 PriorityTier=10 PreemptMode=OFF State=UP
"""


class Unavailable(Exception):
    """There is no Slurm here, for a reason that the test tells."""


class Cluster:
    """A running Slurm; a context manager.

    Raises:
        Unavailable: a program is missing, munge does not start, or the nodes do not come up. The reason has the
            daemon's last words.
    """

    def __init__(self):
        path = os.pathsep.join([os.environ.get("PATH", ""), *SYSTEM])
        self.programs = {name: shutil.which(name, path=path) for name in PROGRAMS}
        if missing := [name for name, where in self.programs.items() if where is None]:
            raise Unavailable(f"no {', '.join(missing)}: install Debian's slurm-wlm and munge")
        # Not pytest's folder: munge wants every folder above its socket to be open to all users.
        self.folder = Path(tempfile.mkdtemp(prefix="relapet-slurm-"))
        self.folder.chmod(0o755)
        self.env = {**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf")}
        self.daemons: list[subprocess.Popen] = []

    def __enter__(self) -> Cluster:
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _start(self) -> None:
        folder = self.folder
        (folder / "state").mkdir()
        key = folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o600)
        munge = {name: folder / f"munge.{name}" for name in ("socket", "pid", "log", "seed")}
        self._daemon(
            "munged", "--foreground", "--force", f"--key-file={key}", f"--socket={munge['socket']}",
            f"--pid-file={munge['pid']}", f"--log-file={munge['log']}", f"--seed-file={munge['seed']}",
        )  # fmt: skip
        self._wait(munge["socket"].exists, 20, "munged")
        text = CONFIGURATION.format(
            host=socket.gethostname().split(".")[0], user=getpass.getuser(), folder=folder, ports=free_ports(3),
            seconds=CREDENTIAL_SECONDS, grace=GRACE_SECONDS,
        )  # fmt: skip
        (folder / "slurm.conf").write_text(text)
        for number in range(4):  # Slurm wants a file for each GPU, and looks no further
            (folder / f"gpu{number}").touch()
        (folder / "gres.conf").write_text(f"AutoDetect=off\nNodeName=n[1-2] Name=gpu File={folder}/gpu[0-3]\n")
        (folder / "cgroup.conf").write_text("CgroupAutomount=no\n")
        self._daemon("slurmctld", "-D", "-f", str(folder / "slurm.conf"))
        for node in ("n1", "n2"):
            (folder / f"spool-{node}").mkdir()
            self._daemon("slurmd", "-D", "-N", node, "-f", str(folder / "slurm.conf"), log=node)
        self._wait(lambda: self.states() == {"n1": "idle", "n2": "idle"}, 60, "slurmctld")

    def _daemon(self, program: str, *words: str, log: str = "") -> None:
        with open(self.folder / f"{log or program}.txt", "ab") as told:
            # The folder of the configuration in the environment marks everything that this Slurm starts.
            self.daemons.append(
                subprocess.Popen([self.programs[program], *words], env=self.env, stdout=told, stderr=told)
            )

    def _wait(self, reached, seconds: float, program: str) -> None:
        until = time.monotonic() + seconds
        while not reached():
            dead = [daemon for daemon in self.daemons if daemon.poll() is not None]
            if dead or time.monotonic() > until:
                raise Unavailable(f"{program} does not start here: {self.words()}")
            time.sleep(0.1)

    def words(self) -> str:
        """The last lines of the daemons."""
        logs = [*self.folder.glob("*.txt"), *self.folder.glob("*.log")]
        return " | ".join(f"{log.name}: {log.read_text(errors='replace')[-800:]}" for log in sorted(logs))

    def states(self) -> dict[str, str]:
        """State of every node by its name."""
        done = subprocess.run(
            [shutil.which("sinfo"), "--noheader", "--Node", "--format=%N %t", "--partition=high"],
            env=self.env, capture_output=True, text=True,
        )  # fmt: skip
        return dict(line.split() for line in done.stdout.splitlines() if len(line.split()) == 2)

    def call(self, program: str, *words: str, env: dict[str, str] | None = None, cwd: Path | None = None) -> str:
        """What one of Slurm's programs prints."""
        done = subprocess.run(
            [self.programs[program], *words], env={**self.env, **(env or {})}, cwd=cwd, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{program}: {done.stderr}"
        return done.stdout.strip()

    def queue(self) -> dict[str, str]:
        """State of every job that is not over, by its number."""
        return dict(line.split() for line in self.call("squeue", "--noheader", "--format=%i %t").splitlines())

    def facts(self, job: str) -> dict[str, str]:
        """What Slurm says of a job, also after its end."""
        words = self.call("scontrol", "--oneliner", "show", "job", job).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def close(self) -> None:
        """Cancel every job, stop the daemons, and end whatever they left."""
        if len(self.daemons) > 1:
            user = getpass.getuser()
            subprocess.run([self.programs["scancel"], "--user", user], env=self.env, capture_output=True, timeout=30)
        for daemon in reversed(self.daemons[1:]):
            stop(daemon)
        for process in self.family():
            process.kill()
        for daemon in self.daemons[:1]:
            stop(daemon)
        shutil.rmtree(self.folder, ignore_errors=True)

    def family(self) -> list[psutil.Process]:
        """Processes, but munge, that have this Slurm's configuration in their environment."""
        mine, found = self.env["SLURM_CONF"], []
        known = {os.getpid(), *(daemon.pid for daemon in self.daemons[:1])}
        for process in psutil.process_iter():
            try:
                if process.pid not in known and process.environ().get("SLURM_CONF") == mine:
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return found


def stop(daemon: subprocess.Popen) -> None:
    """End a child, by force where it does not end by itself."""
    daemon.terminate()
    try:
        daemon.wait(15)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens at, below those that the system gives to outgoing connections."""
    found: list[int] = []
    for port in range(26000 + os.getpid() % 4000, 32000):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                found.append(port)
        if len(found) == count:
            return found
    raise Unavailable("no free ports between 26000 and 32000")
