"""Recipes of images. There is no container engine where the tests run: what they say is read, not built."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from tailshard.launch.kubernetes.pods import ENVIRONMENT, NOBODY_SPECIAL

REPOSITORY = Path(__file__).parents[2]
DOCKERFILE = (REPOSITORY / "deploy" / "containers" / "Dockerfile").read_text()
APPTAINER = (REPOSITORY / "deploy" / "containers" / "tailshard.def").read_text()


def _instructions(word: str) -> list[str]:
    joined = re.sub(r"\\\n\s*", "", DOCKERFILE)
    return re.findall(rf"^{word} (.+)$", joined, re.MULTILINE)


def test_the_image_runs_as_the_user_that_pods_ask_for() -> None:
    number = f"{NOBODY_SPECIAL['runAsUser']}:{NOBODY_SPECIAL['runAsGroup']}"
    assert _instructions("USER") == [number]
    assert f"--uid {NOBODY_SPECIAL['runAsUser']} " in DOCKERFILE
    # The last stage has the user, and nothing comes after it that needs more rights.
    assert DOCKERFILE.rindex("\nUSER ") > DOCKERFILE.rindex("\nRUN ")
    environment = " ".join(_instructions("ENV"))
    for name, value in ENVIRONMENT.items():
        assert f"{name}={value}" in environment


def test_bases_and_packages_have_fixed_versions() -> None:
    assert re.search(r"^ARG PYTHON=3\.1[12]-slim-\w+$", DOCKERFILE, re.MULTILINE)
    assert all(base.startswith("python:${PYTHON}") for base in _instructions("FROM"))
    assert re.search(r"^From: python:3\.1[12]-slim-\w+$", APPTAINER, re.MULTILINE)
    for text in (DOCKERFILE, APPTAINER):
        installs = re.findall(r"pip install.*", re.sub(r"\\\n\s*", "", text))
        assert installs
        assert all("--constraint" in each for each in installs)


@pytest.mark.parametrize("text", [DOCKERFILE, APPTAINER], ids=["docker", "apptainer"])
def test_the_extras_are_those_of_the_project(text: str) -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    (extras,) = re.findall(r'"/build\[([\w,]+)\]"', text)
    assert set(extras.split(",")) <= set(project["optional-dependencies"])


def test_an_image_has_all_that_a_wheel_is_made_of() -> None:
    build = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    wheel = build["targets"]["wheel"]
    needed = {"pyproject.toml", "README.md", "LICENSE", "constraints.txt", "src", *wheel["force-include"]}
    copied = {word for line in _instructions("COPY") if "--from" not in line for word in line.split()[:-1]}
    listed = APPTAINER[APPTAINER.index("%files") : APPTAINER.index("%post")].split("\n")[1:]
    for found in (copied, {line.split()[0] for line in listed if line.strip()}):
        assert found == needed
        assert all((REPOSITORY / each).exists() for each in found)
    ignored = (REPOSITORY / "deploy" / "containers" / "Dockerfile.dockerignore").read_text().split()
    assert {line[1:] for line in ignored if line.startswith("!")} == needed


@pytest.mark.parametrize(("device", "expected"), [("cpu", "/whl/cpu"), ("gpu", ""), ("tpu", None)])
def test_the_device_decides_where_pytorch_comes_from(device: str, expected: str | None) -> None:
    (run,) = (each for each in _instructions("RUN") if each.startswith("case"))
    script = run.replace("/opt/tailshard/bin/pip", 'echo "$PIP_EXTRA_INDEX_URL" #')
    (section,) = re.findall(r"%post\n(.*?)esac", APPTAINER, re.DOTALL)
    other = section.replace("{{ DEVICE }}", device) + 'esac\necho "$PIP_EXTRA_INDEX_URL"'
    for each in (script, other):
        done = subprocess.run(
            ["sh", "-ec", each], env={"DEVICE": device}, capture_output=True, text=True, check=False
        )
        assert (done.returncode == 0) is (expected is not None)
        if expected is not None:
            assert done.stdout.strip().endswith(expected)
            assert bool(done.stdout.strip()) is bool(expected)
