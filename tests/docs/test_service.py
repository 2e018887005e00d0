"""The web service that docs/hospital.md shows, run as it stands there."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import hilum
import hilum.predict as predict_module
from hilum.detections import Detections
from hilum.predict import Predictor

DOCS = Path(__file__).parents[2] / "docs" / "hospital.md"


class OneBox:
    def predict_batch(self, images: list[np.ndarray]) -> list[Detections]:
        one = Detections(xyxy=np.array([[8.0, 4, 24, 40]]), confidence=np.array([0.75]), class_id=np.zeros(1, int))
        return [one for _ in images]


def test_the_service_answers_with_what_was_found(
    make_dicom: Callable[..., bytes], make_picture: Callable[..., np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("fastapi", reason="fastapi is not installed: pip install fastapi")
    from fastapi.testclient import TestClient

    (code,) = [each for each in re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL) if "FastAPI" in each]
    monkeypatch.setattr(predict_module, "load", lambda _: Predictor(OneBox(), 0.5))
    module: dict = {"__name__": "service"}
    exec(compile(code, "service", "exec"), module)  # noqa: S102 - our own page
    client = TestClient(module["app"])
    headers = {"content-type": "application/dicom"}
    answer = client.post("/opacities", content=make_dicom(make_picture(1)), headers=headers)
    assert answer.status_code == 200
    said = answer.json()
    assert said["boxes"] == [{"xyxy": [8, 4, 24, 40], "confidence": 0.75}]
    assert (said["sop_instance_uid"], said["width"], said["problem"]) == ("2.25.1", 64, None)
    assert client.post("/opacities", content=b"nothing", headers=headers).json()["problem"] == "not a DICOM file"
    assert json.dumps(said)
    assert hilum.load is predict_module.load
