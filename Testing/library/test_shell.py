"""What surrounds a run does not change how it ends: full disks, closed streams, no home, names with odd bytes."""

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from RelAPETLib.cli import main
from RelAPETLib.notices import printable

ROOT = Path(__file__).resolve().parents[2]
ODD = b"d\xff\x1b[31m\xe2\x80\xae"
posix = pytest.mark.skipif(os.name == "nt", reason="POSIX shell and descriptors")


def shell(words, home, **environment):
    """`relapet` (in `words`, a line of a shell) as a real child process."""
    line = words.replace("relapet", f'"{sys.executable}" -m RelAPETLib')
    full = os.environ | {"RELAPET_HOME": str(home)} | environment
    return subprocess.run(["bash", "-c", line], capture_output=True, cwd=ROOT, env=full, timeout=120)


@pytest.fixture
def full_device():
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")


@posix
@pytest.mark.parametrize("options", ["models list", "models list --progress json", "--help"])
def test_a_result_that_cannot_be_printed_is_told(options, full_device, tmp_path):
    result = shell(f"relapet {options} > /dev/full", tmp_path)
    assert result.returncode == 2 and result.stderr.count(b"\n") == 1
    assert b"the result could not be printed (No space left on device)" in result.stderr


@posix
@pytest.mark.parametrize("streams", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_change_nothing(streams, tmp_path):
    result = shell(f"relapet models list {streams}", tmp_path)
    assert result.returncode == 0 and result.stderr == b""
    assert (b"rela-diffusion" in result.stdout) == (streams == "2>&-")


@posix
def test_messages_into_a_full_disk_are_lost_alone(full_device, tmp_path):
    assert shell("relapet models show nothing > /dev/full 2> /dev/full", tmp_path).returncode == 2


@posix
def test_a_full_home_changes_nothing(tmp_path):
    """RLIMIT_FSIZE stands for a full disk: what is written to the log fails, in the middle and at the close."""
    line = "ulimit -f 0; relapet models list"
    result = shell(line, tmp_path)
    assert result.returncode == 0, result.stderr
    assert b"rela-diffusion" in result.stdout and result.stderr == b""
    assert (tmp_path / "logs" / "relapet.log").stat().st_size == 0, "the limit did not bite"


@posix
def test_a_message_that_is_no_text_is_logged_and_ends(tmp_path):
    """The log's own failure was once logged, without end."""
    result = shell("relapet models show $'x\\xff\\x1b[31m\\u202e'", tmp_path)
    assert result.returncode == 2 and result.stderr.count(b"\n") == 1
    assert rb"no model 'x\xff\x1b[31m\u202e'" in result.stderr
    log = (tmp_path / "logs" / "relapet.log").read_bytes()
    assert rb"no model 'x\xff\x1b[31m\u202e'" in log and b"\x1b" not in log


_NOBODY = """
import os, pwd, sys
def unknown(*_):
    raise KeyError("getpwuid(): uid not found")
pwd.getpwuid = unknown  # a user whom the system does not know, as in many containers
for name in ("HOME", "RELAPET_HOME", "XDG_DATA_HOME", "USER", "LOGNAME", "LNAME", "USERNAME"):
    os.environ.pop(name, None)
from RelAPETLib.cli import main
sys.exit(main(sys.argv[1:]))
"""


def nobody(*arguments, **environment):
    command = [sys.executable, "-c", _NOBODY, *map(os.fsencode, arguments)]
    return subprocess.run(command, capture_output=True, cwd=ROOT, env=os.environ | environment, timeout=300)


@posix
def test_a_user_without_a_home(tmp_path):
    result = nobody("models", "list")
    assert result.returncode == 0 and b"rela-diffusion" in result.stdout and result.stderr == b""
    result = nobody("models", "fetch", "rela-diffusion", "--from-file", tmp_path)
    assert result.returncode == 2 and result.stderr.count(b"\n") == 1
    assert b"no home folder is known for this user; set RELAPET_HOME" in result.stderr


@posix
@pytest.mark.slow
def test_a_synthesis_without_home_name_or_temporary_folder_at_an_odd_place(tiny_latent, grid_case, tmp_path):
    place = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + ODD))
    try:
        place.mkdir()
    except OSError:
        pytest.skip("this file system takes no such names")
    for name in ("t1w", "t2f"):
        (place / f"{name}.nii.gz").write_bytes(grid_case[name].read_bytes())
    result = nobody(
        "synthesize", "--preprocessed", "--t1w", place / "t1w.nii.gz", "--t2f", place / "t2f.nii.gz", "--tracer", "TAU",
        "--model", tiny_latent, "--device", "cpu", "--steps", "1", "--samples", "1", "--out", place / "out",
        TMPDIR="/nowhere",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert rb"/d\xff\x1b[31m\u202e/out/synthetic_pet.nii.gz" in result.stdout and b"\x1b" not in result.stdout
    assert len(list((place / "out").iterdir())) == 4 and result.stderr == b""


@posix
def test_logs_are_for_their_owner_alone(tmp_path, capsys, monkeypatch):
    before = os.umask(0)
    try:
        monkeypatch.setenv("RELAPET_HOME", str(tmp_path / "home"))
        own = tmp_path / "own" / "log.txt"
        for extra in ([], ["--log-file", str(own)]):
            assert main(["models", "list", *extra]) == 0
        log = tmp_path / "home" / "logs" / "relapet.log"
        modes = [stat.S_IMODE(path.stat().st_mode) for path in (log.parent, log, own.parent, own)]
        assert modes == [0o700, 0o600, 0o700, 0o600]
        log.chmod(0o644)
        log.parent.chmod(0o755)
        assert main(["models", "list"]) == 0
        assert stat.S_IMODE(log.stat().st_mode) == 0o600 and stat.S_IMODE(log.parent.stat().st_mode) == 0o700
    finally:
        os.umask(before)


@posix
def test_a_log_file_that_nobody_reads_is_refused(tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe")
    assert main(["models", "list", "--log-file", str(tmp_path / "pipe")]) == 2
    assert "cannot write the log file" in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv",
    [
        ["models", "import", "a\0b"],
        ["models", "import", "x", "--out", "a\0b"],
        ["models", "verify", "a\0b"],
        ["phantom", "--subjects", "1", "--out", "a\0b"],
        ["synthesize", "--t1w", "a\0b", "--t2f", "x", "--tracer", "TAU", "--out", "x"],
        ["dicom", "--pet", "x", "--out", "x", "--source", "a\0b"],
        ["models", "list", "--log-file", "a\0b"],
    ],
    ids=lambda argv: " ".join(argv[:2]),
)
def test_a_nul_is_refused_in_every_option(argv, capsys):
    assert main(argv) == 2
    captured = capsys.readouterr()
    assert "holds a NUL character" in captured.err and captured.err.count("\n") == 1


def test_printable():
    assert printable("Zoë  /data/ß (1).nii") == "Zoë  /data/ß (1).nii"
    assert printable("a\x1b[2Jb\x07\n\x9b\u202ec\u2028\udcffd") == r"a\x1b[2Jb\x07\n\x9b\u202ec\u2028\xffd"


@posix
@pytest.mark.parametrize("mode", ["human", "json"])
def test_what_c_prints_goes_to_the_log(mode, tmp_path):
    """ITK writes to the descriptors themselves, past Python's streams."""
    code = (
        "import os, sys\nfrom RelAPETLib.cli import main, phantom\n"
        "def run(arguments, reporter):\n"
        "    os.write(1, b'C on stdout\\n'); os.write(2, b'C on stderr\\n'); print('Python')\n"
        "    os.system('echo a child')\n"
        "    reporter.progress(0.5, 'half')\n    reporter.result('phantom', {}, ['the result'])\n    return 0\n"
        "phantom.run = run\n"
        f"code = main(['phantom', '--subjects', '1', '--out', 'x', '--progress', '{mode}'])\n"
        "os.write(1, b'afterwards\\n'); sys.exit(code)"
    )
    environment = os.environ | {"RELAPET_HOME": str(tmp_path)}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=environment)
    assert result.returncode == 0 and result.stderr == ""
    if mode == "human":
        assert result.stdout == "the result\nafterwards\n"
    else:
        assert [line[:9] for line in result.stdout.splitlines()] == ['{"type": ', '{"type": ', "afterward"]
    log = (tmp_path / "logs" / "relapet.log").read_text()
    for words in ("C on stdout", "C on stderr", "printed: Python", "a child"):
        assert words in log


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(28, "No space left on device", "/tmp/x"), "the disk or folder for /tmp/x refuses more: No space"),
        (FileNotFoundError(2, "No usable temporary directory found in ['/x']"), "set TMPDIR"),
        (MemoryError(), "not enough memory"),
    ],
)
def test_what_the_system_refuses_is_no_bug(error, words, monkeypatch, capsys, tmp_path):
    def refuse(*_):
        raise error

    monkeypatch.setattr("RelAPETLib.cli.phantom.run", refuse)
    assert main(["phantom", "--subjects", "1", "--out", str(tmp_path / "o")]) == 2
    captured = capsys.readouterr()
    assert words in captured.err and captured.err.count("\n") == 1


