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
        # One that is shipped is known to build: then torch, which takes seconds to import, is not needed.
        as_shipped = not overrides and name in shipped_configs()
        say(*dump_config(load_config(name, overrides, builds=not as_shipped)).removesuffix("\n").split("\n"))
