"""The tests on every Python that is here: `make test-all`."""

import nox

nox.options.error_on_missing_interpreters = False


@nox.session(python=["3.11", "3.12", "3.13", "3.14"])
def tests(session: nox.Session) -> None:
    """As `make test`, in an environment of its own; `nox -s tests-3.13 -- tests/eval` runs a part."""
    session.install("--constraint", "constraints.txt", "--editable", ".[all,dev,docs]")
    parts = session.posargs or ["-n", "auto", "--dist", "loadscope"]
    session.run("python", "-m", "pytest", "-m", "not slow and not gpu", *parts, env={"OMP_NUM_THREADS": "1"})
