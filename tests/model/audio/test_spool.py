"""What waits on disk between a producer and its reader."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import pytest

from onebit_model.audio.byte_feed import ByteFeed
from onebit_model.audio.spool import Spool, SpoolBudget

KIB = 1 << 10


def test_bytes_come_out_as_they_went_in() -> None:
    """In odd pieces, through memory and disk, with a budget that ends in the middle."""
    generator = random.Random(1)
    data = generator.randbytes(900 * KIB)
    room = threading.Event()
    feed = ByteFeed(8 * KIB, room.set, Spool(SpoolBudget(100 * KIB)))

    def produce() -> None:
        at = 0
        while at < len(data):
            size = generator.randrange(1, 40 * KIB)
            room.clear()
            if not feed.offer(data[at : at + size]):
                room.wait()
            at += size
        feed.close()

    producer = threading.Thread(target=produce)
    producer.start()
    assert feed.peek(20 * KIB) == data[: 20 * KIB]
    received = b""
    while piece := feed.read(random.Random(len(received)).randrange(1, 70 * KIB)):
        received += piece
    producer.join()
    assert received == data


def test_a_budget_is_shared_and_comes_back() -> None:
    budget = SpoolBudget(10)
    first, second = Spool(budget), Spool(budget)
    assert first.append(b"12345678", always=False)
    assert not second.append(b"123", always=False)
    assert second.append(b"123", always=True)
    assert first.take() == b"12345678"
    assert first.append(b"1234567", always=False)
    first.close()
    second.close()
    assert first.append(b"1234567890", always=False)
    first.close()


def test_without_room_the_producer_waits() -> None:
    feed = ByteFeed(4, spool=Spool(SpoolBudget(4)))
    assert feed.offer(b"1234")
    assert feed.offer(b"5678")
    assert not feed.offer(b"9")
    assert feed.read(4) == b"1234"
    assert b"".join(feed.read(9) for _ in range(2)) == b"56789"
    assert feed.offer(b"0")


def test_a_full_disk_is_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """/dev/full takes nothing."""
    with Path("/dev/full").open("r+b", buffering=0) as full:
        monkeypatch.setattr("tempfile.TemporaryFile", lambda **_: full)
        spool = Spool(SpoolBudget(100))
        assert not spool.append(b"1234", always=False)
        with pytest.raises(OSError, match="space"):
            spool.append(b"1234", always=True)
        assert len(spool) == 0


def test_an_abort_drops_what_waits() -> None:
    budget = SpoolBudget(8)
    feed = ByteFeed(2, spool=Spool(budget))
    feed.offer(b"12")
    feed.offer(b"345678")
    feed.abort(RuntimeError("gone"))
    with pytest.raises(RuntimeError, match="gone"):
        feed.read(1)
    assert budget.take(8, always=False)
