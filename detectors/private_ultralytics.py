"""ultralytics with nothing leaving the machine: import it through this module, never directly.

Radiographs are private, and so is what is trained on them. Stock ultralytics reports usage to its makers (setting
`sync`), installs packages, downloads a font and a model to try out mixed precision with, and hands every run to the
experiment trackers it finds. Here all of it is off, for this process and its children. The user's own settings file
is neither read nor written, and there is no other.

What it prints is its own; hilum's commands, which say less, call it inside of `quietly`.

ultralytics is AGPL-3.0; hilum does not contain it, and only `hilum.detectors.yolo` and the modules it needs import it.
"""

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from hilum.private_libraries import environment_variable, without_ultralytics_settings

# ultralytics reads these once, while it is imported; its DDP workers inherit them.
os.environ["YOLO_OFFLINE"] = "true"
os.environ["YOLO_AUTOINSTALL"] = "false"

try:
    _printing = np.get_printoptions()
    with without_ultralytics_settings():
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
from ultralytics.utils import DEFAULT_CFG, LOGGER, RANK, SETTINGS, TQDM, callbacks, colorstr, dist, plotting
from ultralytics.utils.events import events
from ultralytics.utils.nms import non_max_suppression
from ultralytics.utils.ops import xywh2xyxy

np.set_printoptions(**_printing)  # importing ultralytics changes how the whole process prints arrays

__all__ = [
    "DEFAULT_CFG",
    "LOGGER",
    "RANK",
    "TQDM",
    "Detect",
    "DetectionTrainer",
    "DetectionValidator",
    "RTDETRDecoder",
    "YOLODataset",
    "colorstr",
    "get_cfg",
    "non_max_suppression",
    "nothing_leaves",
    "quietly",
    "scratch",
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


@contextmanager
def quietly() -> Iterator[None]:
    """While it is open, ultralytics says nothing but errors, and shows no progress."""
    level = LOGGER.level
    LOGGER.setLevel(logging.ERROR)
    try:
        yield
    finally:
        LOGGER.setLevel(level)


@contextmanager
def scratch(folder: Path) -> Iterator[None]:
    """While it is open, ultralytics hands over to the processes of a training on several GPUs in this folder.

    It is made for that and removed, also what a killed training left there.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        with environment_variable("YOLO_CONFIG_DIR", str(folder)), patch.object(dist, "USER_CONFIG_DIR", folder):
            yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _shipped_font(_: str = "") -> Path:
    import matplotlib as mpl

    return Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"


def _amp_works(model: torch.nn.Module) -> bool:
    return next(model.parameters()).is_cuda
