"""What a server may do and where it listens: bounds of uploads, of work and of waiting."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from unglossed.errors import InputError

LEAST_TOKEN = 16
"""Characters of the shortest token that is taken."""
_HOST_NAME = re.compile(r"[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]")
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Settings of a server.

    Attributes:
        host: Address to listen on.
        port: Port to listen on; 0: any that is free.
        token: What every request but those for the page has to bear; None: nothing.
        allowed_hosts: Names beside those of loopback under which the server is asked, as by a
            reverse proxy. They need a token.
        max_bytes: Of an upload.
        max_seconds: Length of an upload's video or audio.
        max_pixels: Of a frame of an upload.
        head_seconds: How long the headers of a request may take.
        upload_seconds: How long an upload may take, and `idle_seconds` between two pieces of it.
        send_seconds: How long a client may leave unread what it is sent.
        decode_seconds: How long the reading of an upload may be waited for, and CPU seconds that
            its process gets.
        decode_bytes: Address space of the process that reads an upload.
        queue: Uploads that are received, wait or are translated at one time.
        kept_seconds: How long the result of a job can be asked for.
        max_kept: Results that can be asked for at one time; the oldest go first.
        webcams: Webcams at one time.
        connections: At one time; others are told to come later.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    allowed_hosts: tuple[str, ...] = ()
    max_bytes: int = 500_000_000
    max_seconds: float = 3600.0
    max_pixels: int = 4096 * 2304
    head_seconds: float = 10.0
    upload_seconds: float = 900.0
    idle_seconds: float = 20.0
    send_seconds: float = 60.0
    decode_seconds: float = 600.0
    decode_bytes: int = 2 * 2**30
    queue: int = 8
    kept_seconds: float = 600.0
    max_kept: int = 64
    webcams: int = 2
    connections: int = 100

    def check(self) -> None:
        """Refuse what cannot be served safely.

        Raises:
            InputError: No token where one is needed, or one that is short or cannot be sent; a host
                name that is none.
        """
        if self.token is None and not is_loopback(self.host):
            raise InputError(
                f"--host: found {self.host}, which other machines reach, and no token; expected"
                " --token, or the environment variable UNGLOSSED_TOKEN"
            )
        if self.token is None and self.allowed_hosts:
            raise InputError(
                f"--allowed-host: found {self.allowed_hosts[0]} and no token; expected --token, or"
                " the environment variable UNGLOSSED_TOKEN"
            )
        if self.token is not None and not re.fullmatch(rf"[!-~]{{{LEAST_TOKEN},}}", self.token):
            raise InputError(
                f"--token: found {len(self.token)} characters, expected at least {LEAST_TOKEN} of"
                " ASCII without spaces: python -c 'import secrets; print(secrets.token_urlsafe())'"
            )
        for name in self.allowed_hosts:
            if not _HOST_NAME.fullmatch(name):
                raise InputError(
                    f"--allowed-host: found {name!r}, expected a name such as example.org, without"
                    " a port"
                )

    @property
    def host_names(self) -> frozenset[str] | None:
        """Names under which the server may be asked, in lower case; None: any.

        A page elsewhere can give its own name the address of this machine (DNS rebinding). Where
        nothing but loopback is served, such a name is refused; elsewhere the token keeps it out.
        """
        if not is_loopback(self.host):
            return None
        own = (*_LOOPBACK_NAMES, self.host.lower())  # 127.0.0.2 is one, too
        return frozenset((*own, *(name.lower() for name in self.allowed_hosts)))


def is_loopback(host: str) -> bool:
    """Whether an address is reached by this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
