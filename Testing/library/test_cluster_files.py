"""The recipes of `cluster/`: containers, the array's script, and what BABS asks for. None is built here.

hadolint looks at the Dockerfile, shellcheck at the scripts and at what is shell in the Apptainer recipe.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from RelAPETLib import __version__
from RelAPETLib.cli.parser import build_parser

ROOT = Path(__file__).resolve().parents[2]
CLUSTER = ROOT / "cluster"
INSTRUCTIONS = {"FROM", "COPY", "WORKDIR", "RUN", "ENV", "USER", "ENTRYPOINT"}
#: Of BABS 0.5.4, `dict_cluster_systems.yaml` and `container.py`.
BABS_RESOURCES = {"interpreting_shell", "hard_memory_limit", "soft_memory_limit", "temporary_disk_space",
                  "number_of_cpus", "hard_runtime_limit", "customized_text"}  # fmt: skip
BABS_SECTIONS = {"input_datasets", "cluster_resources", "script_preamble", "job_compute_space", "zip_foldernames"}


def linted(name: str, *arguments: str, text: str | None = None) -> str:
    """What a linter finds fault with; nothing where all is well."""
    program = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if program is None:
        pytest.skip(f"{name} is not installed")
    done = subprocess.run([program, *arguments], input=text, capture_output=True, text=True)
    return done.stdout + done.stderr


def docker_lines() -> list[tuple[str, str]]:
    """Instructions of the Dockerfile and what follows each."""
    text = re.sub(r"\\\n\s*", "", (CLUSTER / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [tuple(line.split(" ", 1)) for line in lines]


def sections() -> dict[str, list[str]]:
    """Sections of the Apptainer recipe; its header under an empty name."""
    found, name = {"": []}, ""
    for line in (CLUSTER / "relapet.def").read_text().splitlines():
        if line.startswith("%"):
            name = line[1:].strip()
            found[name] = []
        elif line.strip():
            found[name].append(line.strip())
    return found


def test_dockerfile_is_sound():
    lines = docker_lines()
    assert lines[0][0] == "FROM" and {name for name, _ in lines} <= INSTRUCTIONS
    assert re.fullmatch(r"debian:[a-z]+-slim", lines[0][1])  # a named release, not whatever is the latest
    content = dict(lines)
    assert content["USER"] != "root" and content["ENTRYPOINT"].startswith("[")
    assert [name for name, _ in lines].index("USER") > [name for name, _ in lines].index("RUN")


def test_hadolint_finds_no_fault_with_the_dockerfile():
    assert linted("hadolint", str(CLUSTER / "Dockerfile")) == ""
    bad = (CLUSTER / "Dockerfile").read_text().replace("bookworm-slim", "latest")
    assert "DL3007" in linted("hadolint", "-", text=bad), "it does find fault where there is one"


@pytest.mark.parametrize("name", ["post", "environment", "runscript", "test"])
def test_shellcheck_finds_no_fault_with_the_apptainer_recipe(name):
    """Apptainer runs each by sh, ended by the first error; SC2155 is of a command in an export that could fail."""
    text = "\n".join(["#!/bin/sh -e", *sections()[name], ""])
    assert linted("shellcheck", "--exclude=SC2155", "-", text=text) == ""
    assert "SC2086" in linted("shellcheck", "-", text=f"{text}cd $1\n"), "it does find fault where there is one"


def test_both_recipes_are_the_same_steps_and_ci_run_has_them():
    """`.ci/run install` is all that either does, and every run of the tests begins with it."""
    docker, apptainer = docker_lines(), sections()
    (run,) = [rest for name, rest in docker if name == "RUN"]
    steps = ["cd /opt/relapet", *(step.strip() for step in run.split("&&"))]
    assert apptainer["post"] == steps == ["cd /opt/relapet", ".ci/run install", steps[-1]]
    assert steps[-1].startswith("rm -rf /var/lib/apt/lists")
    assert apptainer[""] == ["Bootstrap: docker", f"From: {docker[0][1]}"]
    assert ("COPY", ". /opt/relapet") in docker and apptainer["files"] == [". /opt/relapet"]
    assert apptainer["runscript"] == ['exec /opt/relapet/.venv/bin/relapet bids "$@"']
    assert dict(docker)["ENTRYPOINT"] == '["/opt/relapet/.venv/bin/relapet", "bids"]'
    assert "export OMP_NUM_THREADS=1" in apptainer["environment"] and "OMP_NUM_THREADS=1" in dict(docker)["ENV"]
    script = (ROOT / ".ci" / "run").read_text()
    install, stop, tests = (script.index(words) for words in ("make install\n", "== install ]]", "make test\n"))
    assert install < stop < tests


@pytest.mark.parametrize("script", [".ci/run", "cluster/slurm_array.sh"])
def test_scripts_are_bash(script):
    subprocess.run(["bash", "-n", str(ROOT / script)], check=True)
    assert linted("shellcheck", "--severity=warning", str(ROOT / script)) == ""


def array(first: int, last: int, count: int, number: int, **more: str) -> dict[str, str]:
    """What a job of an array sees of it."""
    facts = {"MIN": first, "MAX": last, "COUNT": count, "ID": number}
    return {**{f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in facts.items()}, **more}


def array_job(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess:
    """The array's script, which prints the command in place of running it."""
    env = {"PATH": "/usr/bin:/bin", "RELAPET_COMMAND": "printf %s\\n", **environment}
    return subprocess.run(["bash", str(CLUSTER / "slurm_array.sh"), *words], env=env, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("environment", "share"),
    [({}, "1/1"), (array(1, 40, 40, 3), "3/40"), (array(3, 7, 2, 3, RELAPET_SHARES="40"), "3/40")],
)
def test_array_script_gives_each_job_its_share(environment, share):
    words = array_job(environment, "/a b", "/out", "--tracer", "all").stdout.splitlines()
    assert words == ["/a b", "/out", "participant", "--skip-bids-validation", "--share", share, "--tracer", "all"]
    assert build_parser().parse_args(["bids", *words]).share == share
    assert array_job(environment).returncode == 2


