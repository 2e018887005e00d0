"""Which code this is: a version is the same from one release to the next, and the code is not."""

import hashlib
import os
from functools import cache
from pathlib import Path


@cache
def source_digest() -> str:
    """Changes when any of hilum's own Python files changes, is added or goes."""
    return digest_of(Path(__file__).parent)


def digest_of(package: Path) -> str:
    """Of the names and the bytes of all `*.py` below a folder, symbolic links followed."""
    files = sorted(
        Path(folder, name).relative_to(package)
        for folder, _, names in os.walk(package, followlinks=True)
        for name in names
        if name.endswith(".py")
    )
    digest = hashlib.sha256()
    for path in files:
        content = (package / path).read_bytes()
        digest.update(f"{path.as_posix()}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]
