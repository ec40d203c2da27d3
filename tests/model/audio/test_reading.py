"""Audio that arrives in pieces: containers, resampling, limits."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from audio_bytes import NOISE, RATE, Samples, decoded, encoded

from onebit_model.audio.byte_feed import ByteFeed
from onebit_model.audio.reading import AudioOptions, PcmFormat, Resampler, open_audio
from onebit_model.errors import (
    AudioTooLargeError,
    InvalidAudioError,
    MissingAudioError,
    UnsupportedMediaError,
)

LOSSLESS = [
    ("WAV", "PCM_16"), ("WAV", "FLOAT"), ("WAV", "DOUBLE"), ("WAVEX", "PCM_16"), ("AIFF", "PCM_16"), ("AU", "PCM_16"),
    ("CAF", "PCM_16"), ("RF64", "PCM_16"), ("W64", "PCM_16"), ("FLAC", "PCM_16"), ("NIST", "PCM_16"), ("VOC", "PCM_16"),
    ("PAF", "PCM_16"),
    ("SVX", "PCM_16"), ("IRCAM", "PCM_16"), ("MAT4", "PCM_16"), ("MAT5", "PCM_16"),
    ("PVF", "PCM_16"),
    ("AVR", "PCM_16"), ("SDS", "PCM_16"), ("MPC2K", "PCM_16"),
]  # fmt: skip
LOSSY = [
    ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"), ("WAV", "ULAW"), ("WAV", "ALAW"), ("AU", "ULAW"),
    ("WAV", "IMA_ADPCM"), ("WAV", "MS_ADPCM"), ("WAV", "GSM610"), ("AIFF", "IMA_ADPCM"), ("WVE", "ALAW"),
]  # fmt: skip


@pytest.mark.parametrize(("container", "subtype"), LOSSLESS)
@pytest.mark.parametrize("piece_bytes", [7, 4096, 1 << 20])
def test_lossless_containers(container: str, subtype: str, piece_bytes: int) -> None:
    samples, audio = decoded(encoded(NOISE, container, subtype), piece_bytes=piece_bytes)
    np.testing.assert_allclose(samples[:, 0], NOISE, atol=1 / 32000)
    assert audio.duration_seconds == 3.0
    assert audio.warnings == []


@pytest.mark.parametrize(("container", "subtype"), LOSSY)
def test_lossy_containers(container: str, subtype: str) -> None:
    rate = 8000 if container == "WVE" else RATE
    samples, audio = decoded(encoded(NOISE, container, subtype, rate))
    assert audio.duration_seconds == pytest.approx(len(NOISE) / rate, abs=0.1)
    assert len(samples) == pytest.approx(audio.duration_seconds * RATE, abs=2)
    assert audio.warnings == []


def test_id3_tags_of_any_size_are_skipped() -> None:
    tag = b"ID3\x04\0\0" + bytes([0, (300_000 >> 14) & 127, (300_000 >> 7) & 127, 300_000 & 127]) + bytes(300_000)
    for container in ("MP3", "FLAC"):
        data = encoded(NOISE, container)
        np.testing.assert_array_equal(decoded(tag + tag + data)[0], decoded(data)[0])


@pytest.mark.parametrize(("container", "subtype"), [*LOSSLESS[:10], ("SVX", "PCM_16"), *LOSSY[:4]])
def test_missing_end_is_noticed(container: str, subtype: str) -> None:
    data = encoded(NOISE, container, subtype)
    try:
        samples, audio = decoded(data[: len(data) // 2])
    except UnsupportedMediaError:
        assert container == "CAF"
        return
    assert audio.warnings == ["truncated"]
    assert 0.5 < audio.duration_seconds < 2
    if subtype == "PCM_16":
        np.testing.assert_allclose(samples[:, 0], NOISE[: len(samples)], atol=1 / 32000)


def test_decoding_keeps_up_with_what_arrives() -> None:
    """Blocks come out before the file is complete."""
    data = encoded(np.tile(NOISE, 5), "FLAC")
    feed = ByteFeed()
    feed.offer(data[: len(data) // 2])
    with open_audio(feed, AudioOptions()) as audio:
        blocks = audio.blocks()
        seconds = 0.0
        while seconds < 6:
            seconds += len(next(blocks)) / RATE
        feed.offer(data[len(data) // 2 :])
        feed.close()
        for block in blocks:
            seconds += len(block) / RATE
        assert seconds == pytest.approx(15)


@pytest.mark.parametrize("container", ["WAV", "FLAC", "OGG", "CAF"])
def test_an_upload_that_breaks_off(container: str) -> None:
    data = encoded(NOISE, container)
    feed = ByteFeed()
    feed.offer(data[: len(data) // 2])
    threading.Timer(0.2, feed.abort, [ConnectionError("gone")]).start()
    with pytest.raises(ConnectionError), open_audio(feed, AudioOptions()) as audio:
        list(audio.blocks())
    assert not [thread for thread in threading.enumerate() if thread.name == "audio-pump"]


def test_feed_tells_its_producer_to_wait() -> None:
    room = threading.Event()
    feed = ByteFeed(capacity_bytes=100, on_room=room.set)
    assert feed.offer(bytes(60))
    assert not feed.offer(bytes(60))
    feed.read(1000)
    assert not room.is_set()
    feed.read(1000)
    assert room.is_set()
    assert feed.offer(b"x")
    feed.abandon()
    assert feed.offer(bytes(1000))
    assert feed.read(10) == b""


@pytest.mark.parametrize("data", [b"", b"text", bytes(5000), b"RIFF1234WAVE", b"fLaC", b"OggS", b"\xff\xfb", b"ID3"])
def test_what_is_not_audio(data: bytes) -> None:
    with pytest.raises((MissingAudioError, UnsupportedMediaError)):
        decoded(data)


def test_limits_and_numbers() -> None:
    with pytest.raises(AudioTooLargeError):
        decoded(encoded(NOISE, "FLAC"), AudioOptions(maximum_seconds=2))
    broken = NOISE.copy()
    broken[1000] = np.nan
    with pytest.raises(InvalidAudioError):
        decoded(encoded(broken, "WAV", "FLOAT"))
    with pytest.raises(UnsupportedMediaError, match="7 Hz"):
        decoded(encoded(NOISE[:10], "WAV", rate=7))
    with pytest.raises(InvalidAudioError, match="channel 1"):
        decoded(encoded(NOISE, "WAV"), AudioOptions(channel=1))


def test_channels() -> None:
    both = np.stack([NOISE, NOISE / 2], axis=1)
    data = encoded(both, "WAV", "FLOAT")
    np.testing.assert_allclose(decoded(data)[0][:, 0], NOISE * 0.75, atol=1e-6)
    np.testing.assert_array_equal(decoded(data, AudioOptions(channel=1))[0][:, 0], both[:, 1])
    np.testing.assert_array_equal(decoded(data, AudioOptions(channel="split"))[0], both)


@pytest.mark.parametrize("rate", [8_000, 11_025, 44_100, 48_000])
def test_resampling_does_not_depend_on_blocks(rate: int) -> None:
    signal = np.random.default_rng(rate).normal(0, 0.1, (rate, 1)).astype(np.float32)

    def resampled(size: int) -> Samples:
        resampler = Resampler(rate)
        blocks = [resampler.push(signal[start : start + size]) for start in range(0, len(signal), size)]
        return np.concatenate([*blocks, resampler.finish()])

    whole = resampled(len(signal))
    assert len(whole) == pytest.approx(RATE, abs=2)
    for size in (1, 160, 4096):
        np.testing.assert_array_equal(resampled(size), whole)


def test_resampled_tone() -> None:
    tone = np.sin(np.arange(48_000) * (2 * np.pi * 440 / 48_000)).astype(np.float32)
    samples = decoded(encoded(tone, "WAV", "FLOAT", 48_000))[0][:, 0]
    expected = np.sin(np.arange(16_000) * (2 * np.pi * 440 / 16_000))
    np.testing.assert_allclose(samples[500:-500], expected[500:-500], atol=1e-3)


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("audio/L16; rate=8000; channels=2", PcmFormat(8000, 2)),
        ("Audio/l16", PcmFormat(16000, 1)),
        ('audio/x-raw; rate="44100"; format=f32le', PcmFormat(44100, 1, "<f4")),
        ("audio/L16; rate=16000; endianness=big-endian", PcmFormat(16000, 1, ">i2")),
        ("audio/wav", None),
        ("", None),
    ],
)
def test_headerless_formats(content_type: str, expected: PcmFormat | None) -> None:
    assert PcmFormat.parse(content_type) == expected


def test_headerless_samples_in_any_pieces() -> None:
    both = np.stack([NOISE, -NOISE], axis=1).astype("<f4")
    options = AudioOptions(pcm=PcmFormat(16000, 2, "<f4"), channel="split")
    for piece_bytes in (1, 13, 1 << 20):
        samples, audio = decoded(both[:2000].tobytes(), options, piece_bytes)
        np.testing.assert_array_equal(samples, both[:2000])
        assert audio.warnings == []
    assert decoded(both[:2000].tobytes()[:-3], options)[1].warnings == ["truncated"]


def test_hours_fit_in_little_memory() -> None:
    """The window of what is kept does not grow with the file."""
    import tracemalloc

    data = encoded(np.zeros(RATE * 60, np.float32), "WAV")
    header, body = data[:44], data[44:]
    room = threading.Event()
    feed = ByteFeed(on_room=room.set)
    feed.offer(header[:40] + b"\xff\xff\xff\xff")
    tracemalloc.start()

    def produce() -> None:
        for _ in range(30):
            room.clear()
            if not feed.offer(body):
                room.wait()
        feed.close()

    producer = threading.Thread(target=produce)
    producer.start()
    with open_audio(feed, AudioOptions()) as audio:
        seconds = sum(len(block) for block in audio.blocks()) / RATE
    producer.join()
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seconds == 1800
    assert peak_bytes < 40e6