@pytest.mark.parametrize("indices", [(0, 39, 40, 3), (1, 39, 20, 3), (3, 7, 2, 3), (3, 3, 1, 3)])
def test_array_script_refuses_an_array_that_leaves_people_out(indices):
    """Of 0-39, of 1-40:2, and of a few jobs again without the number of shares."""
    done = array_job(array(*indices), "/in", "/out")
    assert (done.returncode, done.stdout) == (2, "") and "RELAPET_SHARES=N" in done.stderr


def test_array_script_keeps_its_arguments_from_the_environment(tmp_path):
    """`source .../bin/activate` without a name would take those of whoever sources it."""
    file = tmp_path / "environment of mine.sh"
    file.write_text('[ $# -eq 0 ] || RELAPET_COMMAND="echo taken:"\n')
    done = array_job({"RELAPET_ENVIRONMENT": str(file)}, "/in", "/out", "--tracer", "a b")
    assert done.returncode == 0 and done.stdout.splitlines()[:2] == ["/in", "/out"], done
    assert done.stdout.splitlines()[-2:] == ["--tracer", "a b"]
    missing = array_job({"RELAPET_ENVIRONMENT": str(tmp_path / "none.sh")}, "/in", "/out")
    assert missing.returncode == 2 and "no such file on this node" in missing.stderr


SLURM_SCRIPTS = ("cluster/slurm_array.sh", "training/slurm/one_node.sh", "training/slurm/array.sh")


def environment_job(script: str, folder: Path, text: str) -> subprocess.CompletedProcess:
    """A job script with an environment file, and with commands that print a variable in place of working."""
    (folder / "environment.sh").write_text(text)
    (folder / "srun").write_text('#!/bin/sh\necho "mark=$MARK" "$@"\n')
    (folder / "srun").chmod(0o755)
    (folder / "runs").write_text("name seed=1\n")
    env = {"PATH": f"{folder}:/usr/bin:/bin", "RELAPET_COMMAND": "srun", "SLURM_ARRAY_TASK_ID": "1"}
    env |= {"RELAPET_ENVIRONMENT": str(folder / "environment.sh"), "TMPDIR": str(folder)}
    command = ["bash", str(ROOT / script), str(folder / "runs"), "out", "a=b c"]
    return subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize("script", SLURM_SCRIPTS)
def test_environment_files_work_or_end_the_job(script, tmp_path):
    """What `export -p` writes reaches the command; a failed `module load` is no environment to work in."""
    done = environment_job(script, tmp_path, '[ $# -eq 0 ] || exit 9\ndeclare -x MARK="of mine"\n')
    assert done.returncode == 0 and "mark=of mine" in done.stdout and "a=b c" in done.stdout, done
    failed = environment_job(script, tmp_path, "no_such_module load relapet\n")
    assert (failed.returncode, failed.stdout) == (2, "") and "its last command failed; end it" in failed.stderr
    assert f"RELAPET_ENVIRONMENT={tmp_path}/environment.sh" in failed.stderr
    assert environment_job(script, tmp_path, 'false\n[ -n "$NONE" ] && MARK=1\ntrue\n').returncode == 0


def test_babs_finds_what_it_asks_for():
    config = yaml.safe_load((CLUSTER / "babs.yaml").read_text())
    assert BABS_SECTIONS <= config.keys()
    assert config["cluster_resources"].keys() <= BABS_RESOURCES
    for dataset in config["input_datasets"].values():
        assert {"required_files", "is_zipped", "origin_url", "path_in_babs"} == dataset.keys()
    (name, version), *others = config["zip_foldernames"].items()
    assert not others and config["all_results_in_one_zip"] is True  # one folder: BABS makes outputs/relapet
    assert (name, version) == ("relapet", __version__.replace(".", "-"))


def test_babs_calls_us_with_options_that_there_are():
    """As `bids_app_args_from_config` of BABS puts them together: positions, options, then the person."""
    options = yaml.safe_load((CLUSTER / "babs.yaml").read_text())["bids_app_args"]
    person = options.pop("$SUBJECT_SELECTION_FLAG")
    assert all(isinstance(value, str) for value in options.values())  # BABS asks each value how it starts
    given = [word for key, value in options.items() for word in (key, *([value] if value else []))]
    arguments = build_parser().parse_args(["bids", "/in", "/out/relapet", "participant", *given, person, "sub-01"])
    assert arguments.participant_label == ["sub-01"] and arguments.skip_bids_validation


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        (("--jobs", "3"), "jobs", 3),
        (("--nprocs", "3"), "jobs", 3),
        (("--n_cpus", "3"), "jobs", 3),
        (("--participant-label", "1", "2"), "participant_label", ["1", "2"]),
        (("--participant_label", "1", "--participant_label", "2"), "participant_label", ["1", "2"]),
        (("--session-label", "a", "b"), "session_label", ["a", "b"]),
        (("--session-id", "a"), "session_label", ["a"]),
        (("-w", "work"), "work_dir", Path("work")),
        (("--work-dir", "work"), "work_dir", Path("work")),
        (("--skip_bids_validation",), "skip_bids_validation", True),
        (("--tracer", "TAU", "PIB"), "tracer", ["TAU", "PIB"]),
    ],
)
def test_options_have_the_names_that_other_bids_apps_give_them(words, name, value):
    found = getattr(build_parser().parse_args(["bids", "in", "out", "participant", *words]), name)
    assert type(value)(found) == value
