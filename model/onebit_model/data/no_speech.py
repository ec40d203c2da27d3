"""Sounds without words: what a decoder must be silent on. Noise of every colour, recordings, tones and music."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from onebit_model.config import SAMPLE_RATE
from onebit_model.data.corpora import Sound, Utterance

CORPUS = "no-speech"
Samples = NDArray[np.float32]
Random = np.random.Generator
SHORTEST_SECONDS = 1.0
LONGEST_SECONDS = 15.0
LEVELS_DECIBEL = (-70.0, -10.0)  # of full scale, RMS
KEYPAD = ((697, 770, 852, 941), (1209, 1336, 1477, 1633))  # hertz: rows and columns (ITU-T Q.23)


def no_speech_clips(count: int, seed: int, recordings: Sequence[Samples] = ()) -> list[Utterance]:
    """`count` clips with empty texts; excerpts of `recordings` (16 kHz) are among them where there are some."""
    makers: list[Callable[[int, Random], Samples]] = [silence, coloured_noise, coloured_noise, tones, keypad, music]
    if recordings:
        makers += [lambda length, rng: excerpt(recordings, length, rng)] * 2
    clips = []
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        length = int(rng.uniform(SHORTEST_SECONDS, LONGEST_SECONDS) * SAMPLE_RATE)
        samples = at_level(makers[number % len(makers)](length, rng), rng.uniform(*LEVELS_DECIBEL))
        clips.append(Utterance(f"{number:05d}", CORPUS, CORPUS, "", length / SAMPLE_RATE, Sound(samples), "synthetic"))
    return clips


def at_level(samples: Samples, decibel: float) -> Samples:
    """The samples at an RMS level relative to full scale, clipped there; zeros stay zeros."""
    level = float(np.sqrt(np.square(samples).mean())) or 1.0
    return np.clip(samples * (10 ** (decibel / 20) / level), -1, 1).astype(np.float32)


def silence(length: int, rng: Random) -> Samples:
    """Digital silence, or room tone: faint noise and the hum of the mains."""
    if rng.random() < 0.3:
        return np.zeros(length, np.float32)
    hum = sum(np.sin(2 * np.pi * k * rng.choice([50, 60]) * _time(length)) * rng.uniform(0, 1) / k for k in (1, 2, 3))
    return (coloured_noise(length, rng) + np.float32(rng.uniform(0, 2)) * hum).astype(np.float32)


def coloured_noise(length: int, rng: Random) -> Samples:
    """Power falling by 0 (white), 10 (pink) to 20 (brown) dB a decade, sometimes swelling slowly."""
    spectrum = np.fft.rfft(rng.standard_normal(length))
    frequency = np.maximum(np.arange(len(spectrum)), 20 * length / SAMPLE_RATE)
    noise = np.fft.irfft(spectrum * frequency ** -(rng.choice([0.0, 0.5, 1.0, rng.uniform(0, 1)])), length)
    if rng.random() < 0.3:
        noise *= 1 + 0.9 * np.sin(2 * np.pi * rng.uniform(0.1, 3) * _time(length))
    return (noise / noise.std()).astype(np.float32)


def tones(length: int, rng: Random) -> Samples:
    """One to three steady, gliding or beeping tones."""
    sound = np.zeros(length)
    for _ in range(rng.integers(1, 4)):
        start, end = np.exp(rng.uniform(np.log(80), np.log(5000), 2))
        glide = np.linspace(start, end if rng.random() < 0.3 else start, length)
        tone = np.sin(2 * np.pi * np.cumsum(glide) / SAMPLE_RATE)
        if rng.random() < 0.5:
            tone *= np.sin(2 * np.pi * rng.uniform(0.3, 4) * _time(length)) > 0
        sound += rng.uniform(0.2, 1) * tone
    return _with_hiss(sound, rng)


def keypad(length: int, rng: Random) -> Samples:
    """Dialled digits (DTMF)."""
    sound = np.zeros(length)
    on, off = int(rng.uniform(0.05, 0.3) * SAMPLE_RATE), int(rng.uniform(0.03, 0.3) * SAMPLE_RATE)
    for start in range(0, length - on, on + off):
        time = _time(on)
        sound[start : start + on] = sum(np.sin(2 * np.pi * rng.choice(group) * time) for group in KEYPAD)
    return _with_hiss(sound, rng)


def music(length: int, rng: Random) -> Samples:
    """Chords and a melody of plucked or held harmonics over a beat of noise."""
    sound = np.zeros(length)
    beat = int(rng.uniform(0.15, 0.8) * SAMPLE_RATE)
    time = _time(beat)
    brightness, decay = rng.uniform(0.8, 2.5), rng.choice([0.0, rng.uniform(1, 8)])
    envelope = np.exp(-decay * time) * np.minimum(1, time * 50)
    root = rng.uniform(80, 300)
    for start in range(0, length - beat, beat):
        notes = root * 2 ** (rng.choice([0, 2, 4, 5, 7, 9, 11, 12], rng.integers(1, 4)) / 12)
        for note in notes:
            for harmonic in range(1, 7):
                phase = rng.uniform(0, 2 * np.pi)
                wave = np.sin(2 * np.pi * note * harmonic * time + phase) * harmonic**-brightness
                sound[start : start + beat] += envelope * wave
        if rng.random() < 0.5:
            sound[start : start + beat] += rng.standard_normal(beat) * np.exp(-60 * time) * rng.uniform(0, 1)
    return _with_hiss(sound, rng)


def excerpt(recordings: Sequence[Samples], length: int, rng: Random) -> Samples:
    """A part of a recording, repeated where it is shorter."""
    recording = recordings[int(rng.integers(len(recordings)))]
    start = int(rng.integers(len(recording)))
    return recording[(start + np.arange(length)) % len(recording)]


def _time(length: int) -> NDArray[np.float64]:
    return np.arange(length) / SAMPLE_RATE


def _with_hiss(sound: NDArray[np.float64], rng: Random) -> Samples:
    hiss = rng.standard_normal(len(sound)) * 10 ** rng.uniform(-5, -1)
    return (sound + hiss).astype(np.float32)
