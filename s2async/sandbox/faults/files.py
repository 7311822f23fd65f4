"""Faults of file responses: ranges other than the requested ones, other versions, damage, malicious headers."""

from __future__ import annotations

import random
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from s2async.sandbox.server.answers import Answer, Asked, Fault, Slice, content, s3_error
from s2async.sandbox.server.files import Files

_RANGE: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_LONG: Final = 4
_ENTRY: Final = 12
"""Bytes of one entry of a TIFF directory."""


def _dice(*seed: object) -> random.Random:
    return random.Random(" ".join(map(str, seed)))  # noqa: S311 - not for secrets


def short(by: int = 8) -> Fault:
    """Return a fault that sends fewer bytes than requested; the headers state it."""
    return _ranged(lambda part: part.answer(part.first, max(part.first, part.last - by)))


def shift(by: int = 8, honest: bool = True) -> Fault:
    """Return a fault that sends other bytes than requested; ``honest`` sets whether Content-Range states it."""

    def spoil(part: _Part) -> Answer:
        moved = part.answer(min(part.first + by, part.whole - 1), min(part.last + by, part.whole - 1))
        return moved if honest else replace(moved, headers=part.headers)

    return _ranged(spoil)


def norange() -> Fault:
    """Return a fault that sends the whole file, like a server that does not support ranges."""

    def spoil(part: _Part) -> Answer:
        headers = {name: value for name, value in part.headers.items() if name != "Content-Range"}
        return Answer(status=200, headers=headers, body=replace(part.body, start=0, length=part.whole))

    return _ranged(spoil)


def multipart() -> Fault:
    """Return a fault that sends the range as the only part of a multipart body, a form for several ranges."""

    def spoil(part: _Part) -> Answer:
        head = f"--B\r\nContent-Type: image/tiff\r\nContent-Range: {part.headers['Content-Range']}\r\n\r\n"
        others = {name: value for name, value in part.headers.items() if name != "Content-Range"}
        headers = {**others, "Content-Type": "multipart/byteranges; boundary=B"}
        return Answer(status=206, headers=headers, body=head.encode() + content(part.body) + b"\r\n--B--\r\n")

    return _ranged(spoil)


def hole(at: float = 2 / 3, size: int | None = None, zeros: bool = True, seed: int = 0) -> Fault:
    """Return a fault that loses bytes inside the body; its length and the headers are right.

    Args:
        at: where the bytes begin, as a share of the body.
        size: number of bytes; None for all that follow.
        zeros: replace the bytes by zeros; otherwise by random bytes.
        seed: seed of the random bytes, combined with the file and the range.
    """

    def spoil(part: _Part) -> Answer:
        body = bytearray(content(part.body))
        start = int(at * len(body))
        end = len(body) if size is None else min(start + size, len(body))
        chance = _dice(seed, part.body.path.parent.name, part.body.path.name, part.first)
        body[start:end] = bytes(end - start) if zeros else chance.randbytes(end - start)
        return Answer(status=206, headers=part.headers, body=bytes(body))

    return _ranged(spoil)


def edition(folder: str, heeds: bool = True) -> Fault:
    """Return a fault that responds with another edition of the file.

    Args:
        folder: folder of the world that contains the edition, under the same path.
        heeds: whether the server respects conditions, such as that the file has not changed since.
    """
    files = Files(Path(folder))
    conditions = {"if-match", "if-none-match", "if-unmodified-since", "if-range"}

    def spoil(asked: Asked, _answer: Answer) -> Answer:
        kept = {name: text for name, text in asked.headers.items() if heeds or name.lower() not in conditions}
        return files.answer(replace(asked, headers=kept))

    return spoil


def flip(bits: int = 1, seed: int = 0) -> Fault:
    """Return a fault that flips bits of the body, which depend on the seed, the file and the range."""

    def spoil(asked: Asked, answer: Answer) -> Answer:
        body = bytearray(content(answer.body))
        chance = _dice(seed, asked.path, asked.headers.get("Range"))
        for _ in range(bits if body else 0):
            body[chance.randrange(len(body))] ^= 1 << chance.randrange(8)
        return replace(answer, body=bytes(body))

    return spoil


