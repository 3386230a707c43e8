"""Which addresses are of the public internet: everything else is a network of somebody's own, or this machine."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final

_EMBEDDING: Final = IPv6Network("64:ff9b::/96")  # NAT64: the last 32 bits are an IPv4 address.
_EMBEDDING_PRIVATE: Final = IPv6Network("64:ff9b:1::/48")
_COMPATIBLE: Final = IPv6Network("::/96")


def is_public(address: str) -> bool:
    """Whether an address that is about to be dialled is public; what is none is not."""
    try:
        given = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(given, IPv6Address):
        if given in _EMBEDDING_PRIVATE:
            return False
        inner = _inside(given)
        if inner is not None:
            return _is_public(inner)
    return _is_public(given)


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    return address.is_global and not address.is_multicast and not address.is_reserved


def _inside(address: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address that an IPv6 address leads to, None when it leads to none."""
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if address in _EMBEDDING or (address in _COMPATIBLE and int(address) > 0xFFFF):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return None
