"""The native core of onebit: low-bit Conformer on CPUs, streams in, tokens out. Needs numpy only.

model = Model(config, tensors, bits=(1, 2, 4))     # checked arrays -> kernel layout; immutable, shared by engines
engine = Engine(model, bits=1)                     # one per thread
stream = engine.open(chunk=0)                      # the whole segment at once; 8 or 16: chunks of 640 or 1280 ms
stream.feed(samples)
stream.finish()
while stream.ready:
    engine.step([stream])                          # any streams together: company never changes a result
result = stream.take()

decoder = AttentionDecoder(model, bits=1)          # one per thread, where model.has_decoder
stream = engine.open(chunk=0, keep_encoded=True)   # fed, finished and stepped as above
decoding = decoder.open(stream)                    # a segment on its way to written text
while not decoding.done:
    decoder.step([decoding], max_milliseconds=20)  # any segments together: company never changes a result
written = decoding.written
"""

from onebit_kernels._core import (
    AttentionDecoder,
    BeamSearch,
    CtcSpelling,
    Decoding,
    Engine,
    Hotwords,
    LanguageModel,
    Model,
    Result,
    Stream,
    Token,
    Written,
    WrittenPiece,
    find_loop,
    find_repetition,
    isa_names,
    log_mel,
)

__all__ = [
    "AttentionDecoder",
    "BeamSearch",
    "CtcSpelling",
    "Decoding",
    "Engine",
    "Hotwords",
    "LanguageModel",
    "Model",
    "Result",
    "Stream",
    "Token",
    "Written",
    "WrittenPiece",
    "find_loop",
    "find_repetition",
    "isa_names",
    "log_mel",
]
