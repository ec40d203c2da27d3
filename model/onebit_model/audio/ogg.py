"""Ogg page by page: where one logical stream ends and the next one was joined on, and what its clock says.

A page header (RFC 3533, section 6) holds the granule position at the page's end: the clock, in samples. A page may
begin later than the one before it ended; the decoder does not notice, and words behind the hole would come too early.
"""

from __future__ import annotations

from dataclasses import dataclass

from onebit_model.audio.byte_feed import ByteFeed, Lookahead

MAGIC = b"OggS"
HEADER_BYTES = 27
LARGEST_PAGE_BYTES = HEADER_BYTES + 255 + 255 * 255
CONTINUED, BEGINS, ENDS = 1, 2, 4
NO_GRANULE = (1 << 64) - 1
# Shorter holes are rounding of whoever wrote the file.
HOLE_SECONDS = 0.1
# A stream that begins later than this was joined in progress: its clock is the sender's, not the recording's.
LATEST_START_SECONDS = 3600.0
# Comments with pictures are not worth holding; a hole after them is not filled.
KEPT_HEADER_BYTES = 1 << 20
OPUS_RATE = 48_000


@dataclass(frozen=True)
class Page:
    data: bytes

    @property
    def flags(self) -> int:
        return self.data[5]

    @property
    def granule(self) -> int | None:
        """Samples until the end of the last packet that ends here; None where none does."""
        granule = int.from_bytes(self.data[6:14], "little")
        return None if granule == NO_GRANULE else granule

    @property
    def serial(self) -> bytes:
        return self.data[14:18]

    @property
    def lacing(self) -> bytes:
        return self.data[HEADER_BYTES : HEADER_BYTES + self.data[26]]

    @property
    def body(self) -> bytes:
        return self.data[HEADER_BYTES + self.data[26] :]

    @property
    def ended_packets(self) -> int:
        return sum(length < 255 for length in self.lacing)


class OpusClock:
    """Samples at 48 kHz, exactly: every packet tells its length in its first two bytes (RFC 6716, section 3.1)."""

    rate = OPUS_RATE
    header_packets = 2

    def __init__(self, first_packet: bytes) -> None:
        # What a decoder drops at its start (RFC 7845, section 4.2).
        self.dropped_at_start = int.from_bytes(first_packet[10:12], "little")
        self._begun = b""

    def samples(self, page: Page) -> int:
        total, at, body = 0, 0, page.body
        packet = self._begun if page.flags & CONTINUED else b""
        for length in page.lacing:
            packet = (packet + body[at : at + length])[:2]
            at += length
            if length < 255:
                total += opus_packet_samples(packet)
                packet = b""
        self._begun = packet
        return total

    def learn(self, samples: int, most: int) -> None:
        """What was at most so many samples were so many: known here."""

    def likely(self, most: int) -> int:
        return most


def opus_packet_samples(start: bytes) -> int:
    if not start:
        return 0
    configuration, code = start[0] >> 3, start[0] & 3
    if configuration < 12:
        frame = (480, 960, 1920, 2880)[configuration & 3]
    elif configuration < 16:
        frame = (480, 960)[configuration & 1]
    else:
        frame = (120, 240, 480, 960)[configuration & 3]
    return frame * ((1, 2, 2)[code] if code < 3 else start[1] & 63 if len(start) > 1 else 0)


class VorbisClock:
    """An estimate: which packets are long blocks stands in codebooks. None gives more than half of one (Vorbis I,
    section 4.3.8)."""

    header_packets = 3
    dropped_at_start = 0

    def __init__(self, first_packet: bytes) -> None:
        self.rate = int.from_bytes(first_packet[12:16], "little")
        self._longest = (1 << (first_packet[28] >> 4)) // 2
        self._samples = self._most = 1

    def samples(self, page: Page) -> int:
        """At most so many."""
        return page.ended_packets * self._longest

    def learn(self, samples: int, most: int) -> None:
        self._samples += samples
        self._most += most

    def likely(self, most: int) -> int:
        """By the pages before."""
        return round(most * self._samples / self._most)


