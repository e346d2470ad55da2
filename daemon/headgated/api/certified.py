"""Who a client is that came over the network: the names in the certificate that gRPC has verified.

Only alternative names of the kinds URI and DNS count, each exactly as it stands there. The common name does not: it says nothing about what kind of
name it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from headgated.core.errors import ForbiddenError

_KINDS = (("uri", "peer_uri"), ("dns", "peer_dns"))
_TLS = (b"ssl", b"tls")


def names_of(auth: Mapping[str, Iterable[bytes]]) -> list[str]:
    """Return a client's names, `uri:...` before `dns:...`, from what gRPC knows of its connection.

    Raises:
        ForbiddenError: it has none.
    """
    secure = any(kind in _TLS for kind in auth.get("transport_security_type", ()))
    found = [
        f"{kind}:{name.decode('utf-8', 'replace')}"
        for kind, key in _KINDS
        for name in (auth.get(key, ()) if secure else ())
    ]
    if not found:
        raise ForbiddenError(
            "cannot tell who asks: the certificate has no alternative name of the kind URI or DNS",
            reason="CALLER_UNKNOWN",
            hint="have one issued with such a name (subjectAltName)",
        )
    return found
