"""Runs on the Hugging Face hub: what is fetched and sent are files of an allow-list, none of which can run code."""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from hilum.documents import MAX_RECORD_BYTES, MAX_YAML_BYTES, parse_yaml, read_text
from hilum.errors import HilumError, first_line
from hilum.files import refuse_links
from hilum.run import (
    CONFIG,
    ENVIRONMENT,
    MEMBERS,
    MODEL,
    OPERATING_POINT,
    WEIGHTS,
    check_run,
    exported_format,
    run_digest,
)
from hilum.talk import log

CARD: Final = "README.md"
RUN_DIGEST: Final = "hilum_run"
"""The key of a card's front matter that says which run it is of (`hilum.run.run_digest`)."""
_NEEDED: Final = (CONFIG, WEIGHTS, ENVIRONMENT, OPERATING_POINT)
_MOST_BYTES: Final = {
    CONFIG: MAX_YAML_BYTES,
    MODEL: MAX_YAML_BYTES,
    CARD: MAX_YAML_BYTES,
    WEIGHTS: 8 << 30,
    ENVIRONMENT: MAX_RECORD_BYTES,
    OPERATING_POINT: MAX_RECORD_BYTES,
}
_MOST_FILES: Final = 500
_NAME: Final = re.compile(
    rf"(?:{MEMBERS}/[A-Za-z0-9][A-Za-z0-9_-]{{0,60}}/){{0,4}}([^/]+)"
)  # of a composed run's members
_ADDRESS: Final = re.compile(r"hf:/{1,2}([\w.-]+/[\w.-]+?)(?:@([\w./-]+))?", re.ASCII)


def is_address(run: str | Path) -> bool:
    """Whether it is an address of the hub, also as a path, which has one slash less."""
    return str(run).startswith("hf:/")


def folder_of(run: str | Path) -> Path:
    """The folder of a run, which is fetched where an address of the hub is given."""
    return fetched(run) if is_address(run) else Path(run)


def fetched(address: str | Path) -> Path:
    """The folder, in the hub's cache, of a run of the hub; each file is of the list, within bounds, and whole.

    Only whoever names a commit gets the same run each time. The folder is still a stranger's.

    Args:
        address: hf://OWNER/NAME@REVISION, where the revision is a commit, or a branch or tag, of which is warned.

    Raises:
        HilumError: there is no such run, it lacks a file, or a file is too large or another than the hub says.
    """
    found = _ADDRESS.fullmatch(str(address))
    if found is None:
        raise HilumError(f"{address}: expected hf://OWNER/NAME@COMMIT")
    repository, revision = found.groups()
    with _asking(str(address)) as hub:
        info = hub.HfApi().model_info(repository, revision=revision, files_metadata=True)
    files: dict[str, Any] = {file.rfilename: file for file in info.siblings or () if most_bytes(file.rfilename)}
    if missing := [name for name in _NEEDED if name not in files]:
        raise HilumError(f"{address}: not a run that can be fetched: {', '.join(missing)} missing")
    if len(files) > _MOST_FILES:
        raise HilumError(f"{address}: {len(files):,} files of runs; at most {_MOST_FILES} are fetched")
    if large := [file for name, file in files.items() if file.size is None or file.size > most_bytes(name)]:
        told = ((file.rfilename, file.size, most_bytes(file.rfilename)) for file in large)
        raise HilumError(*(f"{address}: {name}: {size} bytes; at most {most} are fetched" for name, size, most in told))
    if revision != info.sha:
        what = f"'{revision}' is a branch or tag" if revision else "no revision is named"
        log.warning(
            f"{address}: {what}, so another run may be there next time; this one is hf://{repository}@{info.sha}"
        )
    for name, file in files.items():
        with _asking(f"{address}: {name}") as hub:
            path = Path(hub.hf_hub_download(repository, name, revision=info.sha))
        _check(path, file, f"{address}: {name}")
    folder = path.parents[name.count("/")]
    _check_card(folder, str(address))
    return folder


