"""The bearer token that callers must show, where the server is started with one."""

import hmac
import ipaddress
import os

from sandbox_server.config import ServerConfig


class ServerTokenError(Exception):
    """There is no usable token; the message names where it was looked for, and never the token."""


class TokenGate:
    """Tells callers with the token from others. Its `repr` shows nothing of it."""

    def __init__(self, token: str | None) -> None:
        """`token`: None to let everybody in."""
        self._expected = None if token is None else token.encode()

    @property
    def is_open(self) -> bool:
        """Whether everybody is let in."""
        return self._expected is None

    def admits(self, authorization: str | None) -> bool:
        """Whether the value of an Authorization header, None for no such header, has the token."""
        if self._expected is None:
            return True
        scheme, _, given = (authorization or "").partition(" ")
        # Compared in constant time, or the time taken would tell how much of a guess is right.
        same = hmac.compare_digest(given.strip().encode(errors="surrogateescape"), self._expected)
        return same and scheme.lower() == "bearer"


def load_token(config: ServerConfig) -> str | None:
    """The token in the file or the environment variable that `config` names; None when it names none.

    Raises ServerTokenError when there is no token, or one that a header cannot carry.
    """
    if config.token_file:
        where = f"token file {config.token_file!r}"
        try:
            with open(config.token_file, encoding="utf-8") as file:
                text = file.read()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not text"
            raise ServerTokenError(f"{where} cannot be read: {reason}") from None
    elif config.token_env:
        where = f"environment variable {config.token_env!r}"
        text = os.environ.get(config.token_env, "")
    else:
        return None
    token = text.strip()
    if not token:
        raise ServerTokenError(f"{where} is empty or not set; put the token there, or start the server without it")
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise ServerTokenError(f"{where} holds more than a token: one word of printable ASCII characters")
    return token


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine's own loopback; a name that is not `localhost` counts as reachable."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
