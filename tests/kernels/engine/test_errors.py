"""Bad input is a clear error, never a crash."""

import gc

import numpy as np
import pytest
from random_model import SMALL, Tensors, speech_like

from onebit_kernels import Engine, Model


@pytest.mark.parametrize(
    "name",
    [
        "stem.conv1.int8",
        "stem.conv2.scale8",
        "blocks.0.ff1.up.planes",
        "blocks.1.attention.key.scale2",
        "blocks.2.attention.value.bias",
        "blocks.2.convolution.depthwise.int8",
        "blocks.0.convolution.inner_norm.weight",
        "final_norm.bias",
        "head.bias",
    ],
)
def test_a_missing_or_wrong_tensor_is_named(small_tensors: Tensors, name: str) -> None:
    missing = {key: value for key, value in small_tensors.items() if key != name}
    with pytest.raises(ValueError, match=f"the tensor {name} is missing"):
        Model(SMALL, missing, (1, 2, 4))
    shape = small_tensors | {name: np.ascontiguousarray(small_tensors[name][..., :-1])}
    with pytest.raises(ValueError, match=rf"the tensor {name} is .*\], not .*\]"):
        Model(SMALL, shape, (1, 2, 4))
    dtype = small_tensors | {name: small_tensors[name].astype(np.float64)}
    with pytest.raises(ValueError, match=f"the tensor {name} is another type"):
        Model(SMALL, dtype, (1, 2, 4))


def test_a_tensor_that_is_not_finite_is_named(small_tensors: Tensors) -> None:
    scale = small_tensors["head.scale8"].copy()
    scale[3] = np.inf
    with pytest.raises(ValueError, match=r"head\.scale8 holds a value that is not finite"):
        Model(SMALL, small_tensors | {"head.scale8": scale}, (4,))


def test_fewer_planes_serve_fewer_bits(small_tensors: Tensors) -> None:
    one = {k: v[:1] if k.endswith(".planes") else v for k, v in small_tensors.items() if not k.endswith("scale4")}
    assert Model(SMALL, one, (1,)).bits == (1,)
    with pytest.raises(ValueError, match=r"\.planes is uint8 \[1, \d+, \d+\], not uint8 \[4, \d+, \d+\]"):
        Model(SMALL, one, (1, 4))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"d_model": 0}, "d_model 0 is out of range"),
        ({"d_model": 72}, "d_model 72 is not a multiple of 32"),
        ({"heads": 8}, "d_model / heads 8 is not a multiple of 16"),
        ({"average_after": 4}, "average_after exceeds blocks"),
        ({"colour": 3}, "colour is unknown"),
    ],
)
def test_an_impossible_configuration(small_tensors: Tensors, changes: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Model(SMALL | changes, small_tensors, (1,))


def test_a_size_is_missing(small_tensors: Tensors) -> None:
    config = {k: v for k, v in SMALL.items() if k != "heads"}
    with pytest.raises(ValueError, match="heads is missing"):
        Model(config, small_tensors, (1,))


@pytest.mark.parametrize("bits", [(), (3,), (1, 8)])
def test_impossible_precisions(small_tensors: Tensors, bits: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="precision"):
        Model(SMALL, small_tensors, bits)


def test_an_unknown_instruction_set(small_tensors: Tensors) -> None:
    with pytest.raises(ValueError, match=r"unknown isa 'mmx'; available: .*generic"):
        Model(SMALL, small_tensors, (1,), "mmx")


def test_a_precision_that_the_model_lacks(small_tensors: Tensors) -> None:
    with pytest.raises(ValueError, match="holds no 2-bit weights"):
        Engine(Model(SMALL, small_tensors, (1,)), 2)


@pytest.mark.parametrize("threads", [0, 65])
def test_impossible_threads(small_model: Model, threads: int) -> None:
    with pytest.raises(ValueError, match=f"threads {threads} is not 1 to 64"):
        Engine(small_model, 1, threads=threads)


@pytest.mark.parametrize("chunk", [-1, 4, 32])
def test_a_chunk_that_does_not_exist(small_model: Model, chunk: int) -> None:
    with pytest.raises(ValueError, match=f"chunk {chunk} is not 8, 16 or 0"):
        Engine(small_model, 1).open(chunk)


def test_streams_that_cannot_be_stepped(small_model: Model) -> None:
    engine = Engine(small_model, 1)
    stream = engine.open(8)
    with pytest.raises(ValueError, match="not ready"):
        engine.step([stream])
    stream.feed(speech_like(2))
    with pytest.raises(ValueError, match="another model, precision or mode"):
        Engine(small_model, 2).step([stream])
    with pytest.raises(ValueError, match="another model, precision or mode"):
        Engine(small_model, 1, exact=True).step([stream])
    with pytest.raises(ValueError, match="given twice"):
        engine.step([stream, stream])
    engine.step([stream])
    assert stream.take().frames == 16


@pytest.mark.parametrize("streams", [[None], [1], 5, None])
def test_things_that_are_no_streams(small_model: Model, streams: object) -> None:
    with pytest.raises(TypeError):
        Engine(small_model, 1).step(streams)


def test_no_model() -> None:
    with pytest.raises(TypeError):
        Engine(None, 1)


def test_a_tensor_that_is_no_array(small_tensors: Tensors) -> None:
    with pytest.raises(TypeError, match=r"head\.bias is not a numpy array"):
        Model(SMALL, small_tensors | {"head.bias": 3}, (1,))


def test_a_tensor_in_another_order(small_tensors: Tensors) -> None:
    """Not C-contiguous: copied, not misread."""
    other = small_tensors | {"head.int8": np.asfortranarray(small_tensors["head.int8"])}
    streams = [Engine(Model(SMALL, tensors, (1,)), 1) for tensors in (small_tensors, other)]
    logits = []
    for engine in streams:
        stream = engine.open(0, keep_logits=True)
        stream.feed(speech_like(1))
        stream.finish()
        engine.step([stream])
        logits.append(stream.take().logits)
    np.testing.assert_array_equal(*logits)


def test_a_stream_outlives_its_engine_and_model(small_tensors: Tensors) -> None:
    stream = Engine(Model(SMALL, small_tensors, (1,)), 1).open(8)
    gc.collect()
    stream.feed(speech_like(1))
    assert stream.ready


def test_an_empty_step_is_nothing(small_model: Model) -> None:
    Engine(small_model, 1).step([])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e9])
def test_samples_that_are_no_audio(small_model: Model, value: float) -> None:
    stream = Engine(small_model, 1).open(8)
    with pytest.raises(ValueError, match="finite"):
        stream.feed(np.array([0, value, 0], np.float32))


@pytest.mark.parametrize("samples", [np.zeros(4), np.zeros(4, np.int16), np.zeros((2, 2), np.float32)])
def test_samples_of_another_type(small_model: Model, samples: np.ndarray) -> None:
    stream = Engine(small_model, 1).open(8)
    with pytest.raises(TypeError, match="1-D float32"):
        stream.feed(samples)


def test_feeding_a_finished_segment(small_model: Model) -> None:
    stream = Engine(small_model, 1).open(8)
    stream.finish()
    with pytest.raises(ValueError, match="finished"):
        stream.feed(np.zeros(1, np.float32))
