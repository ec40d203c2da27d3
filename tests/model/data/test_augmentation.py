"""Augmentation does what it says, and the same under the same seed."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from onebit_model.data.augmentation import (
    AugmentConfig,
    WaveformAugmenter,
    change_speed,
    mask_frequency,
    mask_time,
    read_noises,
    reverberate,
    telephone_band,
)
from onebit_model.data.batching import batches_from, epoch_batches, on_grid
from onebit_model.errors import CorpusError

RATE = 16_000


def tone(hertz: float, seconds: float = 1.0) -> torch.Tensor:
    return 0.3 * torch.sin(2 * torch.pi * hertz * torch.arange(round(RATE * seconds)) / RATE)


def power(audio: torch.Tensor) -> float:
    return float(audio.square().mean())


def test_everything_is_deterministic_under_a_seed() -> None:
    config = AugmentConfig((0.9, 1.1), 1.0, (5, 10), 0.5, 0.5, gain_decibel=6)
    augmenter = WaveformAugmenter(config, [torch.randn(4000, generator=torch.Generator().manual_seed(0))])
    clip = tone(440).numpy()
    first, again, other = (augmenter(clip, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first[:1000], other[:1000])


def test_a_clip_is_not_slowed_past_a_segment() -> None:
    slower = WaveformAugmenter(AugmentConfig(speeds=(0.9,)), [])
    rng = np.random.default_rng(0)
    assert len(slower(tone(440, 26.0).numpy(), rng)) > 28 * RATE
    assert len(slower(tone(440, 28.0).numpy(), rng)) == 28 * RATE


def test_noise_has_the_drawn_level() -> None:
    noise = torch.randn(5000, generator=torch.Generator().manual_seed(0))
    augmenter = WaveformAugmenter(AugmentConfig(noise_probability=1.0, snr_decibel=(10, 10)), [noise])
    clip = tone(440, 2.0)
    added = torch.from_numpy(augmenter(clip.numpy(), np.random.default_rng(0))) - clip
    assert 10 * np.log10(power(clip) / power(added)) == pytest.approx(10, abs=0.5)


def test_speed_changes_length_and_pitch() -> None:
    fast = change_speed(tone(400), 1.1)
    assert len(fast) == pytest.approx(RATE / 1.1, abs=2)
    assert np.argmax(np.abs(np.fft.rfft(fast.numpy()))) * RATE / len(fast) == pytest.approx(440, abs=2)


def test_telephone_band_removes_what_a_line_does_not_carry() -> None:
    assert power(telephone_band(tone(6000))) < 1e-3 * power(tone(6000))
    assert power(telephone_band(tone(1000))) == pytest.approx(power(tone(1000)), rel=0.02)


def test_reverberation_lasts_and_decays() -> None:
    click = torch.zeros(RATE)
    click[0] = 1.0
    response = reverberate(click, 0.3, np.random.default_rng(0))
    early, late = power(response[1:1600]), power(response[3200:4800])
    assert response[0] == pytest.approx(1.0, abs=1e-3)
    assert 0 < late < early / 10
    assert power(response[4900:]) < 1e-9


def test_masks_stay_inside_the_clip() -> None:
    features = torch.randn(2, 50, 8, generator=torch.Generator().manual_seed(0))
    frames = torch.tensor([50, 20])
    masked = mask_time(features, frames, 3, 10, np.random.default_rng(0))
    assert torch.equal(masked[1, 20:], features[1, 20:])
    assert (masked != features).any()
    bands = mask_frequency(features, 2, 4, np.random.default_rng(1))
    assert ((bands == 0).all(dim=1).sum(dim=1) > 0).any()


def test_noise_folder_must_hold_recordings(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no noise recordings"):
        read_noises(tmp_path)
    soundfile.write(tmp_path / "hum.wav", tone(50).numpy(), RATE)
    assert len(read_noises(tmp_path)) == 1


def test_batches_cover_an_epoch_once_within_the_limit() -> None:
    durations = np.random.default_rng(0).uniform(1, 16, 300).tolist()
    batches = epoch_batches(durations, 60.0, seed=3, epoch=0)
    assert sorted(i for batch in batches for i in batch) == list(range(300))
    assert all(len(b) * on_grid(max(durations[i] for i in b)) < 60 + 1e-6 for b in batches)
    assert on_grid(1.21) == pytest.approx(1.6)
    assert batches == epoch_batches(durations, 60.0, 3, 0) != epoch_batches(durations, 60.0, 3, 1)


def test_batches_resume_anywhere() -> None:
    durations = [1.0, 2.0, 3.0, 4.0, 5.0]
    whole = batches_from(durations, 5.0, 1, 0)
    expected = [next(whole) for _ in range(20)]
    for step in range(20):
        assert next(batches_from(durations, 5.0, 1, step)) == expected[step]
