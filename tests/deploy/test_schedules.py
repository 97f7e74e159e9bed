"""Files that start updates at intervals: well-formed, bounded in time, never two at once, without rights."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from tests.servers.slurm import slurm, why_not

from tailshard import cli

DEPLOY = Path(__file__).parents[2] / "deploy"
COMMANDS = {
    "kubernetes": DEPLOY / "kubernetes" / "base" / "cronjob.yaml",
    "scrontab": DEPLOY / "slurm" / "scrontab",
    "systemd": DEPLOY / "systemd" / "tailshard-update.service",
    "cron": DEPLOY / "cron" / "tailshard-update.cron",
}


@pytest.fixture(scope="module")
def cronjob() -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / "kubernetes" / "base" / "cronjob.yaml").read_text())


def _options(text: str) -> list[str]:
    return re.findall(r"(?<![\w-])--(?:workdir|data-root|workers|wait)\b", text)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_one_of_tailshard_update(name: str) -> None:
    used = _options(COMMANDS[name].read_text())
    known = {option for parameter in cli.main.commands["update"].params for option in parameter.opts}
    assert used
    assert set(used) <= known


def test_a_cron_job_never_overlaps_and_ends(cronjob: dict[str, Any]) -> None:
    assert (cronjob["apiVersion"], cronjob["kind"]) == ("batch/v1", "CronJob")
    spec = cronjob["spec"]
    assert spec["concurrencyPolicy"] == "Forbid"
    job = spec["jobTemplate"]["spec"]
    assert job["activeDeadlineSeconds"] > 0
    assert 0 <= job["backoffLimit"] <= 2
    assert job["template"]["spec"]["restartPolicy"] == "Never"


def test_a_cron_job_has_no_rights_and_writes_only_where_it_is_meant_to(cronjob: dict[str, Any]) -> None:
    pod = cronjob["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    (container,) = pod["containers"]
    security = container["securityContext"]
    assert security["readOnlyRootFilesystem"] is True
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert not container["image"].endswith(":latest")
    assert {mount["name"] for mount in container["volumeMounts"]} == {each["name"] for each in pod["volumes"]}
    writable = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
    assert writable == {"/work", "/tmp", "/dev/shm"}
    assert {value["value"].split("/")[1] for value in container["env"] if "/" in value["value"]} == {"tmp"}


def test_the_arguments_of_a_cron_job_are_understood(cronjob: dict[str, Any], tmp_path: Path) -> None:
    (container,) = cronjob["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    program, *arguments = [*container["command"], *container["args"]]
    assert program == "tailshard"
    answer = CliRunner().invoke(cli.main, [*arguments, "--json"])
    assert answer.exit_code == 1  # not 2, wrong usage: there is no such pipeline here
    assert "cannot read the pipeline /etc/tailshard/search.yaml" in answer.output


def test_kubernetes_accepts_the_cron_job(cronjob: dict[str, Any]) -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    kubernetes_validate.validate(cronjob, kubernetes_validate.latest_version(), strict=True)


def test_slurm_is_told_one_at_a_time_with_an_end() -> None:
    text = (DEPLOY / "slurm" / "update.sbatch").read_text()
    subprocess.run(["bash", "-n", DEPLOY / "slurm" / "update.sbatch"], check=True)
    told = dict(re.findall(r"^#SBATCH --([\w-]+)(?:=(\S+))?$", text, re.MULTILINE))
    assert told["dependency"] == "singleton"
    assert re.fullmatch(r"\d\d:\d\d:\d\d", told["time"])
    assert "requeue" in told
    assert f"--name={told['job-name']} " in text  # what ends it names it
    scrontab = (DEPLOY / "slurm" / "scrontab").read_text()
    assert re.search(r"^#SCRON --time=", scrontab, re.MULTILINE)
    (line,) = [line for line in scrontab.splitlines() if line and not line.startswith("#")]
    assert len(line.split(None, 5)[:5]) == 5


# Programs of SLURM: how they answer, and fail.
ANSWERS = "printf '(null)\\nafter 1\\nafter 170\\n'; cat queue 2>/dev/null || true"
TAKES = """echo "$@" >>handed-in; echo 'after 17' >queue"""
SILENT_AT_FIRST = (
    "[ -e asked-once ] || { touch asked-once; echo 'Unable to contact slurm controller' >&2; exit 1; }"
)


@pytest.mark.parametrize(
    ("queue", "squeue", "sbatch", "handed_in", "cluster", "workers"),
    [
        ("", ANSWERS, TAKES, 1, "", "--workers 4"),
        # Requeued, after the next one was handed in.
        ("after 17\n", ANSWERS, TAKES, 0, "site.yaml", "--cluster site.yaml"),
        ("", f"{SILENT_AT_FIRST}\n{ANSWERS}", TAKES, 1, "", "--workers 4"),
        ("", ANSWERS, f"{SILENT_AT_FIRST}\n{TAKES}", 1, "", "--workers 4"),
        # It was taken, without a word.
        ("", ANSWERS, f"{TAKES}; {SILENT_AT_FIRST}", 1, "", "--workers 4"),
    ],
    ids=["first", "requeued", "squeue_is_silent", "sbatch_is_silent", "sbatch_is_not_answered"],
)
def test_a_slurm_job_hands_in_the_next_one_once_and_passes_the_exit_code_on(
    tmp_path: Path, queue: str, squeue: str, sbatch: str, handed_in: int, cluster: str, workers: str
) -> None:
    programs = {"sbatch": sbatch, "squeue": squeue, "sleep": "exit", "tailshard": 'echo "$@" >asked; exit 3'}
    _put(tmp_path, programs)
    (tmp_path / "queue").write_text(queue)
    environment = {
        "PATH": f"{tmp_path}:/usr/bin:/bin",
        "SLURM_JOB_ID": "17",
        "TAILSHARD": str(tmp_path / "tailshard"),
        "TAILSHARD_SCRIPT": "/opt/update.sbatch",
        "TAILSHARD_DATA_ROOT": "/data with spaces",
        "TAILSHARD_CLUSTER": cluster,
    }
    script = DEPLOY / "slurm" / "update.sbatch"
    ended = subprocess.run(["bash", script], cwd=tmp_path, env=environment, check=False)
    assert ended.returncode == 3
    lines = (tmp_path / "handed-in").read_text().splitlines() if handed_in else []
    assert lines == ["--begin=now+15minutes --comment=after 17 --export=ALL /opt/update.sbatch"] * handed_in
    assert (tmp_path / "handed-in").exists() is bool(handed_in)
    asked = (tmp_path / "asked").read_text()
    assert asked == f"update search.yaml --workdir work {workers} --data-root /data with spaces\n"


def test_a_slurm_job_does_not_ask_for_ever(tmp_path: Path) -> None:
    _put(tmp_path, {"squeue": "echo x >>asked; exit 1", "sleep": "echo x >>slept", "tailshard": "touch ran"})
    environment = {
        "PATH": f"{tmp_path}:/usr/bin:/bin",
        "SLURM_JOB_ID": "17",
        "TAILSHARD": str(tmp_path / "tailshard"),
    }
    command = ["bash", DEPLOY / "slurm" / "update.sbatch"]
    ended = subprocess.run(
        command, cwd=tmp_path, env=environment, check=False, capture_output=True, text=True
    )
    assert ended.returncode == 1
    assert "SLURM did not take the next job" in ended.stderr
    assert (
        (tmp_path / "asked").read_text().count("x") == (tmp_path / "slept").read_text().count("x") + 1 == 20
    )
    assert not (tmp_path / "ran").exists()


@pytest.mark.slow
def test_a_chain_of_slurm_jobs_has_one_next_job_however_often_it_is_requeued(shared: Path) -> None:
    if reason := why_not(shared):
        pytest.skip(reason)
    with slurm(shared) as cluster:
        place = cluster.base.parent / "chain"
        place.mkdir()
        text = (DEPLOY / "slurm" / "update.sbatch").read_text()
        script = place / "update.sbatch"
        script.write_text(
            text.replace("--cpus-per-task=8", "--cpus-per-task=1").replace("--mem=24G", "--mem=99M")
        )
        lasts = f"while [ ! -e {place}/end-$SLURM_JOB_ID ]; do sleep 1; done"
        _put(place, {"tailshard": f"touch {place}/ran-$SLURM_JOB_ID; {lasts}"})

        def queue() -> set[tuple[str, ...]]:
            lines = cluster.run("squeue", "--noheader", "--format=%i|%T|%k").stdout.splitlines()
            return {tuple(line.strip().split("|")) for line in lines}

        def has_come(job: str, restarts: int) -> bool:
            ran = place / f"ran-{job}"
            return cluster.restarts(job) == restarts and ran.exists()

        first = cluster.run(
            *(
                "env",
                f"TAILSHARD={place}/tailshard",
                f"TAILSHARD_SCRIPT={script}",
                "TAILSHARD_PERIOD=1seconds",
            ),
            *("sbatch", "--parsable", f"--chdir={place}", str(script)),
        ).stdout.strip()
        cluster.wait("it runs", lambda: has_come(first, 0), 60)
        ((next_, *_),) = [job for job in queue() if job[0] != first]
        running, waits = (first, "RUNNING", "(null)"), (next_, "PENDING", f"after {first}")
        assert queue() == {running, waits}

        (place / f"ran-{first}").unlink()
        cluster.run("scontrol", "requeue", first)
        cluster.wait("it runs again", lambda: has_come(first, 1), 120)
        assert queue() == {running, waits}

        # As where a node has died before it had handed in the next job.
        cluster.run("scancel", next_)
        (place / f"ran-{first}").unlink()
        cluster.run("scontrol", "requeue", first)
        cluster.wait("it runs a third time", lambda: has_come(first, 2), 120)
        ((next_, *_),) = [job for job in queue() if job[0] != first]
        assert queue() == {running, (next_, "PENDING", f"after {first}")}

        (place / f"end-{first}").touch()
        cluster.wait("the next one runs", (place / f"ran-{next_}").exists, 60)
        assert f"after {next_}" in {comment for *_, comment in queue()}
        cluster.run("scancel", "--name=tailshard-update", "--user=root")
        cluster.wait("nothing is left", lambda: not queue(), 60)


def _put(folder: Path, programs: dict[str, str]) -> None:
    for name, body in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)


def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd here")
    units = [DEPLOY / "systemd" / f"tailshard-update.{kind}" for kind in ("service", "timer")]
    for unit in units:  # the program is not installed here, and has no user of its own
        text = unit.read_text().replace("/opt/tailshard/.venv/bin/tailshard", shutil.which("true") or "")
        (tmp_path / unit.name).write_text(re.sub(r"(User|Group)=tailshard", r"\1=root", text))
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *(tmp_path / unit.name for unit in units)],
        capture_output=True,
        text=True,
        check=False,
    )
    ours = [line for line in verified.stderr.splitlines() if "tailshard-update" in line]
    assert ours == []
    calendar = re.search(r"^OnCalendar=(.+)$", units[1].read_text(), re.MULTILINE)
    assert calendar is not None
    subprocess.run(["systemd-analyze", "calendar", calendar[1]], check=True, capture_output=True)


def test_a_systemd_service_ends_and_has_no_rights() -> None:
    text = (DEPLOY / "systemd" / "tailshard-update.service").read_text()
    for line in ("Type=oneshot", "TimeoutStartSec=3h", "NoNewPrivileges=yes", "ProtectSystem=strict"):
        assert f"\n{line}\n" in text


@pytest.mark.parametrize("code", [0, 1])
def test_a_line_of_cron_logs_and_passes_the_exit_code_on(tmp_path: Path, code: int) -> None:
    text = (DEPLOY / "cron" / "tailshard-update.cron").read_text()
    (line,) = [line for line in text.splitlines() if line and line.startswith("*")]
    command = line.split(None, 5)[5]
    assert "%" not in command  # which cron takes for the end of a line
    assert "timeout --kill-after=60 3h" in command
    (tmp_path / "tailshard").write_text(f"#!/bin/sh\necho said\nexit {code}\n")
    (tmp_path / "tailshard").chmod(0o755)
    here = command.replace("/opt/tailshard/.venv/bin", str(tmp_path)).replace(
        "/var/lib/tailshard", str(tmp_path)
    )
    ended = subprocess.run(["bash", "-c", here], capture_output=True, text=True, check=False)
    assert ended.returncode == code
    assert (tmp_path / "update.log").read_text() == "said\n"
    assert ("exit code 1" in ended.stdout) is bool(code)
