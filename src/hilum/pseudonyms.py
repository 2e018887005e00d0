"""Names that lead back to what they stand for only by a secret key, and the file that holds it."""

import hmac
import secrets
from pathlib import Path

from hilum.errors import HilumError
from hilum.files import read_regular, write_atomically

_MAX_KEY_BYTES = 4096


def pseudonym(key: bytes, kind: str, name: str) -> str:
    """A name's keyed hash, 64 bits of HMAC-SHA-256 (RFC 2104): without the key nobody can try names out."""
    return hmac.digest(key, f"{kind}\0{name}".encode(errors="surrogateescape"), "sha256").hex()[:16]


def read_or_make_key(path: Path) -> bytes:
    """The key in a file, as hexadecimal digits; where there is no file, a new key, which nobody else may read.

    Raises:
        HilumError: the file cannot be read or made, or holds no key.
    """
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, secrets.token_hex(32) + "\n", private=True)
        key = bytes.fromhex(read_regular(path, _MAX_KEY_BYTES).decode("ascii").strip())
    except HilumError as error:
        raise HilumError(f"{path}: the key cannot be read: {error}") from error
    except OSError as error:
        raise HilumError(f"{path}: the key cannot be read or made: {error.strerror}") from error
    except ValueError:
        key = b""
    if len(key) < 16:
        raise HilumError(f"{path}: expected a key of at least 32 hexadecimal digits; a new path makes one")
    return key
