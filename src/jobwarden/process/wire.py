"""How processes talk: length-prefixed JSON frames on a stream (seats) and one JSON object per packet (zygote).

A frame is a 4-byte big-endian length and that many bytes of UTF-8 JSON. A packet may carry file descriptors; one that
is too large for a packet travels as a memory file. Frames keep their order.
"""

from __future__ import annotations

import array
import json
import os
import socket
import struct
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import pydantic_core

Frame: TypeAlias = dict[str, Any]

_LENGTH = struct.Struct(">I")
_SOL_SOCKET, _SCM_RIGHTS = int(socket.SOL_SOCKET), int(socket.SCM_RIGHTS)
_PACKET_LIMIT = 60_000
_MAX_FDS = 4
CHUNK = 65_536


def to_json(value: object) -> bytes:
    """Compact JSON as bytes; text that is not valid Unicode is escaped."""
    try:
        return pydantic_core.to_json(value)
    except ValueError:
        return json.dumps(value, separators=(",", ":")).encode()


def from_json(data: bytes) -> Any:
    """The value that JSON bytes spell; raises ValueError."""
    try:
        return pydantic_core.from_json(data, cache_strings="none")
    except ValueError:
        return json.loads(data)


def pack(frame: Mapping[str, Any]) -> bytes:
    """One frame, ready to send."""
    body = to_json(frame)
    return _LENGTH.pack(len(body)) + body


def pack_json(body: bytes) -> bytes:
    """One frame whose body is already JSON."""
    return _LENGTH.pack(len(body)) + body


class Inbox:
    """Turns the bytes of a stream back into frames, whatever the cuts in between."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that are complete now, in order; raises ValueError on bytes that are no frames."""
        if self._rest:
            data = self._rest + data
        frames: list[Frame] = []
        start, size = 0, len(data)
        while size - start >= 4:
            end = start + 4 + int.from_bytes(data[start : start + 4], "big")
            if end > size:
                break
            frames.append(from_json(data[start + 4 : end]))
            start = end
        self._rest = data[start:] if start < size else b""
        return frames

    @property
    def rest(self) -> bytes:
        """What came in but is no complete frame yet."""
        return self._rest


def send_packet(sock: socket.socket, message: Mapping[str, Any], fds: Sequence[int] = ()) -> None:
    """Send one packet with its file descriptors; waits while the other side is behind, raises OSError if it is gone."""
    data = to_json(message)
    if len(data) <= _PACKET_LIMIT:
        _send(sock, data, fds)
        return
    memory = os.memfd_create("jobwarden-packet")
    try:
        os.write(memory, data)
        _send(sock, b"", [*fds, memory])
    finally:
        os.close(memory)


def receive_packet(sock: socket.socket) -> tuple[Frame, list[int]] | None:
    """The next packet and its file descriptors (close-on-exec), or None at the end.

    Never waits: raises BlockingIOError when nothing is there.
    """
    data, fds = _receive(sock)
    if data:
        return from_json(data), fds
    if not fds:
        return None
    memory = fds.pop()
    try:
        return from_json(os.pread(memory, os.fstat(memory).st_size, 0)), fds
    finally:
        os.close(memory)


def _send(sock: socket.socket, data: bytes, fds: Sequence[int]) -> None:
    rights = struct.pack(f"{len(fds)}i", *fds)
    sock.sendmsg([data], [(_SOL_SOCKET, _SCM_RIGHTS, rights)] if fds else [])


def _receive(sock: socket.socket) -> tuple[bytes, list[int]]:
    room = socket.CMSG_SPACE(_MAX_FDS * 4)
    data, ancillary, _, _ = sock.recvmsg(_PACKET_LIMIT + 4096, room, socket.MSG_CMSG_CLOEXEC | socket.MSG_DONTWAIT)
    fds = array.array("i")
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
    return data, list(fds)
