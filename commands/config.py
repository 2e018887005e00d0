"""`hilum config`: a config, resolved."""

from hilum.commands.terminal import say


def config(name: str | None = None, *overrides: str) -> None:
    """Print a config resolved, with all its defaults; without a name, list the shipped ones.

    Parameters
    ----------
    name
        Path of a YAML file, or the name of a shipped one.
    overrides
        Keys with other values: train.epochs=3
    """
    from hilum.config import dump_config, load_config, shipped_configs

    if name is None:
        say(*shipped_configs())
    else:
        say(*dump_config(load_config(name, overrides)).removesuffix("\n").split("\n"))
