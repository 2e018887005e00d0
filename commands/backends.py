"""`hilum backends`: which backends are installed."""


def backends() -> None:
    """List the backends that are installed, and what is missing for those that cannot be used."""
    from rich.console import Console
    from rich.table import Table

    from hilum.backend import found_backends

    table = Table("backend", "from", "state")
    for found in found_backends():
        table.add_row(found.name, found.distribution, found.problem or "ready")
    Console().print(table)
