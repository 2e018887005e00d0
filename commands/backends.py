"""`hilum backends`: which backends are installed."""

from hilum.commands.terminal import table


def backends() -> None:
    """List the backends that are installed, and what is missing for those that cannot be used."""
    from hilum.plugins import found_backends

    rows = [(found.name, found.distribution, found.problem or "ready") for found in found_backends()]
    table(("backend", "from", "state"), rows)
