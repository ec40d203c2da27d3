"""Pieces of the attention decoder's vocabulary: what its ids mean, as serving needs it (no tokenizer)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from onebit_model.errors import ModelFileError

SPECIALS = ("end", "start", "english", "transcribe", "no_speech", "no_timestamps")
END, START, ENGLISH, TRANSCRIBE, NO_SPEECH, NO_TIMESTAMPS = range(len(SPECIALS))
PROMPT = (START, ENGLISH, TRANSCRIBE, NO_TIMESTAMPS)
"""What stands before every text."""

FIRST_BYTE = len(SPECIALS)
FIRST_MERGED = FIRST_BYTE + 256


@dataclass(frozen=True)
class Pieces:
    """Bytes of every id: `SPECIALS` (no bytes), the 256 single bytes, then longer ones in the order of their merges.

    Raises ModelFileError for bytes in any other order.
    """

    pieces: tuple[bytes, ...]

    def __post_init__(self) -> None:
        if any(self.pieces[:FIRST_BYTE]) or self.pieces[FIRST_BYTE:FIRST_MERGED] != SINGLE_BYTES:
            raise ModelFileError(
                "the decoder's pieces do not begin with the specials and the 256 bytes: export the model again"
            )
        merged = self.pieces[FIRST_MERGED:]
        if any(len(piece) < 2 for piece in merged) or len(set(merged)) < len(merged):
            raise ModelFileError("the decoder's pieces hold one twice or an empty one: export the model again")

    def __len__(self) -> int:
        return len(self.pieces)

    def text(self, ids: Iterable[int]) -> str:
        """What the ids write; specials write nothing, and bytes that are no UTF-8 become U+FFFD."""
        return b"".join([self.pieces[i] for i in ids]).decode(errors="replace")

    def arrays(self) -> tuple[NDArray[np.uint8], NDArray[np.uint32]]:
        """All bytes joined, (bytes,) uint8, and where each piece ends in them, (len(self),) uint32."""
        joined = np.frombuffer(b"".join(self.pieces), np.uint8)
        return joined, np.cumsum([len(piece) for piece in self.pieces], dtype=np.uint32)

    @classmethod
    def from_arrays(cls, joined: NDArray[np.uint8], ends: NDArray[np.uint32]) -> Pieces:
        """The reverse of `arrays`; raises ModelFileError for ends that do not rise to the number of bytes."""
        bounds = [0, *ends.tolist()]
        if bounds != sorted(bounds) or bounds[-1] != len(joined):
            raise ModelFileError("the decoder's pieces do not end where their bytes do: export the model again")
        data = joined.tobytes()
        return cls(tuple(data[a:b] for a, b in pairwise(bounds)))


SINGLE_BYTES = tuple(bytes([value]) for value in range(256))
