"""Sources and findings to make objects of."""

from datetime import UTC, datetime

import numpy as np
import pytest

from hilum.detections import Detections
from hilum.findings.finding import Algorithm
from hilum.findings.objects import to_dicom
from hilum.findings.source import read_source
from hilum.result import Result, no_detections

ALGORITHM = Algorithm("sample-unet", "0.1.0", "0123456789abcdef", 0.35)
AT = datetime(2026, 11, 1, 12, 30, 5, tzinfo=UTC)
UIDS = {"StudyInstanceUID": "2.25.7", "SeriesInstanceUID": "2.25.8", "SOPInstanceUID": "2.25.9"}


def _result(*boxes, probability=0.91, error=None, warning=None) -> Result:
    found = no_detections()
    if boxes:
        values = np.array(boxes, np.float64)
        found = Detections(xyxy=values[:, :4], confidence=values[:, 4], class_id=np.zeros(len(values), int))
    return Result("image", found, probability, error, warning)


@pytest.fixture(scope="session")
def make_result():
    return _result


@pytest.fixture(scope="session")
def objects_of():
    """The objects of sources, given as the content of files, as {kind: [datasets]}."""

    def make(sources, results, algorithm=ALGORITHM, kinds=("sr", "pr", "sc"), at=AT):
        made = list(to_dicom([read_source(source) for source in sources], results, algorithm, kinds, at))
        return {kind: [each.dataset for each in made if each.kind == kind] for kind in kinds}

    return make


@pytest.fixture(scope="session")
def make_chest(make_dicom, make_picture):
    """The bytes of a radiograph of 64 x 48 px."""

    def make(pixels=None, **tags) -> bytes:
        return make_dicom(make_picture(1) if pixels is None else pixels, **{**UIDS, "Modality": "DX", **tags})

    return make