@posix
def test_a_second_run_into_one_folder_is_refused_while_the_first_runs(tmp_path):
    """Two real processes; the first is held in its work until the second has ended."""
    code = (
        "import sys\nfrom RelAPETLib import phantom\nimport RelAPETLib.phantom.bids as bids\n"
        "from RelAPETLib.cli import main\n"
        "def slow(*_):\n    open(sys.argv[1] + '/busy', 'w').close()\n"
        "    sys.stdin.read()\n    raise KeyboardInterrupt\n"
        "bids.make_person = slow\n"
        "sys.exit(main(['phantom', '--subjects', '1', '--out', sys.argv[1] + '/out']))"
    )
    first = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    )
    while not (tmp_path / "busy").exists():
        assert first.poll() is None, first.stderr.read()
        time.sleep(0.01)
    for extra in ("", "--overwrite"):
        second = shell(f"relapet phantom --subjects 1 --out '{tmp_path}/out' {extra}", tmp_path / "home")
        assert second.returncode == 2 and second.stderr.count(b"\n") == 1
        assert b"another run is writing to" in second.stderr
    assert first.communicate(timeout=60)[1].startswith(b"relapet: error: interrupted")
    assert not (tmp_path / "out").exists()


@posix
@pytest.mark.slow
def test_kills_at_random_moments_lose_and_block_nothing():
    """A slice of Testing/benchmarks/robustness_kills.py, which ends 1 when anything was wrong."""
    command = [sys.executable, "Testing/benchmarks/robustness_kills.py", "--commands", "import", "--kills", "4"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "| models import | " in result.stdout


@pytest.mark.parametrize("program", ["RelAPETLib.cli import main; words = ['models', 'list']",
                                     "training.__main__ import main; words = ['methods']"])  # fmt: skip
@pytest.mark.parametrize(
    "own, wanted", [({}, "3000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, None)]
)
def test_waiting_threads_let_others_work_unless_the_user_has_chosen(own, wanted, program):
    """Set before torch is there, which reads it once; `Testing/benchmarks/busy_machine.py` has the times."""
    code = (
        f"import os, sys; from {program}; early = 'torch' not in sys.modules; main(words); "
        "print(early, os.environ.get('GOMP_SPINCOUNT'))"
    )
    rest = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_WAIT", "GOMP_"))}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=rest | own)
    assert result.stdout.splitlines()[-1] == f"True {wanted}", result.stderr
