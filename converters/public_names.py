"""Which names of a source may stand in a dataset's tables: those that the challenge gave, and ids.

A hospital's files may be laid out as the challenge's are, and any other name among them may be that of a person.
"""

import re

from hilum.converters.rsna import SAFE_ID

PATIENT_MAP = "the patient map"
HIDDEN = ".*"
_NAME = "(name)"
_KNOWN = re.compile(
    r"rsna-pneumonia-detection-challenge(\.zip)?"
    r"|stage_\d+_(train|test)_images(\.zip)?"
    r"|stage_\d+_(train_labels|detailed_class_info|sample_submission)\.csv(\.zip)?"
    r"|__MACOSX",
    re.IGNORECASE,
)


def public_name(name: str) -> str:
    """The name of a file below a source, with "(name)" for each part that is neither the challenge's nor an id.

    Examples:
        >>> public_name("stage_2_train_images/0004cfab-14fd.dcm"), public_name("Doe/stage_2_train_images/Doe, Jane.dcm")
        ('stage_2_train_images/0004cfab-14fd.dcm', '(name)/stage_2_train_images/(name)')
    """
    if name in ("", PATIENT_MAP, HIDDEN):
        return name
    *folders, last = name.split("/")
    last = last if _KNOWN.fullmatch(last) or _is_id(last) else _NAME
    return "/".join([*(part if _KNOWN.fullmatch(part) else _NAME for part in folders), last])


def _is_id(name: str) -> bool:
    return name[-4:].lower() == ".dcm" and SAFE_ID.fullmatch(name[:-4]) is not None
