"""Augmentation does what it says, and the same under the same seed."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from onebit_model.data.augmentation import (
    AugmentConfig,
    Augmenter,
    change_speed,
    read_noises,
    reverberate,
    spec_augment,
    telephone_band,
)
from onebit_model.data.batching import JoinConfig, batches_from, epoch_batches, epoch_items, item_seconds, on_grid
from onebit_model.errors import CorpusError

RATE = 16_000


def tone(hertz: float, seconds: float = 1.0) -> torch.Tensor:
    return 0.3 * torch.sin(2 * torch.pi * hertz * torch.arange(round(RATE * seconds)) / RATE)


def power(audio: torch.Tensor) -> float:
    return float(audio.square().mean())


def heard(augmenter: Augmenter, clips: list[torch.Tensor], seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    lengths = torch.tensor([len(clip) for clip in clips])
    return augmenter(torch.nn.utils.rnn.pad_sequence(clips, batch_first=True), lengths, np.random.default_rng(seed))


def test_everything_is_deterministic_under_a_seed() -> None:
    config = AugmentConfig((0.9, 1.1), 1.0, (5, 10), 0.5, 0.5, gain_decibel=6, quiet_probability=0.5)
    augmenter = Augmenter(config, [torch.randn(4000, generator=torch.Generator().manual_seed(0))])
    clips = [tone(440), tone(300, 0.5)]
    first, again, other = (heard(augmenter, clips, seed)[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first[:, :1000], other[:, :1000])


def test_padding_stays_silent() -> None:
    config = AugmentConfig((0.9,), 1.0, (5, 10), 1.0, 1.0)
    augmenter = Augmenter(config, [torch.randn(4000, generator=torch.Generator().manual_seed(0))])
    audio, lengths = heard(augmenter, [tone(440), tone(300, 0.5)], 1)
    assert lengths.tolist() == [pytest.approx(RATE / 0.9, abs=2), pytest.approx(RATE / 1.8, abs=2)]
    assert power(audio[1, lengths[1] :]) == 0
    assert power(audio[1, : lengths[1]]) > 0


def test_a_clip_is_not_slowed_past_a_segment() -> None:
    slower = Augmenter(AugmentConfig(speeds=(0.9,)), [])
    assert heard(slower, [tone(440, 26.0)], 0)[1] > 28 * RATE
    assert heard(slower, [tone(440, 28.0)], 0)[1] == 28 * RATE


def test_noise_has_the_drawn_level() -> None:
    noise = torch.randn(5000, generator=torch.Generator().manual_seed(0))
    augmenter = Augmenter(AugmentConfig(noise_probability=1.0, snr_decibel=(10, 10)), [noise])
    clips = [tone(440, 2.0), torch.zeros(RATE)]
    audio, _ = heard(augmenter, [clip.clone() for clip in clips], 0)
    assert 10 * np.log10(power(clips[0]) / power(audio[0] - clips[0])) == pytest.approx(10, abs=0.5)
    assert torch.isfinite(audio).all()  # silence has no ratio to anything


def test_some_clips_are_quiet() -> None:
    augmenter = Augmenter(AugmentConfig(quiet_probability=1.0, quiet_decibel=(-40, -40)), [])
    audio, _ = heard(augmenter, [tone(440)], 0)
    assert 10 * np.log10(power(audio) / power(tone(440))) == pytest.approx(-40, abs=0.1)


def test_speed_changes_length_and_pitch() -> None:
    fast, lengths = change_speed(tone(400)[None], torch.tensor([RATE]), 1.1)
    assert int(lengths) == pytest.approx(RATE / 1.1, abs=2)
    assert np.argmax(np.abs(np.fft.rfft(fast[0].numpy()))) * RATE / fast.shape[1] == pytest.approx(440, abs=2)


def test_telephone_band_removes_what_a_line_does_not_carry() -> None:
    assert power(telephone_band(tone(6000))) < 1e-3 * power(tone(6000))
    assert power(telephone_band(tone(1000))) == pytest.approx(power(tone(1000)), rel=0.02)


def test_reverberation_lasts_and_decays() -> None:
    click = torch.zeros(RATE)
    click[0] = 1.0
    response = reverberate(click[None], 0.3, np.random.default_rng(0))[0]
    early, late = power(response[1:1600]), power(response[3200:4800])
    assert response[0] == pytest.approx(1.0, abs=1e-3)
    assert 0 < late < early / 10
    assert power(response[4900:]) < 1e-9


def test_masks_are_zeros_of_bounded_width() -> None:
    mel = torch.ones(4, 100, 20)
    torch.manual_seed(0)
    masked = spec_augment(
        mel, AugmentConfig(time_masks=1, time_mask_seconds=1.0, frequency_masks=1, frequency_mask_bins=4)
    )
    rows = (masked == 0).all(dim=2).sum(dim=1)
    bands = (masked == 0).all(dim=1).sum(dim=1)
    assert 0 < rows.max() <= 20  # a fifth of the batch's length
    assert 0 < bands.max() <= 4
    assert torch.equal(spec_augment(mel, AugmentConfig()), mel)


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
    whole = batches_from(durations, 5.0, 1, 0, JoinConfig(share=0.5))
    expected = [next(whole) for _ in range(20)]
    for step in range(20):
        assert next(batches_from(durations, 5.0, 1, step, JoinConfig(share=0.5))) == expected[step]


def test_joined_clips_stand_once_and_fit_a_segment() -> None:
    durations = np.random.default_rng(0).uniform(1, 16, 300).tolist()
    config = JoinConfig(share=0.4)
    items = epoch_items(durations, config, np.random.default_rng(1))
    assert sorted(index for item in items for index in item) == list(range(300))
    joined = [item for item in items if len(item) > 1]
    assert joined
    assert all(item_seconds(item, durations, config) <= config.longest_seconds for item in joined)
    assert epoch_items(durations, JoinConfig(), np.random.default_rng(1)) != items
