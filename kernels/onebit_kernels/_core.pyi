"""Types of the native module (src/binding). Arrays are C-contiguous unless said otherwise."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

def isa_names() -> list[str]:
    """Instruction sets that this machine can run, best first; the last is "generic"."""

def log_mel(samples: FloatArray, isa: str = "") -> FloatArray:
    """Log-mel of one segment: (samples,) float32 at 16 kHz -> (frames, 80), zero-padded to whole 40 ms frames."""

def elementary(name: str, x: FloatArray, isa: str = "") -> FloatArray:
    """The vectorised "exp", "log" or "erf" of the engine: (n,) -> (n, 1); for the tests of their error bounds."""

def int8_ceiling() -> tuple[str, float]:
    """The widest int8 dot product of this machine and its measured speed on one core, in operations a second."""

def fp32_ceiling() -> tuple[str, float]:
    """The same for the float32 multiply-add."""

class PackedMatrix:
    """The weights of one or several stacked layers in the layout of one instruction set; for tests and benchmarks."""

    @staticmethod
    def from_planes(
        layers: Sequence[tuple[NDArray[np.uint8], FloatArray, FloatArray | None]],
        columns: int,
        bits: Sequence[int],
        isa: str = "",
    ) -> PackedMatrix:
        """Layers of (planes (P, N, ceil(columns / 8)), scales (3, N) for 1, 2 and 4 bit, bias (N,) or None)."""

    @staticmethod
    def from_int8(
        weights: NDArray[np.int8], scale: FloatArray, bias: FloatArray | None = None, isa: str = ""
    ) -> PackedMatrix:
        """weights (N, columns), scale (N,), bias (N,)"""

    @property
    def resident_bytes(self) -> int: ...
    @property
    def isa(self) -> str: ...
    def multiply(self, x: FloatArray, bits: int, exact: bool = False) -> FloatArray:
        """x (M, columns) -> (M, N); bits 1, 2, 4, or 8 for int8 weights."""

    def multiply_repeatedly(self, x: FloatArray, bits: int, exact: bool, repeats: int) -> None:
        """The same product many times, for benchmarks."""

def attention(
    queries: FloatArray,
    keys: FloatArray,
    values: FloatArray,
    heads: int,
    exact: bool = False,
    isa: str = "",
    frames: bool = False,
) -> FloatArray:
    """Softmax attention as the engine computes it, for tests: (rows, dim), (frames, dim) twice -> (rows, dim).

    `frames`: as the decoder looks at the encoder's output in the fast mode.
    """

class Model:
    """Weights in the layout of the kernels; immutable, shareable between engines and threads.

    `tensors` are those of the packed file, `config` is ModelConfig as a dictionary. `planes`, by precision and layer,
    names the layers whose planes at that precision are not as many as its bits: 1, 2 or 4; they use scale1, scale2 or
    scale4. ValueError names the tensor that is missing or has another shape or type; `isa` None is the best of this
    machine.
    """

    def __init__(
        self,
        config: Mapping[str, int],
        tensors: Mapping[str, NDArray[Any]],
        bits: Sequence[int],
        isa: str | None = None,
        planes: Mapping[int, Mapping[str, int]] | None = None,
    ) -> None: ...
    @property
    def resident_bytes(self) -> int: ...
    @property
    def isa(self) -> str: ...
    @property
    def bits(self) -> tuple[int, ...]: ...
    @property
    def has_decoder(self) -> bool:
        """Whether an AttentionDecoder can be made of it."""

class Token:
    """A token of a search; `frame` and `frames` count output frames (40 ms) since the start of the segment."""

    @property
    def id(self) -> int: ...
    @property
    def frame(self) -> int: ...
    @property
    def frames(self) -> int:
        """Frames that it was seen in; in the greedy search within the chunk in which it began."""
    @property
    def confidence(self) -> float:
        """Geometric mean of its posterior over these frames."""

class Result:
    @property
    def tokens(self) -> list[Token]:
        """New since the last take; they never change."""
    @property
    def tentative(self) -> list[Token]:
        """What follows all tokens in the best text so far; stands once the stream is done. Greedy: nothing."""
    @property
    def frames(self) -> int:
        """Output frames decoded since the start of the segment."""
    @property
    def trailing_blank_frames(self) -> int: ...
    @property
    def logits(self) -> FloatArray | None:
        """New log-probabilities (frames, outputs) of a stream opened with keep_logits."""

class Hotwords:
    """Phrases that a beam search prefers; immutable, shareable between streams and threads.

    `pieces` are the vocabulary, a leading U+2581 starts a word; `phrases` are words with single spaces between.
    ValueError for a letter that no piece has, and for more than 10,000 letters altogether.
    """

    def __init__(self, phrases: Sequence[str], pieces: Sequence[str], bonus_per_letter: float = 1.0) -> None: ...
    @staticmethod
    def of_bytes(phrases: Sequence[str], pieces: Sequence[bytes], bonus_per_letter: float = 0.4) -> Hotwords:
        """For an AttentionDecoder: `pieces` are the bytes of its pieces, ids 0 and up, specials empty.

        Capitals count as small letters; whatever is no letter, digit or apostrophe stands between words.
        ValueError for a phrase without words, and for more than 10,000 letters altogether.
        """
    @property
    def resident_bytes(self) -> int: ...

class LanguageModel:
    """A back-off n-gram model of the vocabulary's pieces that a beam search adds; immutable, shareable.

    A trie, level by level, children sorted and in the order of their parents: `tokens` (nodes,) uint16 (0, as a
    context, is the beginning of a text) and `log_probabilities` (nodes,) uint8 without the root; `backoffs` uint8 and
    `children` (counts) uint16 of the root and all levels but the last. Codes are natural logarithms: -code / 16 and
    (32 - code) / 16. A token adds weight * log p + token_bonus; at the end of a text the first one gives the bonus
    back. ValueError says what is wrong with the trie.
    """

    def __init__(
        self,
        tokens: NDArray[np.uint16],
        log_probabilities: NDArray[np.uint8],
        backoffs: NDArray[np.uint8],
        children: NDArray[np.uint16],
        outputs: int,
        weight: float,
        token_bonus: float,
    ) -> None: ...
    @property
    def resident_bytes(self) -> int: ...

class BeamSearch:
    """The beam search over given log-probabilities, of whatever network."""

    def __init__(
        self, width: int, outputs: int, hotwords: Hotwords | None = None, language_model: LanguageModel | None = None
    ) -> None: ...
    def advance(self, log_probabilities: FloatArray, ended: bool = True) -> tuple[list[Token], list[Token]]:
        """(frames, outputs) float32 -> what is decided since the last call, and what follows it in the best text.

        `ended`: in the best text if it ends here."""
    @property
    def resident_bytes(self) -> int: ...

class Stream:
    """One audio stream; `feed` may be called while an engine steps the stream in another thread."""

    def feed(self, samples: FloatArray) -> None:
        """Buffers (n,) float32 samples at 16 kHz; ValueError when finished, not finite, or a segment beyond 30 s."""
    def finish(self) -> None:
        """The segment ends here: what is left becomes ready."""
    def reset(self) -> None:
        """A new segment; forgets everything that was not taken."""
    def take(self) -> Result: ...
    @property
    def ready(self) -> bool:
        """A chunk is complete, or the segment is finished and not all computed."""
    @property
    def done(self) -> bool:
        """Finished and everything computed."""
    @property
    def encoded_frames(self) -> int:
        """Output frames of this segment that are kept for the attention decoder: 30 s at most, 0 where none are."""
    @property
    def buffered_samples(self) -> int:
        """Samples fed that are not part of a computed frame yet."""
    @property
    def chunk(self) -> int: ...
    @property
    def resident_bytes(self) -> int: ...

class Engine:
    """Advances streams of one model at one precision; one engine per thread, streams may move between equal engines.

    `exact`: integer products of int8 activations without rounded tables, and float32 memory of streams. `threads`: how
    many share the work of a step, the calling one included; they never change a result.
    """

    def __init__(self, model: Model, bits: int, exact: bool = False, threads: int = 1) -> None: ...
    def open(
        self,
        chunk: int,
        keep_logits: bool = False,
        beam: int = 1,
        hotwords: Hotwords | None = None,
        language_model: LanguageModel | None = None,
        keep_encoded: bool = False,
    ) -> Stream:
        """`chunk` in units of 80 ms: 8 or 16, or 0 for the whole segment at once (up to 30 s).

        `beam`: texts that the search keeps, 1 (greedy) to 32. ValueError for another one, and for hotwords or a
        language model without a beam or of another vocabulary. `keep_encoded`: the encoder's output of the segment
        is remembered for AttentionDecoder.open (25 KB a second, 50 if exact).
        """
    def step(self, streams: Sequence[Stream]) -> None:
        """One chunk of every stream, without the interpreter lock.

        ValueError if one is not ready, foreign or given twice; RuntimeError while another thread steps this engine.
        """
    times_stages: bool
    """Whether `step` measures its stages; off at first."""

    def stage_seconds(self) -> dict[str, float]:
        """Processor seconds by stage since the last call."""
    @property
    def bits(self) -> int: ...
    @property
    def exact(self) -> bool: ...
    @property
    def resident_bytes(self) -> int: ...

class CtcSpelling:
    """How the CTC head spells what the attention decoder writes: for CTC's opinion on written texts.

    `pieces`: bytes of the decoder's pieces, ids 0 and up, specials empty; `ctc_pieces`: those of token ids 1 and up,
    a leading U+2581 starts a word. Immutable, shareable. ValueError where no CTC piece starts a word.
    """

    def __init__(self, pieces: Sequence[bytes], ctc_pieces: Sequence[str]) -> None: ...
    def align(self, log_probabilities: FloatArray, pieces: Sequence[int]) -> tuple[list[tuple[int, int]], float, float]:
        """(frames, outputs) and a text -> first frame of each piece and the one behind its last, the log-probability
        of the best alignment, and that of all; minus infinity where there are too few frames."""
    def heard_pieces(self, log_probabilities: FloatArray, pieces: Sequence[int]) -> int:
        """(frames, outputs) and a text -> how many of its pieces CTC has heard: fewer than all where the text is so
        much likelier without its last words, 3 per letter of theirs, that these were not only misheard."""
    @property
    def resident_bytes(self) -> int: ...

def align(weights: FloatArray) -> list[int]:
    """Monotonic alignment as the decoder does it, for tests: (pieces, frames) -> the first frame of each piece."""

def find_repetition(pieces: Sequence[int], begin: int = 0) -> tuple[int, int] | None:
    """The first phrase of three pieces or more that is written again right behind its end, from `begin` on: where it
    begins and how long it is."""

def find_loop(pieces: Sequence[int]) -> tuple[int, int] | None:
    """The phrase that a text ends with again and again, three times and twenty pieces at least: where it begins and
    how long it is."""

class PieceSearch:
    """The decoder's search over given log-probabilities, for tests; special pieces as in onebit_model.text.pieces."""

    def __init__(self, width: int, vocabulary: int, most_pieces: int, hotwords: Hotwords | None = None) -> None: ...
    def advance(self, log_probabilities: FloatArray) -> None:
        """(open texts, vocabulary): what follows each."""
    def rewrite(self, length: int) -> bool:
        """Let the best text go on from its first pieces in another way; false where it was done too often already.

        Raises ValueError for a length that is not 1 to what the text has, less 1.
        """
    @property
    def open_texts(self) -> list[list[int]]: ...
    @property
    def ended(self) -> bool: ...
    @property
    def pieces(self) -> list[int]: ...
    @property
    def mean_log_probability(self) -> float: ...
    @property
    def looped(self) -> bool: ...
    @property
    def no_speech_probability(self) -> float: ...

