"""What a server is greeted with, read from files anew at each connection, for passwords and certificates are replaced.

A file that is not there, half written or of another key than its certificate just now ends the attempt and not the
process: whoever rotates them is not done yet.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from streamlstm.common import remember
from streamlstm.errors import StoreHandshakeError

MOST_BYTES = 65_536  # of a password file: more is not one
_pipes: dict[Path, str] = {}  # what can be read but once, as a shell's <(command)


def read_password(path: Path) -> str:
    """The password in a file, without the line's end; raises StoreHandshakeError."""
    try:
        if path in _pipes:
            return _pipes[path]
        with path.open("rb") as file:
            text = file.read(MOST_BYTES + 1).decode().rstrip("\r\n")
    except OSError as error:
        raise StoreHandshakeError(f"cannot read the password file {str(path)!r}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise StoreHandshakeError(f"the password file {str(path)!r} is not UTF-8 text") from None
    if len(text) > MOST_BYTES:
        raise StoreHandshakeError(f"the password file {str(path)!r} holds more than a password")
    if not text:
        raise StoreHandshakeError(f"the password file {str(path)!r} is empty")
    remember(text)
    if not path.is_file():
        _pipes[path] = text
    return text


@dataclass(frozen=True, kw_only=True)
class TlsFiles:
    """How TLS is spoken: files, none of them read yet."""

    authorities: str | None = None  # a file; without it and the directory the system's
    authorities_directory: str | None = None
    certificate: str | None = None
    key: str | None = None
    key_password: str | None = field(default=None, repr=False)
    verify: bool = True
    check_hostname: bool = True

    def context(self) -> ssl.SSLContext:
        """Read the files; raises StoreHandshakeError that names what cannot be used, and why."""
        with _named(f"the authorities {self.authorities or self.authorities_directory or 'of this system'}"):
            made = ssl.create_default_context(cafile=self.authorities, capath=self.authorities_directory)
        made.check_hostname = self.verify and self.check_hostname
        made.verify_mode = ssl.CERT_REQUIRED if self.verify else ssl.CERT_NONE
        if self.certificate:
            with _named(f"the certificate {self.certificate}" + (f" with the key {self.key}" if self.key else "")):
                made.load_cert_chain(self.certificate, self.key, self.key_password or _no_password)
        return made


def words(error: OSError) -> str:
    """Why TLS was refused, in the words of the library, which are the server's where it sent an alert."""
    return re.sub(r" \(_ssl\.c:\d+\)$", "", error.strerror or str(error))


def _no_password() -> str:
    """Asked for by the library, which would ask the terminal."""
    raise ValueError("the key is encrypted, and the URL has no ssl_password")


@contextmanager
def _named(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:  # ssl.SSLError is one
        raise StoreHandshakeError(f"{what} cannot be used: {words(error)}") from None
    except ValueError as error:
        raise StoreHandshakeError(f"{what} cannot be used: {error}") from None
