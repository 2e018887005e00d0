"""Fixtures that write DICOM files, which tests of `dicom/` and of `converters/` share."""

from dicom_files import (
    make_dicom,
    make_jpeg,
    make_picture,
    make_segment,
    make_small_source,
    planted_name,
    sample_source,
    tree_bytes,
    write_table,
)

__all__ = [
    "make_dicom",
    "make_jpeg",
    "make_picture",
    "make_segment",
    "make_small_source",
    "planted_name",
    "sample_source",
    "tree_bytes",
    "write_table",
]
