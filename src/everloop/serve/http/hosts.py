"""Who may be asked, and from where: what keeps a page in a browser from using a replica.

A page can send requests to any address that its reader's machine reaches. It cannot choose the
Origin header, and, where its own name was made to point at this machine, not the Host header.
"""

import ipaddress
from collections.abc import Iterable, Mapping

from everloop.serve.http.messages import Refused

_LOCAL = frozenset({b"127.0.0.1", b"localhost", b"[::1]"})
_SAFE = frozenset({b"GET", b"HEAD"})


class Hosts:
    """The names that requests may be addressed to, and come from.

    Args:
        bound: The address that is listened on. Where it is this machine's own, requests must name
            this machine or one of `more`; elsewhere a name may be anything.
        more: ``serve.hosts``.
    """

    def __init__(self, bound: str = "", more: Iterable[str] = ()) -> None:
        self._is_local = _is_loopback(bound)
        self._known = frozenset(name.lower().encode() for name in more)
        if self._is_local:
            self._known |= _LOCAL

    def check(self, method: bytes, headers: Mapping[bytes, bytes]) -> None:
        """Check a request's Host, and its Origin if it changes anything.

        Raises:
            Refused: With 403.
        """
        host = headers.get(b"host", b"")
        if self._is_local and host and _name(host) not in self._known:
            raise Refused(403, "the Host header names another machine; serve.hosts allows more")
        origin = headers.get(b"origin")
        if origin is not None and method not in _SAFE:
            asking = _name(origin.partition(b"://")[2])
            if asking not in self._known and asking != _name(host):
                raise Refused(403, "a page of another site asks; serve.hosts allows more")


def _is_loopback(bound: str) -> bool:
    try:
        return ipaddress.ip_address(bound).is_loopback
    except ValueError:
        return bound == "localhost"


def _name(host: bytes) -> bytes:
    """Return a host without its port."""
    name, separator, port = host.rpartition(b":")
    return (name if separator and port.isdigit() else host).lower()
