"""Files that were joined end to end: one part ends where another header of the same kind stands.

The first bytes of these formats are so long and so rigid that they do not occur by chance.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from onebit_model.audio.byte_feed import ByteFeed, Lookahead

# The farthest that a header reaches from its first byte to the last one that is looked at.
HEADER_BYTES = 64


@dataclass(frozen=True)
class Signature:
    """`literal` is searched, `pattern` has to match `before` bytes in front of it."""

    literal: bytes
    before: int
    pattern: re.Pattern[bytes]

    def find(self, data: bytes | bytearray, start: int) -> int | None:
        """Where a header stands at `start` or behind it."""
        at = data.find(self.literal, start + self.before)
        while at >= 0:
            if self.pattern.match(data, at - self.before):
                return at - self.before
            at = data.find(self.literal, at + 1)
        return None


def _signature(literal: bytes, before: int, pattern: bytes) -> Signature:
    return Signature(literal, before, re.compile(pattern, re.DOTALL))


SIGNATURES = {
    "wav": _signature(b"WAVE", 8, rb"RIF[FX].{4}WAVE"),
    "avi": _signature(b"AVI LIST", 8, rb"RIFF.{4}AVI LIST"),
    "aiff": _signature(b"AIF", 8, rb"FORM.{4}AIF[FC]"),
    "au": _signature(b".snd\0\0", 0, rb"\.snd\x00\x00.{6}\x00{3}[\x01-\x1d]\x00[\x00-\x0b]..\x00{3}[\x01-\x40]"),
    "flac": _signature(b"fLaC", 0, rb"fLaC[\x00\x80]\x00\x00\x22"),
    "caf": _signature(b"caff", 0, rb"caff\x00\x01\x00\x00desc\x00{7}\x20"),
    "w64": _signature(b"riff\x2e\x91\xcf\x11", 0, rb"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"),
    "mov": _signature(b"ftyp", 4, rb"\x00\x00\x00[\x10-\x80]ftyp[ -~]{4}"),
    "matroska": _signature(b"\x1a\x45\xdf\xa3", 0, rb"\x1a\x45\xdf\xa3.{1,48}?\x42\x82.(webm|matroska)"),
    "asf": _signature(b"\x30\x26\xb2\x75", 0, rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c"),
    "amr": _signature(b"#!AMR", 0, rb"#!AMR(-WB)?\n"),
    # The first block of a file, which has the index 0 and begins a set of channels.
    "wv": _signature(
        b"wvpk",
        0,
        rb"wvpk.{4}[\x02-\x10]\x04\x00..{4}\x00{4}.{4}."
        rb"[\x08-\x0f\x18-\x1f\x28-\x2f\x38-\x3f\x48-\x4f\x58-\x5f\x68-\x6f\x78-\x7f]",
    ),
    "tta": _signature(b"TTA1", 0, rb"TTA1[\x01-\x03]\x00[\x01-\x08]\x00[\x08-\x20]\x00"),
    "flv": _signature(b"FLV\1", 0, rb"FLV\x01[\x01\x04\x05]\x00\x00\x00\x09\x00{4}"),
}


class JoinedPart:
    """What was sent up to the next header of the kind, which the feed goes on with; all of it where there is none."""

    def __init__(self, feed: ByteFeed, kind: str | None) -> None:
        self._ahead = Lookahead(feed)
        self._signature = SIGNATURES.get(kind or "")
        self._ended = False
        self.bytes = 0

    def read(self, count: int) -> bytes:
        """At least one byte; none at the end of the part."""
        if self._ended:
            return b""
        # A header has to be seen whole, so its length is held back until more comes.
        is_last = not self._ahead.has(HEADER_BYTES + 1)
        waiting = self._ahead.waiting
        end = self._signature.find(waiting, int(not self.bytes)) if self._signature else None
        if end is None:
            end = len(waiting) if is_last else len(waiting) - HEADER_BYTES
        data = self._ahead.take(min(count, end))
        self.bytes += len(data)
        if not data:
            self._ahead.put_back()
            self._ended = True
        return data
