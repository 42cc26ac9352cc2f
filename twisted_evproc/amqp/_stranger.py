"""Why there was no word of AMQP from where a broker should be."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._url import Address

#: What OpenSSL says to an answer that is not TLS.
_NO_TLS = ("wrong version number", "record layer failure", "packet length too long", "unknown protocol", "http request")


def in_words(error: BaseException, address: Address) -> str:
    """
    What happened, and what to do about it.

    :param error: with which a connection ended on which nothing of AMQP had come.
    """
    place = f"{address.host}:{address.port}"
    if not address.tls:
        return (
            f"{place} does not speak AMQP: the connection ended without a word of it ({error}).  Correct the port; if it is the "
            f"one for TLS, begin the URL with amqps://"
        )
    text = str(error)
    if type(error).__name__ == "VerificationError":
        name = address.server_name or address.host
        return (
            f"the broker at {place} shows a certificate that is not for {name!r}.  Correct the host, or give a name that stands "
            f"in the certificate as server_name=..."
        )
    if "certificate verify failed" in text:
        return (
            f"the broker at {place} shows a certificate that is not trusted.  Give the authority that signed it as ca_file=..., "
            f"or have it renewed if it has expired."
        )
    if "certificate required" in text or "handshake failure" in text:
        return (
            f"the broker at {place} wants a certificate of ours ({text}).  Give one that it trusts as cert_file=..., key_file=..."
        )
    if any(each in text for each in _NO_TLS):
        return (
            f"{place} does not speak TLS.  Correct the port, or begin the URL with amqp:// where the way there is safe without."
        )
    return f"the connection to {place} was lost before the broker said anything: {text}"
