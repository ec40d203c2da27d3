"""The engine against the golden twin in numpy."""

import numpy as np
import pytest
from random_model import SMALL, Tensors, Transcribe, random_tensors, speech_like
from reference_model import ReferenceModel

from onebit_kernels import Engine, Model, log_mel

CHUNKS = [0, 8, 16]
BITS = [1, 2, 4]


def distance(actual: np.ndarray, expected: np.ndarray) -> float:
    """Root mean square of the difference relative to that of the expected values."""
    return float(np.sqrt(((actual - expected) ** 2).mean() / (expected**2).mean()))


@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("bits", BITS)
def test_exact_mode_equals_the_twin(isa: str, bits: int, chunk: int, transcribe: Transcribe) -> None:
    """One block, because an int8 code that rounds the other way (one in 10^4) is amplified by every further layer:
    most frames see none and agree to float rounding, and those that do stay within 1e-3."""
    config = SMALL | {"blocks": 1, "average_after": 1}
    tensors = random_tensors(config)
    audio = speech_like(4.3)
    expected = ReferenceModel(config, tensors, bits).log_probabilities(log_mel(audio), chunk)
    actual = transcribe(Engine(Model(config, tensors, (bits,), isa), bits, exact=True), audio, chunk).logits
    assert actual.shape == expected.shape
    assert np.median(np.abs(actual - expected).max(axis=1)) < 2e-6
    assert distance(actual, expected) < 1e-3


@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("bits", BITS)
def test_both_modes_stay_close_through_all_blocks(
    isa_model: Model, small_tensors: Tensors, bits: int, chunk: int, transcribe: Transcribe
) -> None:
    audio = speech_like(4.3)
    expected = ReferenceModel(SMALL, small_tensors, bits).log_probabilities(log_mel(audio), chunk)
    for exact in (True, False):
        actual = transcribe(Engine(isa_model, bits, exact=exact), audio, chunk).logits
        assert distance(actual, expected) < 0.01
        assert (actual.argmax(axis=1) == expected.argmax(axis=1)).mean() > 0.95


def test_private_norms_are_used_at_their_precision(small_tensors: Tensors, transcribe: Transcribe) -> None:
    random = np.random.default_rng(5)
    tensors = dict(small_tensors)
    for part in ("weight", "bias"):
        tensors[f"blocks.1.ff2.norm.{part}1"] = random.uniform(0.5, 1.5, SMALL["d_model"]).astype(np.float16)
    audio = speech_like(2)
    model = Model(SMALL, tensors, (1, 4))
    shared = Model(SMALL, small_tensors, (1, 4))
    expected = ReferenceModel(SMALL, tensors, 1).log_probabilities(log_mel(audio))
    assert distance(transcribe(Engine(model, 1, exact=True), audio, 0).logits, expected) < 0.01
    assert distance(transcribe(Engine(shared, 1, exact=True), audio, 0).logits, expected) > 0.01
    four = [transcribe(Engine(m, 4), audio, 0).logits for m in (model, shared)]
    np.testing.assert_array_equal(*four)


def greedy(logits: np.ndarray) -> list[tuple[int, int, int, float]]:
    """(token, first frame, frames, confidence) of one chunk of log-probabilities."""
    best = logits.argmax(axis=1)
    starts = [t for t in range(len(best)) if best[t] and (t == 0 or best[t] != best[t - 1])]
    tokens = []
    for start in starts:
        end = start
        while end < len(best) and best[end] == best[start]:
            end += 1
        confidence = float(np.exp(logits[start:end, best[start]].mean()))
        tokens.append((int(best[start]), start, end - start, confidence))
    return tokens


def test_tokens_follow_from_the_logits(small_model: Model, transcribe: Transcribe) -> None:
    result = transcribe(Engine(small_model, 4), speech_like(6), 0)
    expected = greedy(result.logits)
    assert len(expected) > 10
    assert [(t.id, t.frame, t.frames) for t in result.tokens] == [e[:3] for e in expected]
    np.testing.assert_allclose([t.confidence for t in result.tokens], [e[3] for e in expected], rtol=1e-5)
    trailing = np.flatnonzero(result.logits[::-1].argmax(axis=1))
    assert result.trailing_blank_frames == trailing[0]
    assert result.frames == len(result.logits) == 150


def test_a_token_across_chunks_is_reported_once(small_tensors: Tensors) -> None:
    """A head that always prefers token 3."""
    tensors = dict(small_tensors)
    bias = np.zeros(SMALL["vocabulary_size"] + 1, np.float16)
    bias[3] = 100
    tensors["head.bias"] = bias
    engine = Engine(Model(SMALL, tensors, (4,)), 4)
    stream = engine.open(8)
    stream.feed(speech_like(3))
    stream.finish()
    tokens = []
    while stream.ready:
        engine.step([stream])
        tokens += stream.take().tokens
    assert [(t.id, t.frame, t.frames) for t in tokens] == [(3, 0, 16)]


def test_log_probabilities_sum_to_one(isa_model: Model, transcribe: Transcribe) -> None:
    logits = transcribe(Engine(isa_model, 1), speech_like(2), 8).logits
    np.testing.assert_allclose(np.exp(logits.astype(np.float64)).sum(axis=1), 1, atol=1e-5)