class WrittenPiece:
    """A piece of written text. Its text is bytes (a piece may be a part of a letter), which the model file has."""

    @property
    def id(self) -> int: ...
    @property
    def log_probability(self) -> float: ...
    @property
    def frame(self) -> int:
        """Where it begins, in output frames (40 ms) since the start of the segment; never before the piece before."""
    @property
    def frames(self) -> int:
        """Up to where the next one begins; 0 where several were heard at once."""

class Written:
    """What the attention decoder made of one segment."""

    @property
    def pieces(self) -> list[WrittenPiece]:
        """Without the prompt and the end; none where it heard no speech."""
    @property
    def no_speech_probability(self) -> float:
        """Of the piece `no_speech` in the first place."""
    @property
    def mean_log_probability(self) -> float:
        """Over the pieces and the end (or `no_speech`)."""
    @property
    def ctc_agreement(self) -> float:
        """Of a decoder with a spelling: how CTC's best alignment of this text compares with the likeliest tokens of all
        frames, as a log-probability per letter. Near 0: it heard the same; minus infinity: too few frames."""
    @property
    def loop(self) -> bool:
        """No end was found, or the same pieces came again and again: the text is not to be trusted."""

class Decoding:
    """One segment on its way to written text. It keeps nothing of the stream that it was opened from."""

    @property
    def done(self) -> bool: ...
    @property
    def written(self) -> Written:
        """RuntimeError before it is done."""
    @property
    def frames(self) -> int: ...
    @property
    def resident_bytes(self) -> int:
        """Address space; pages that were never written take no memory."""

