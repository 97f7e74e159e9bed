"""Sessions for developers: ``nox`` runs the fast ones, ``nox -s slow`` the tests on real clusters."""

import nox

nox.options.sessions = ["lint", "types", "tests"]
nox.options.reuse_existing_virtualenvs = True


def _install(session: nox.Session, extra: str) -> None:
    session.install("--constraint", "constraints.txt", "--editable", f".[{extra}]")


@nox.session
def lint(session: nox.Session) -> None:
    _install(session, "lint")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session
def types(session: nox.Session) -> None:
    _install(session, "lint")
    session.run("mypy")


@nox.session
def tests(session: nox.Session) -> None:
    _install(session, "test")
    session.run("pytest", *session.posargs)


@nox.session
def slow(session: nox.Session) -> None:
    _install(session, "test")
    session.run("pytest", "-m", "slow", *session.posargs)
