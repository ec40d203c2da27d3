"""MPEG audio (MP1, MP2, MP3) frame by frame: where it begins, where one file ends and the next one was joined on.

A decoder believes the number of frames that a Xing, Info or VBRI header promises and stops there; what was joined on
behind it would be lost. So the stream is cut into parts, each of which a decoder of its own reads to its end.

Header: ISO/IEC 11172-3, 2.4.1.3 and 13818-3, 2.4.2.3 (lower sampling frequencies).
"""

from __future__ import annotations

from dataclasses import dataclass

from onebit_model.audio.byte_feed import ByteFeed, Lookahead

HEADER_BYTES = 4
ID3_HEADER_BYTES = 10
ID3_V1_BYTES = 128
APE_HEADER_BYTES = 32
LONGEST_FRAME_BYTES = 2881
BATCH_BYTES = 1 << 14
# Beyond tags, what is no frame is lost speech rather than the padding of a careless tool.
JUNK_BYTES = 4096
SAMPLE_RATES = (44_100, 48_000, 32_000)
# Kilobits a second, by [is MPEG-1][layer]; 0 is free format.
BIT_RATES = {
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


@dataclass(frozen=True)
class Frame:
    layer: int
    sample_rate: int
    is_mono: bool
    is_mpeg1: bool
    length_bytes: int

    @property
    def form(self) -> tuple[int, int, bool]:
        """What a decoder cannot change in the middle."""
        return self.layer, self.sample_rate, self.is_mono


def frame_at(data: bytes | bytearray, start: int = 0) -> Frame | None:
    """The frame whose header stands here; None where none does, or one in free format, whose length nobody tells."""
    if len(data) < start + HEADER_BYTES or data[start] != 0xFF or data[start + 1] & 0xE0 != 0xE0:
        return None
    version, layer = data[start + 1] >> 3 & 3, 4 - (data[start + 1] >> 1 & 3)
    rate_index, bit_rate_index = data[start + 2] >> 2 & 3, data[start + 2] >> 4
    if version == 1 or layer == 4 or rate_index == 3 or bit_rate_index in (0, 15):
        return None
    is_mpeg1 = version == 3
    sample_rate = SAMPLE_RATES[rate_index] // {3: 1, 2: 2, 0: 4}[version]
    bits_per_second = BIT_RATES[is_mpeg1, layer][bit_rate_index] * 1000
    padding = data[start + 2] >> 1 & 1
    if layer == 1:
        length = (12 * bits_per_second // sample_rate + padding) * 4
    else:
        length = (72 if layer == 3 and not is_mpeg1 else 144) * bits_per_second // sample_rate + padding
    return Frame(layer, sample_rate, data[start + 3] >> 6 == 3, is_mpeg1, length)


def id3_tag_bytes(head: bytes | bytearray) -> int:
    """The length of the ID3 tag (version 2) that `head` begins with, its own ten bytes included."""
    return ID3_HEADER_BYTES + sum(
        (byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True)
    )


def first_frame(data: bytes | bytearray, start: int = 0) -> int | None:
    """Where the first frame stands that others of its form follow, as far as `data` shows; None where none does.

    At the very beginning one follower is enough; what was cut out of a stream begins in the middle of a frame, and has
    to show two.
    """
    at = data.find(b"\xff", start)
    while at >= 0:
        if _is_followed(data, at, 1 if at == 0 else 2):
            return at
        at = data.find(b"\xff", at + 1)
    return None


def _is_followed(data: bytes | bytearray, at: int, followers: int) -> bool:
    first = frame = frame_at(data, at)
    seen = 0
    while frame is not None and first is not None and frame.form == first.form:
        at += frame.length_bytes
        if seen == followers or len(data) < at + HEADER_BYTES:
            return seen > 0 or followers == 1
        frame = frame_at(data, at)
        seen += 1
    return False


def announced_frames(frame: Frame, data: bytes | bytearray, start: int) -> int | None:
    """How many frames follow by this one's Xing, Info or VBRI header (0: it does not say); None where it has none."""
    side_bytes = (17 if frame.is_mono else 32) if frame.is_mpeg1 else (9 if frame.is_mono else 17)
    for at in (start + HEADER_BYTES + side_bytes, start + HEADER_BYTES + side_bytes + 2):
        if data[at : at + 4] in (b"Xing", b"Info"):
            has_frames = data[at + 7] & 1
            return int.from_bytes(data[at + 8 : at + 12], "big") if has_frames else 0
    at = start + HEADER_BYTES + 32
    if data[at : at + 4] == b"VBRI":
        return int.from_bytes(data[at + 14 : at + 18], "big")
    return None


class MpegPart:
    """The frames of one file, and nothing else of what was sent; the feed goes on with the next file."""

    def __init__(self, feed: ByteFeed) -> None:
        self._ahead = Lookahead(feed)
        self._form: tuple[int, int, bool] | None = None
        self._frames_left: int | None = None
        self._junk_bytes = 0
        self._is_cut = False
        self._ended = False

    @property
    def is_cut(self) -> bool:
        """Does the last frame, or some that were promised, miss?"""
        return self._is_cut or bool(self._frames_left)

    @property
    def is_incomplete(self) -> bool:
        return self._junk_bytes > JUNK_BYTES

    def read(self, count: int) -> bytes:
        """Whole frames; none at the end of this file."""
        while not self._ended:
            if frames_bytes := self._frames_waiting(count):
                return self._ahead.take(frames_bytes)
            self._go_on()
        return b""

    def _frames_waiting(self, count: int) -> int:
        waiting, at = self._ahead.waiting, 0
        while (frame := frame_at(waiting, at)) is not None and len(waiting) >= at + frame.length_bytes:
            if at + frame.length_bytes > count or not self._belongs(frame, at):
                break
            at += frame.length_bytes
        return at

    def _belongs(self, frame: Frame, at: int) -> bool:
        """Is the frame one of this file's? The first one decides what the others look like."""
        announced = announced_frames(frame, self._ahead.waiting, at) if frame.layer == 3 else None
        if self._form is None:
            self._form = frame.form
            self._frames_left = announced or None
            return True
        if frame.form != self._form or self._frames_left == 0 or announced is not None:
            return False
        if self._frames_left is not None:
            self._frames_left -= 1
        return True

    def _go_on(self) -> None:
        """What waits does not begin with a whole frame of this file."""
        if len(self._ahead.waiting) < HEADER_BYTES:
            if not self._ahead.has(HEADER_BYTES):
                self._end(junk_bytes=len(self._ahead.waiting))
            return
        frame = frame_at(self._ahead.waiting)
        if frame is None:
            self._skip()
        elif len(self._ahead.waiting) < frame.length_bytes:
            self._is_cut = not self._ahead.has(frame.length_bytes)
            if self._is_cut:
                self._end(junk_bytes=0)
        elif frame.form == self._form or self._is_confirmed(frame):
            self._ahead.put_back()
            self._ended = True
        else:
            self._skip()

    def _is_confirmed(self, frame: Frame) -> bool:
        """A frame of another form: the first of another file, or bytes that look like one?"""
        self._ahead.has(frame.length_bytes + HEADER_BYTES)
        return _is_followed(self._ahead.waiting, 0, 1)

    def _skip(self) -> None:
        tag_bytes = self._tag_bytes()
        if tag_bytes:
            while tag_bytes and self._ahead.has(1):
                tag_bytes -= len(self._ahead.take(tag_bytes))
            return
        self._ahead.has(3 * LONGEST_FRAME_BYTES)
        at = first_frame(self._ahead.waiting, 1)
        if at is None:
            at = max(1, len(self._ahead.waiting) - 2 * LONGEST_FRAME_BYTES)
        self._junk_bytes += len(self._ahead.take(at).strip(b"\0"))

    def _tag_bytes(self) -> int:
        """The length of the ID3 or APE tag that begins here; 0 where none does."""
        self._ahead.has(APE_HEADER_BYTES)
        waiting = self._ahead.waiting
        if waiting.startswith(b"ID3") and len(waiting) >= ID3_HEADER_BYTES:
            return id3_tag_bytes(waiting)
        if waiting.startswith(b"APETAGEX") and len(waiting) >= APE_HEADER_BYTES:
            is_header = waiting[23] & 0x20
            return APE_HEADER_BYTES + (int.from_bytes(waiting[12:16], "little") if is_header else 0)
        return ID3_V1_BYTES if waiting.startswith(b"TAG") else 0

    def _end(self, junk_bytes: int) -> None:
        self._junk_bytes += junk_bytes
        self._ahead.waiting.clear()
        self._ended = True
