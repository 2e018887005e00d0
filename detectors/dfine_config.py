"""What a config with `backend: dfine` says."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from hilum.config import Table
from hilum.detectors.square_config import SquareConfig

if TYPE_CHECKING:  # a config is read without torch
    from hilum.detectors.dfine_network import DFineNetwork

Size = Literal["nano", "small", "medium", "large", "xlarge"]


class Model(Table):
    """The network.

    Attributes:
        size: Of D-FINE's five sizes; nano has levels at strides 16 and 32, the others at 8 too.
        queries: How many boxes it looks for in a picture, at most as many as its feature maps have places.
        weights: What training starts with: `none` (random), `hub` (trained on COCO, downloaded once), or the path of a
            file or folder of tensors in the form of the hub's. The folder of a finished run gives the whole network.
            A run is whole without it.
    """

    size: Size = "small"
    queries: int = Field(default=300, ge=10, le=1000)
    weights: str = Field(default="none", min_length=1)

    @property
    def hub_name(self) -> str:
        """The repository of the hub that holds COCO's weights."""
        return f"ustc-community/dfine-{self.size}-coco"


class DFineConfig(SquareConfig):
    """A config with `backend: dfine`."""

    start_key: ClassVar[str] = "model.weights"
    model: Model = Model()

    @property
    def pretraining(self) -> str | None:
        """The hub's repository of the weights that training starts with, or their file's name."""
        return self.model.hub_name if self.start == "hub" else super().pretraining

    def network(self) -> "DFineNetwork":
        """The network with random weights."""
        from hilum.detectors.dfine_network import DFineNetwork

        model = self.model
        return DFineNetwork(
            model.size, queries=model.queries, image_size=self.image_size, classes=len(self.class_names)
        )

    def pretrain(self, network: Any) -> None:
        """Put a file's weights in; see `NetworkConfig.pretrain`."""
        from hilum.detectors.dfine_network import load_pretrained
        from hilum.training.pretrained import download
        from hilum.training.tensors import read_tensors

        if self.start == "none":
            return
        path = download(self.model.hub_name, None) if self.start == "hub" else Path(self.start)
        tensors = read_tensors(path, "model.weights", "none, hub")
        load_pretrained(network, tensors, str(self.pretraining), self.model.size)
