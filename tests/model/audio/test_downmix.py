"""Several channels to one: what cancels is left out, what differs is kept."""

from __future__ import annotations

import numpy as np
import pytest
from audio_bytes import NOISE, RATE, Samples, decoded, encoded

from onebit_model.audio.downmix import Downmix
from onebit_model.audio.reading import AudioOptions

OTHER: Samples = np.random.default_rng(4).normal(0, 0.1, len(NOISE)).astype(np.float32)


def mixed(channels: list[Samples], block_frames: int = 1000) -> tuple[Samples, bool]:
    downmix = Downmix(RATE, len(channels))
    both = np.stack(channels, axis=1)
    blocks = [downmix.push(both[at : at + block_frames]) for at in range(0, len(both), block_frames)]
    return np.concatenate([*blocks, downmix.finish()])[:, 0], downmix.has_left_out


def test_opposite_channels_do_not_cancel() -> None:
    samples, has_left_out = mixed([NOISE, -NOISE])
    np.testing.assert_array_equal(samples, NOISE)
    assert has_left_out


@pytest.mark.parametrize("factor", [-2.0, -0.9, -0.5])
def test_partly_cancelling_channels_give_the_louder_one(factor: float) -> None:
    second = (factor * NOISE).astype(np.float32)
    samples, has_left_out = mixed([NOISE, second])
    np.testing.assert_array_equal(samples, second if factor < -1 else NOISE)
    assert has_left_out


def test_a_voice_in_opposite_phase_below_common_noise_is_kept() -> None:
    samples, _ = mixed([NOISE * 0.5 + OTHER, NOISE * 0.5 - OTHER])
    assert np.corrcoef(samples, OTHER)[0, 1] > 0.8


@pytest.mark.parametrize("channels", [[NOISE, OTHER], [NOISE, NOISE], [NOISE, 0 * NOISE], [0 * NOISE, 0 * NOISE]])
def test_other_channels_are_averaged(channels: list[Samples]) -> None:
    samples, has_left_out = mixed(channels)
    np.testing.assert_allclose(samples, np.mean(channels, axis=0), atol=1e-7)
    assert not has_left_out


def test_one_of_many_is_left_out() -> None:
    samples, has_left_out = mixed([NOISE, NOISE, -NOISE, NOISE])
    np.testing.assert_allclose(samples, NOISE, atol=1e-7)
    assert has_left_out


def test_the_decision_does_not_depend_on_blocks() -> None:
    changing = np.where(np.arange(len(NOISE)) < RATE, NOISE, -NOISE)
    whole, _ = mixed([NOISE, changing], len(NOISE))
    for block_frames in (1, 160, 4096):
        np.testing.assert_array_equal(mixed([NOISE, changing], block_frames)[0], whole)
    # The change itself is heard for a hundredth of a second at most.
    assert np.std(whole[RATE + 400 :]) == pytest.approx(np.std(NOISE), rel=0.1)


def test_the_warning() -> None:
    opposite = encoded(np.stack([NOISE, -NOISE], axis=1), "FLAC")
    samples, audio = decoded(opposite)
    np.testing.assert_allclose(samples[:, 0], NOISE, atol=1 / 32000)
    assert audio.warnings == ["opposite_channels"]
    assert decoded(opposite, AudioOptions(channel=0))[1].warnings == []
