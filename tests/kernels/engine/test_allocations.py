"""In the steady state a step asks the operating system and the C library for nothing."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
MODELS = HERE.parent  # where random_model is

PROGRAM = """
import ctypes, sys
sys.path.insert(0, sys.argv[1])
from onebit_kernels import AttentionDecoder, CtcSpelling, Engine, Hotwords, Model
from random_model import WRITING, random_tensors, speech_like

count = ctypes.CDLL(None).onebit_allocations
count.restype = ctypes.c_long
model = Model(WRITING, random_tensors(WRITING), (1,))
engine = Engine(model, 1)
audio = speech_like(20)
hotwords = Hotwords(["abc", "fad"], list("\u2581abcdefghijklmnopqrs"))
streams = [engine.open(8), engine.open(8, keep_encoded=True), engine.open(16)]
streams += [engine.open(8, beam=8), engine.open(8, beam=32, hotwords=hotwords)]

def steps(seconds):
    for stream in streams:
        stream.reset()
        stream.feed(audio[: 16_000 * seconds])
    requests = steps = 0
    while ready := [s for s in streams if s.ready]:
        before = count()
        engine.step(ready)
        requests += count() - before
        steps += 1
        for stream in ready:
            stream.take()
    return requests, steps

steps(5)
print(*steps(20))

letters = [bytes([letter]) for letter in b" ,.;:?abcdefghijklmnopqrstuvwxyz0123456789"]
spelling = CtcSpelling([b""] * 6 + letters, list("\u2581abcdefghijklmnopqrs"))
decoder = AttentionDecoder(model, 1, spelling=spelling)

def writing():
    segments = [decoder.open(streams[1], beam=beam, ctc_weight=0.3) for beam in (1, 8, 3)]
    requests = steps = 0
    while left := [s for s in segments if not s.done]:
        before = count()
        decoder.step(left, max_milliseconds=0)
        requests += count() - before
        steps += 1
    return requests, steps

writing()
print(*writing())
"""


@pytest.mark.skipif(sys.platform != "linux" or shutil.which("cc") is None, reason="needs Linux and a C compiler")
@pytest.mark.skipif("libasan" in os.environ.get("LD_PRELOAD", ""), reason="the sanitizer owns the allocator")
def test_a_step_allocates_nothing(tmp_path: Path) -> None:
    counter = tmp_path / "counter.so"
    source = HERE / "allocation_counter.c"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", str(source), "-o", str(counter), "-ldl"], check=True)
    environment = os.environ | {"LD_PRELOAD": str(counter)}
    program = [sys.executable, "-c", PROGRAM, str(MODELS)]
    output = subprocess.run(program, env=environment, check=True, capture_output=True, text=True).stdout
    encoding, writing = (tuple(map(int, line.split())) for line in output.splitlines())
    assert encoding == (0, 31)
    assert writing[0] == 0
    assert writing[1] > 30
