"""ultralytics with nothing leaving the machine: import it through this module, never directly.

Radiographs are private, and so is what is trained on them. Stock ultralytics reports usage to its makers (setting
`sync`), installs packages, downloads a font and a model to try out mixed precision with, and hands every run to the
experiment trackers it finds. Here all of it is off, for this process and its children. The user's own settings file
is neither read nor written.

ultralytics is AGPL-3.0; hilum does not contain it, and only `hilum.detectors.yolo` and the modules it needs import it.
"""

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

# ultralytics reads these once, while it is imported; its DDP workers inherit them.
os.environ["YOLO_OFFLINE"] = "true"
os.environ["YOLO_AUTOINSTALL"] = "false"
os.environ.setdefault("YOLO_VERBOSE", "false")
if "ultralytics" not in sys.modules and "YOLO_CONFIG_DIR" not in os.environ:
    # Importing ultralytics creates its settings file. A folder of this process leaves the user's file as it is.
    _settings = tempfile.mkdtemp(prefix="hilum-ultralytics-")
    os.environ["YOLO_CONFIG_DIR"] = _settings
    atexit.register(shutil.rmtree, _settings, ignore_errors=True)

try:
    _printing = np.get_printoptions()
    import ultralytics
except ImportError as error:
    raise ImportError('ultralytics (AGPL-3.0) is missing: pip install "hilum[yolo]"') from error

from ultralytics.cfg import get_cfg
from ultralytics.data import utils as _data_utils
from ultralytics.data.dataset import YOLODataset
from ultralytics.engine import trainer as _engine
from ultralytics.models.yolo.detect import DetectionTrainer, DetectionValidator
from ultralytics.nn import tasks
from ultralytics.nn.modules.head import Detect, RTDETRDecoder, v10Detect
from ultralytics.utils import DEFAULT_CFG, LOGGER, RANK, SETTINGS, callbacks, plotting
from ultralytics.utils.events import events
from ultralytics.utils.nms import non_max_suppression
from ultralytics.utils.ops import xywh2xyxy

np.set_printoptions(**_printing)  # importing ultralytics changes how the whole process prints arrays

__all__ = [
    "DEFAULT_CFG",
    "LOGGER",
    "RANK",
    "Detect",
    "DetectionTrainer",
    "DetectionValidator",
    "RTDETRDecoder",
    "YOLODataset",
    "get_cfg",
    "non_max_suppression",
    "nothing_leaves",
    "tasks",
    "ultralytics",
    "v10Detect",
    "xywh2xyxy",
]

# If somebody imported ultralytics before us, the user's settings are in memory. `dict.update` changes them there only:
# the class's own `update` would write the user's file.
dict.update(SETTINGS, {key: False for key, value in SETTINGS.items() if isinstance(value, bool)})
events.enabled = False


@contextmanager
def nothing_leaves() -> Iterator[None]:
    """While it is open, ultralytics neither downloads nor calls experiment trackers."""
    replaced: list[tuple[ModuleType, str, Any]] = [
        # Arial.ttf, which it would download to write "opacity" on its plots
        (_data_utils, "check_font", _shipped_font),
        (plotting, "check_font", _shipped_font),
        # it would download yolo26n.pt and compare it in half and full precision
        (_engine, "check_amp", _amp_works),
        (callbacks, "add_integration_callbacks", lambda _: None),
    ]
    with ExitStack() as stack:
        for module, name, value in replaced:
            stack.enter_context(patch.object(module, name, value))
        yield


def _shipped_font(_: str = "") -> Path:
    import matplotlib as mpl

    return Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"


def _amp_works(model: torch.nn.Module) -> bool:
    return next(model.parameters()).is_cuda