class AttentionDecoder:
    """Writes segments of one model at one precision; one decoder per thread, segments may move between equal ones.

    `alignment_heads`: (block, head) pairs whose weights say when a piece was said; all heads of the upper half of the
    blocks if empty. `exact` as in Engine; streams and segments must have the same. With a `spelling` CTC is asked for
    `ctc_agreement`, and as `open` says. ValueError for a model without a decoder or without this precision, for heads
    that it lacks, and for a spelling of other vocabularies.
    """

    def __init__(
        self,
        model: Model,
        bits: int,
        exact: bool = False,
        alignment_heads: Sequence[tuple[int, int]] = (),
        spelling: CtcSpelling | None = None,
    ) -> None: ...
    def open(
        self,
        stream: Stream,
        frames: int | None = None,
        beam: int = 1,
        hotwords: Hotwords | None = None,
        timing: Literal["attention", "ctc"] = "attention",
        ctc_weight: float = 0.0,
    ) -> Decoding:
        """A segment of the first `frames` (all) output frames that the stream keeps; the stream goes on as before.

        `beam`: texts that the search keeps, 1 (greedy) to 8. `hotwords`: Hotwords.of_bytes. `timing`: who says when
        pieces were said; CTC is the better one, and where it cannot (too few frames), attention does. `ctc_weight`: of
        CTC's log-probability in the choice between the texts of a beam that ended, the decoder's own has
        1 - ctc_weight. ValueError for a stream without `keep_encoded`, of another model, precision or mode, or one that
        an engine is computing, and for CTC without a spelling.
        """
    def step(self, decodings: Sequence[Decoding], max_milliseconds: float = 20.0) -> None:
        """Works on these segments, without the interpreter lock, until all are done or the time is over.

        A step is over within a piece's time (at 1 bit a fraction of a millisecond) of the limit. ValueError if one is
        done, foreign or given twice; RuntimeError while another thread steps this decoder.
        """
    @property
    def bits(self) -> int: ...
    @property
    def exact(self) -> bool: ...
    @property
    def resident_bytes(self) -> int: ...
