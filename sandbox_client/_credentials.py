"""What proves to a service who is calling, kept out of every text."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from sandbox_client.errors import SandboxFault, TokenError

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
