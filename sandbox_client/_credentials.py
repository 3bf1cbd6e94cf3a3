"""What proves to a service who is calling, kept out of every text."""

import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from sandbox_client._errors import SandboxFault, TlsError, TokenError

_HIDDEN = "<hidden>"
# Headers whose values are looked for in texts that come back. The values of others may well be ordinary words.
_SENSITIVE = re.compile(r"authorization|cookie|key|secret|token", re.IGNORECASE)
_UNFIT = re.compile(r"[\x00-\x1f\x7f]")


class Token:
    """A bearer token that shows itself to nobody but the service."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        """Raises TokenError, without the value, when it is empty or cannot stand in a header."""
        self._value = _checked(value, "the token")

    def __repr__(self) -> str:
        return f"Token({_HIDDEN})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a token cannot be pickled: read it in the process that uses it")

    def header(self) -> str:
        """The value of the Authorization header; not to be shown."""
        return f"Bearer {self._value}"


def read_token(*, file: str | os.PathLike[str] | None = None, env: str | None = None) -> Token:
    """The token in a file, or in the environment variable that is named; white space around it does not count.

    Raises TokenError naming what is missing, unreadable or empty, ValueError unless exactly one source is given.
    """
    if (file is None) == (env is None):
        raise ValueError("read_token: give either file= or env=")
    if env is not None:
        if env not in os.environ:
            raise TokenError(f"environment variable {env} is not set: set it to the token in every worker's process")
        return Token(_checked(os.environ[env], f"environment variable {env}"))
    assert file is not None
    try:
        text = Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise TokenError(f"token file {os.fspath(file)!r} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise TokenError(f"token file {os.fspath(file)!r} holds something other than text") from None
    return Token(_checked(text, f"token file {os.fspath(file)!r}"))


def _checked(value: str, where: str) -> str:
    value = value.strip()
    if not value:
        raise TokenError(f"{where} is empty")
    if not re.fullmatch(r"[\x21-\x7e]+", value):
        raise TokenError(f"{where} holds spaces, line breaks or characters outside ASCII: keep only the token")
    return value


class _Hidden(str):
    """A text that keeps to itself when something that holds it is shown."""

    __slots__ = ()

    def __repr__(self) -> str:
        return _HIDDEN


class Headers:
    """The headers of every request, and the secrets among them."""

    def __init__(self, headers: Mapping[str, str], token: Token | None) -> None:
        """Raises ValueError, without the value, for a header that cannot be sent, or when both give Authorization."""
        values = dict(headers)
        for name, value in values.items():
            if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
                raise ValueError(f"headers: {name!r} is not the name of a header")
            if not isinstance(value, str) or _UNFIT.search(value):
                raise ValueError(f"headers: the value of {name!r} must be text without line breaks")
        if token is not None:
            if any(name.lower() == "authorization" for name in values):
                raise ValueError("headers: 'Authorization' is given although there is a token: give one of the two")
            values["Authorization"] = token.header()
        # The last word of "Bearer TOKEN" is the secret.
        self._secrets = tuple(
            value.split()[-1] for name, value in values.items() if _SENSITIVE.search(name) and value.split()
        )
        self.values: Mapping[str, str] = {name: _Hidden(value) for name, value in values.items()}
        """Name to value; a value is not shown when the mapping is."""

    def __repr__(self) -> str:
        return f"Headers({', '.join(self.values)})"

    @property
    def secret(self) -> bool:
        """Whether they hold something that must not be read on the way."""
        return bool(self._secrets)

    def hide(self, fault: SandboxFault) -> None:
        """Take the secrets out of a fault: a server may answer with what it was sent."""
        for secret in self._secrets:
            fault.message = fault.message.replace(secret, _HIDDEN)
        fault.args = (fault.message,)


@dataclass(frozen=True)
class TlsSettings:
    """Files in PEM format. Making one raises TlsError, naming the key, when a file is not there."""

    ca_file: str | None = None
    """Certificates that sign the endpoints' certificates; None for the system's."""

    cert_file: str | None = None
    """The client's own certificate, for endpoints that ask for one."""

    key_file: str | None = None
    """The private key of `cert_file`; None when that file holds both."""

    verify: bool = True
    """Whether an endpoint must prove that it is who it is called. Without it, anyone on the way can read and change
    programs and results; the client says so in its log."""

    def __post_init__(self) -> None:
        for key in ("ca_file", "cert_file", "key_file"):
            path = getattr(self, key)
            if path is not None and not Path(path).is_file():
                raise TlsError(f"{key}={path!r} is not a file: give the path of a PEM file, or leave {key} out")
        if self.key_file is not None and self.cert_file is None:
            raise TlsError(f"key_file={self.key_file!r} is given without cert_file: give its certificate")
        if self.ca_file is not None and not self.verify:
            raise TlsError(f"ca_file={self.ca_file!r} is given with verify=False, which would ignore it: drop one")

    def context(self) -> ssl.SSLContext:
        """What the settings mean to a connection. Raises TlsError, naming the key, for a file that is not usable."""
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
        except OSError as error:  # ssl.SSLError is one
            raise TlsError(f"ca_file={self.ca_file!r} cannot be used: {error}: it must hold certificates") from error
        if self.cert_file is not None:
            try:
                # A password would be asked for on the terminal, which nobody watches.
                context.load_cert_chain(self.cert_file, self.key_file, password="")
            except OSError as error:
                raise TlsError(
                    f"cert_file={self.cert_file!r} with key_file={self.key_file!r} cannot be used: {error}: "
                    "they must hold a certificate and its private key, without a password"
                ) from error
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context