def noise(seed: int = 0) -> Fault:
    """Return a fault that replaces the body by random bytes."""

    def spoil(_asked: Asked, answer: Answer) -> Answer:
        return replace(answer, body=_dice(seed).randbytes(len(answer.body)))

    return spoil


def swap() -> Fault:
    """Return a fault that responds with another version of the file.

    The ETag is another one, and so are all bytes except those of the header.
    """

    def spoil(asked: Asked, answer: Answer) -> Answer:
        sound = asked.headers.get("Range", "").startswith("bytes=0-")
        body = answer.body if sound else _dice(asked.path).randbytes(len(answer.body))
        return replace(answer, headers={**answer.headers, "ETag": '"another-version"'}, body=body)

    return spoil


def truncated(share: float = 0.5) -> Fault:
    """Return a fault in which the file ends early, after a share of its bytes."""

    def spoil(part: _Part) -> Answer:
        size = int(part.whole * share)
        if part.first >= size:
            error = s3_error(416, "InvalidRange", "The requested range is not satisfiable")
            return replace(error, headers={**error.headers, "Content-Range": f"bytes */{size}"})
        last = min(part.last, size - 1)
        there = part.answer(part.first, last)
        headers = {**there.headers, "Content-Range": f"bytes {part.first}-{last}/{size}"}
        return replace(there, headers=headers)

    return _ranged(spoil)


def poke(at: int, data: str) -> Fault:
    """Return a fault that replaces bytes of the file: by ``data`` in hexadecimal, from byte ``at`` of the file."""
    new = bytes.fromhex(data)

    def spoil(part: _Part) -> Answer:
        body = bytearray(content(part.body))
        for index, byte in enumerate(new, start=at - part.first):
            if 0 <= index < len(body):
                body[index] = byte
        return Answer(status=206, headers=part.headers, body=bytes(body))

    return _ranged(spoil)


def tag(number: int, value: int, kind: int = _LONG, values: int = 1) -> Fault:
    """Return a fault that changes an entry of the first TIFF directory.

    Args:
        number: number of the tag; a missing tag stays missing.
        value: value of the entry, or the position of its values.
        kind: type of its values (TIFF 6.0, section 2), LONG by default.
        values: number of values that the entry states.
    """

    def spoil(_asked: Asked, answer: Answer) -> Answer:
        body = bytearray(content(answer.body))
        if body[:4] != b"II*\0":
            return answer
        (at,) = struct.unpack_from("<I", body, 4)
        (entries,) = struct.unpack_from("<H", body, at)
        for place in range(at + 2, min(at + 2 + _ENTRY * entries, len(body) - _ENTRY), _ENTRY):
            if struct.unpack_from("<H", body, place)[0] == number:
                struct.pack_into("<HHII", body, place, number, kind, values, value)
        return replace(answer, body=bytes(body))

    return spoil


class _Part:
    """Part of a file, as in the correct response."""

    def __init__(self, body: Slice, headers: Mapping[str, str], found: re.Match[str]) -> None:
        self.body, self.headers = body, headers
        self.first, self.last, self.whole = (int(number) for number in found.groups())

    def answer(self, first: int, last: int) -> Answer:
        """Return a correct response with other bytes of the file."""
        headers = {**self.headers, "Content-Range": f"bytes {first}-{last}/{self.whole}"}
        return Answer(status=206, headers=headers, body=replace(self.body, start=first, length=last - first + 1))


def _ranged(spoil: Callable[[_Part], Answer]) -> Fault:
    """Return a fault that only affects parts of a file; other responses are not changed."""

    def fault(_asked: Asked, answer: Answer) -> Answer:
        found = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        if answer.status != 206 or found is None or not isinstance(answer.body, Slice):
            return answer
        return spoil(_Part(answer.body, answer.headers, found))

    return fault


FAULTS: Final[Mapping[str, Callable[..., Fault]]] = {
    "short": short,
    "shift": shift,
    "norange": norange,
    "multipart": multipart,
    "hole": hole,
    "edition": edition,
    "flip": flip,
    "noise": noise,
    "swap": swap,
    "truncated": truncated,
    "poke": poke,
    "tag": tag,
}
"""Functions that make faults, keyed by name; their parameters are the settings of the fault."""
