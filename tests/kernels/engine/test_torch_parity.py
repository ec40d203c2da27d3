"""The engine against the fake-quantised torch network, on real speech, from one packed file.

Rounding an activation to int8 is a step function. Where two implementations differ in the last bit of a float, one
value in ten thousand rounds the other way, and every layer behind it amplifies that step: the same torch network in
float32 and in float64 ends 4e-3 apart for this reason alone, more than the 1e-3 that equal arithmetic deserves. So
frames that no such step has reached must agree to 1e-5 (in a narrow network of one block there are many), and at full
size the engine must be no farther from the float64 result than torch float32 is.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from random_model import FULL, SMALL, WRITING, Transcribe, random_tensors
from reference_model import ReferenceModel

from onebit_kernels import AttentionDecoder, Engine, Model, log_mel
from onebit_model.config import ModelConfig
from onebit_model.data.reference import read_set
from onebit_model.files.allocation import Allocation
from onebit_model.files.assets import model_path
from onebit_model.files.layout import PIECE_ENDS, PIECES
from onebit_model.files.packed import ModelDescription, PackedModel, read_packed, write_packed
from onebit_model.network.export import network_from_packed
from onebit_model.text.pieces import NO_SPEECH, PROMPT, SINGLE_BYTES, SPECIALS, Pieces

NARROW = SMALL | {"blocks": 1, "average_after": 1}
Array = NDArray[np.float64]


def packed_model(path: Path, config: dict[str, int]) -> PackedModel:
    pieces = tuple(f"{i:03d}" for i in range(config["vocabulary_size"]))
    write_packed(path, ModelDescription(ModelConfig(**config), pieces, (1, 2, 4)), random_tensors(config))
    return read_packed(path)


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> PackedModel:
    return packed_model(tmp_path_factory.mktemp("narrow") / "model.safetensors", NARROW)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> PackedModel:
    return packed_model(tmp_path_factory.mktemp("full") / "model.safetensors", FULL)


@pytest.fixture(scope="module")
def speech() -> NDArray[np.float32]:
    """The shortest clip of a shipped set, about three seconds."""
    return min(read_set("librispeech-other"), key=lambda utterance: utterance.duration_seconds).audio.read()


def of_torch(packed: PackedModel, bits: int, speech: NDArray[np.float32], chunk: int) -> Array:
    network = network_from_packed(packed.path, bits)
    mel = torch.from_numpy(log_mel(speech))[None]
    with torch.no_grad():
        return network(mel, torch.tensor([mel.shape[1]]), chunk)[0][0].double().numpy()


def distance(actual: Array, expected: Array) -> float:
    return float(np.sqrt(((actual - expected) ** 2).mean() / (expected**2).mean()))


def model_of(packed: PackedModel) -> Model:
    return Model(packed.config.to_dict(), packed.tensors, packed.bits)


@pytest.mark.parametrize("chunk", [0, 8, 16])
@pytest.mark.parametrize("bits", [1, 2, 4])
def test_narrow_network(
    narrow: PackedModel, speech: NDArray[np.float32], transcribe: Transcribe, bits: int, chunk: int
) -> None:
    engine = Engine(model_of(narrow), bits, exact=True)
    starts = []
    for skipped in range(0, 8_000, 1_000):
        clip = speech[skipped:]
        expected = of_torch(narrow, bits, clip, chunk)
        actual = transcribe(engine, clip, chunk).logits
        assert actual.shape == expected.shape
        assert distance(actual, expected) < 6e-3
        frames = np.linalg.norm(actual - expected, axis=1) / np.linalg.norm(expected, axis=1)
        starts.append(np.quantile(frames, 0.25))
    # Torch rounds differently on every processor, and a value that falls on another step of int8 is seen: with full
    # attention in every frame, in a stream in that chunk and the later ones. Where none does, there is nothing to see.
    if chunk:
        assert min(starts) < 1e-5


@pytest.mark.parametrize(("bits", "chunk"), [(1, 0), (1, 8), (2, 16), (4, 0)])
def test_full_size(
    full: PackedModel, speech: NDArray[np.float32], transcribe: Transcribe, bits: int, chunk: int
) -> None:
    in_float32 = of_torch(full, bits, speech, chunk)
    in_float64 = ReferenceModel(FULL, full.tensors, bits).log_probabilities(log_mel(speech), chunk)
    floor = distance(in_float32, in_float64)
    assert floor < 0.01
    for exact, allowance in ((True, 1.15), (False, 1.5)):
        actual = transcribe(Engine(model_of(full), bits, exact=exact), speech, chunk).logits
        assert distance(actual, in_float64) < allowance * floor


ALLOCATION = Allocation(
    {
        1: {
            "decoder.blocks.1.feed_forward.down": 4,
            "decoder.blocks.0.self_attention.key": 2,
            "decoder.embedding": 2,
        }
    }
)


@pytest.fixture(scope="module")
def writing(tmp_path_factory: pytest.TempPathFactory) -> PackedModel:
    path = tmp_path_factory.mktemp("writing") / "model.safetensors"
    config = ModelConfig(**WRITING | {"decoder_vocabulary_size": 320})
    vocabulary = tuple(f"{i:03d}" for i in range(config.vocabulary_size))
    pieces = Pieces((*[b""] * len(SPECIALS), *SINGLE_BYTES, *(b"%d" % i for i in range(100, 158))))
    tensors = random_tensors(config.to_dict())
    tensors[PIECES], tensors[PIECE_ENDS] = pieces.arrays()
    write_packed(path, ModelDescription(config, vocabulary, (1, 2, 4), allocation=ALLOCATION), tensors)
    return read_packed(path)


def assert_torch_agrees(
    packed: PackedModel, samples: NDArray[np.float32], bits: int, beam: int, allowed: float = 0.05
) -> None:
    """What torch thinks of the text that the engine wrote, given all at once: as likely as the engine says, and where
    it was greedy nothing is likelier, but for what a step of int8 here and there is worth."""
    model = Model(packed.config.to_dict(), packed.tensors, [bits], planes=packed.description.allocation.exceptions)
    engine, decoder = Engine(model, bits, exact=True), AttentionDecoder(model, bits, exact=True)
    stream = engine.open(0, keep_encoded=True)
    stream.feed(samples)
    stream.finish()
    engine.step([stream])
    decoding = decoder.open(stream, beam=beam)
    decoder.step([decoding], max_milliseconds=60_000)
    pieces = decoding.written.pieces
    assert len(pieces) > 3

    network = network_from_packed(packed.path, bits)
    assert network.decoder is not None
    mel = torch.from_numpy(log_mel(samples))[None]
    frames = torch.tensor([mel.shape[1]])
    with torch.no_grad():
        average_after = packed.config.average_after
        encoded = network.upper(network.lower(mel, frames, 0, average_after), frames // 4, 0)
        text = torch.tensor([[*PROMPT, *(piece.id for piece in pieces)]])
        hidden = network.decoder(text, encoded, frames // 4)[0, len(PROMPT) - 1 :]
        expected = network.decoder.log_probabilities(hidden).numpy()
    likely = expected[range(len(pieces)), [piece.id for piece in pieces]]
    distances = np.abs(likely - [piece.log_probability for piece in pieces])
    assert distances.max() < allowed
    assert np.median(distances) < allowed / 4
    # An unlikely piece: its probability moves by more than those of the likely ones.
    assert np.log(decoding.written.no_speech_probability) == pytest.approx(expected[0, NO_SPEECH], abs=2 * allowed)
    if beam == 1:
        assert (likely > expected[: len(pieces), len(SPECIALS) :].max(axis=1) - allowed).all()


@pytest.mark.parametrize("beam", [1, 4])
@pytest.mark.parametrize("bits", [1, 2, 4])
def test_decoder(writing: PackedModel, speech: NDArray[np.float32], bits: int, beam: int) -> None:
    assert_torch_agrees(writing, speech, bits, beam)


@pytest.mark.parametrize("name", ["common-voice", "librispeech-other", "ljspeech"])
@pytest.mark.parametrize("bits", [1, 2, 4])
def test_the_shipped_model_on_real_clips(name: str, bits: int) -> None:
    """Six blocks of encoder and decoder pass an int8 step on, so that log-probabilities differ more."""
    assert_torch_agrees(read_packed(model_path(None)), read_set(name)[0].audio.read(), bits, beam=1, allowed=0.6)
