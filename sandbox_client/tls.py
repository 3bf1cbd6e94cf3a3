"""How https endpoints are checked, and how the client proves itself to them."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from sandbox_client.errors import TlsError


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