def clock_of(first_packet: bytes) -> OpusClock | VorbisClock | None:
    """None for what libsndfile does not decode."""
    if first_packet.startswith(b"OpusHead") and len(first_packet) >= 19:
        return OpusClock(first_packet)
    if first_packet.startswith(b"\1vorbis") and len(first_packet) >= 30 and any(first_packet[12:16]):
        return VorbisClock(first_packet)
    return None


class OggPart:
    """One logical stream of sound, up to its end or to a hole in its time; the feed goes on with what follows.

    Pages of other streams beside it (pictures) are left out. Where nothing is decoded here (`clock` is None) all pages
    of the multiplexed streams are kept, for ffmpeg.
    """

    def __init__(self, feed: ByteFeed) -> None:
        self._ahead = Lookahead(feed)
        self._is_cut = False
        self.lost_bytes = 0
        self._beginnings: list[Page] = []
        while (page := self._next_page()) is not None and page.flags & BEGINS:
            self._beginnings.append(page)
        self._pending: list[Page] = [] if page is None else [page]
        sounds = [(page, clock) for page in self._beginnings if (clock := clock_of(page.body)) is not None]
        self.clock = sounds[0][1] if sounds else None
        self.has_other_sounds = len(sounds) > 1
        self._serial = sounds[0][0].serial if sounds else None
        self._pending[:0] = [sounds[0][0]] if sounds else self._beginnings
        self._kept: list[bytes] = []
        self._header_packets = 0
        self._granule: int | None = None
        self._ended = self._ended_well = False
        self.start_seconds = 0.0
        self.hole_seconds = 0.0

    @property
    def is_cut(self) -> bool:
        return self._is_cut or not self._ended_well

    def read(self, count: int) -> bytes:
        """One page; none at the end of the stream."""
        while not self._ended and (page := self._next_of_part()) is not None:
            if self._serial is not None and page.serial != self._serial:
                continue
            if self._is_behind_hole(page):
                self._end(b"".join(self._kept) + page.data)
                self._ended_well = True
                return b""
            self._ended_well = bool(page.flags & ENDS)
            return page.data
        return b""

    def _next_of_part(self) -> Page | None:
        if self._pending:
            return self._pending.pop(0)
        page = self._next_page()
        if page is None or page.flags & BEGINS:
            self._end(b"" if page is None else page.data)
            return None
        return page

    def _end(self, unread: bytes) -> None:
        self._ahead.put_back(unread + b"".join(page.data for page in self._pending))
        self._ended = True

    def _is_behind_hole(self, page: Page) -> bool:
        """Follows the clock; where it jumps, `hole_seconds` says how far."""
        if self.clock is None:
            return False
        if self._header_packets < self.clock.header_packets:
            self._header_packets += page.ended_packets
            self._kept.append(page.data)
            return False
        most = self.clock.samples(page)
        if page.granule is None:
            return False
        before, self._granule = self._granule, page.granule
        if before is None:
            start_seconds = (page.granule - most) / self.clock.rate
            if HOLE_SECONDS < start_seconds < LATEST_START_SECONDS:
                self.start_seconds = start_seconds
            return False
        samples = page.granule - before
        if samples - most < HOLE_SECONDS * self.clock.rate or sum(map(len, self._kept)) > KEPT_HEADER_BYTES:
            self.clock.learn(max(0, samples), most)
            return False
        self.hole_seconds = (samples - self.clock.likely(most) + self.clock.dropped_at_start) / self.clock.rate
        return True

    def _next_page(self) -> Page | None:
        """None at the end of everything, and before what is no page."""
        while self._ahead.has(HEADER_BYTES):
            waiting = self._ahead.waiting
            if not waiting.startswith(MAGIC):
                if not self._find_page():
                    return None
                continue
            table_end = HEADER_BYTES + waiting[26]
            if self._ahead.has(table_end) and self._ahead.has(
                length := table_end + sum(waiting[HEADER_BYTES:table_end])
            ):
                return Page(self._ahead.take(length))
            break
        self._is_cut = bool(self._ahead.waiting)
        self._ahead.waiting.clear()
        return None

    def _find_page(self) -> bool:
        """Skips damage, if it is no longer than a page; longer, it is something else."""
        self._ahead.has(LARGEST_PAGE_BYTES + len(MAGIC))
        at = self._ahead.waiting.find(MAGIC)
        if at >= 0:
            self.lost_bytes += len(self._ahead.take(at))
        return at >= 0
