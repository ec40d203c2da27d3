"""The native front end against the definition that training uses."""

import numpy as np
import pytest
from random_model import speech_like

from onebit_kernels import log_mel
from onebit_model.audio import features


@pytest.mark.parametrize("samples", [1, 200, 640, 641, 16_000, 51_237])
def test_equals_the_definition(isa: str, samples: int) -> None:
    audio = speech_like(4)[:samples]
    expected = features.log_mel(audio)
    actual = log_mel(audio, isa)
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, atol=1e-3)


def test_silence_is_the_floor(isa: str) -> None:
    np.testing.assert_allclose(log_mel(np.zeros(6_400, np.float32), isa), -0.5, atol=1e-6)


def test_a_loud_click_and_full_scale_noise(isa: str) -> None:
    audio = np.random.default_rng(3).uniform(-1, 1, 16_000).astype(np.float32)
    audio[8_000:] = 0
    audio[12_000] = 1
    np.testing.assert_allclose(log_mel(audio, isa), features.log_mel(audio), atol=1e-3)


def test_no_samples_give_no_frames() -> None:
    assert log_mel(np.zeros(0, np.float32)).shape == (0, 80)


def test_strided_samples_are_read_as_they_are() -> None:
    audio = speech_like(1)
    stereo = np.stack([audio, -audio], axis=1)
    np.testing.assert_array_equal(log_mel(stereo[:, 0]), log_mel(audio))
