"""`hilum config`: a config, resolved, or the shipped ones by family."""

from hilum.commands.terminal import say

# The folder of the package that a backend lies in, or of configs/ that a config lies in, and what is told of it.
_FAMILIES = {
    "detectors": "Detectors: boxes at once.",
    "segmenters": "Segmenters: a map of what is opaque (`lungs`: of the lungs), then boxes.",
    "classifiers": "Classifiers: whether an image shows an opacity at all.",
    "ensemble": "Compositions of the above.",
    "report": "The capstone report's own tries.",
    "sample": "Made small, for the generated sample on a CPU.",
}


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
        say(*_listed())
    else:
        # One that is shipped is known to build: then torch, which takes seconds to import, is not needed.
        as_shipped = not overrides and name in shipped_configs()
        say(*dump_config(load_config(name, overrides, builds=not as_shipped)).removesuffix("\n").split("\n"))


def _listed() -> list[str]:
    """Lines on the shipped configs, of 80 columns at most: a name and what it is, by family."""
    from hilum.config import load_config, shipped_configs, title_of

    families: dict[str, list[str]] = {family: [] for family in _FAMILIES}
    for name in shipped_configs():
        folder = name.rpartition("/")[0]
        family = folder or type(load_config(name, builds=False)).__module__.split(".")[1]
        families[family].append(f"  {name:20}  {title_of(name)}")
    lines = [line for family, told in _FAMILIES.items() for line in (told, *families[family], "")]
    return [*lines, "hilum config NAME prints one, with all its keys.", "Next: hilum train NAME DATA RUN."]