def check_repository(repository: str) -> None:
    """Make sure that a run which is sent there can be loaded by an address.

    Raises:
        HilumError: it is not OWNER/NAME.
    """
    found = _ADDRESS.fullmatch(f"hf://{repository}")
    if found is None or found[2]:
        raise HilumError(f"{repository}: expected OWNER/NAME, a repository of the hub")


def files_to_send(run: Path) -> list[str]:
    """The names of a run's files that may leave it.

    Raises:
        HilumError: the run is not whole, was exported, or holds a link; or its card says that it is of another run.
    """
    check_run(run)
    if exported_format(run):
        raise HilumError(f"{run}: was exported; safetensors alone are sent: push the run that it was made of")
    names = sorted(path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file())
    names = [name for name in names if most_bytes(name)]
    refuse_links(run, *names)
    if large := [name for name in names if (run / name).stat().st_size > most_bytes(name)]:
        raise HilumError(f"{run / large[0]}: more than {most_bytes(large[0]):,} bytes, which nobody would fetch")
    _check_card(run, str(run))
    return names


def push(run: Path, repository: str, *, public: bool) -> str:
    """Send a run's files to a repository of models, which is made where it is not there; the address to load it by.

    Raises:
        HilumError: the hub refuses, or the repository is public and shall not be.
    """
    names = files_to_send(run)
    with _asking(repository) as hub:
        api = hub.HfApi()
        api.create_repo(repository, private=not public, exist_ok=True)
        info = api.model_info(repository)
        if not public and not info.private:
            raise HilumError(f"{repository}: is there and public; --public sends to it")
        old = {file.rfilename for file in info.siblings or ()} - set(names)
        changes = [hub.CommitOperationAdd(name, run / name) for name in names]
        changes += [hub.CommitOperationDelete(name) for name in sorted(old) if most_bytes(name)]
        done = api.create_commit(repository, changes, commit_message=f"hilum push: run {run_digest(run)}")
    return f"hf://{repository}@{done.oid}"


def most_bytes(name: str) -> int:
    """How large a file of this name may be; 0 for what is never fetched or sent."""
    found = _NAME.fullmatch(name)
    return _MOST_BYTES.get(found[1], 0) if found else 0


def _check(path: Path, file: Any, where: str) -> None:
    """Compare a file with what the hub says: SHA-256 of large ones, of others git's digest of a blob.

    Raises:
        HilumError: it is another; it goes from the cache, so that another try fetches it again.
    """
    with path.open("rb") as content:
        if file.lfs:
            same = hashlib.file_digest(content, "sha256").hexdigest() == file.lfs.sha256
        else:
            begun = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
            same = hashlib.file_digest(content, lambda: begun).hexdigest() == file.blob_id
    if not same:
        path.resolve().unlink()
        path.unlink(missing_ok=True)
        raise HilumError(f"{where}: is not what the hub says it is (its digest differs); try again")


def _check_card(run: Path, where: str) -> None:
    card = run / CARD
    parts = read_text(card, MAX_YAML_BYTES).split("---\n", 2) if card.is_file() else []
    front = parse_yaml(parts[1], str(card)) if len(parts) == 3 else None
    said, digest = front.get(RUN_DIGEST) if isinstance(front, dict) else None, run_digest(run)
    if said is not None and said != digest:
        raise HilumError(
            f"{where}: {CARD} is of run {said}, and this is run {digest}; `hilum card RUN --overwrite` writes it anew"
        )


@contextmanager
def _asking(what: str) -> Iterator[Any]:
    """Around what the hub's own client does, which finds the token in its own way.

    Raises:
        HilumError: anything fails, in one line; or the client is not installed.
    """
    try:
        import huggingface_hub
    except ImportError as error:
        raise HilumError(f'{what}: huggingface_hub is missing: pip install "hilum[hub]"') from error
    try:
        yield huggingface_hub
    except HilumError:
        raise
    except Exception as error:  # any layer of the network may fail
        raise HilumError(f"{what}: {type(error).__name__}: {first_line(error)}") from error
