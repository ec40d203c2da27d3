"""Greedy texts of the torch network: best path of the CTC head, best piece after best piece of the decoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from onebit_model.network.decoder import AttentionDecoder, KeysAndValues, frame_mask
from onebit_model.text.pieces import END, PROMPT
from onebit_model.text.tokenizer import BLANK

MOST_PIECES_PER_FRAME = 0.4  # ten a second
SPARE_PIECES = 12


@dataclass(frozen=True)
class Beginning:
    """Pieces that a text has already, and after how many pieces which one is `barred`."""

    pieces: tuple[int, ...] = ()
    barred: tuple[tuple[int, int], ...] = ()

    def another(self, text: Sequence[int], length: int) -> Beginning:
        """The first `length` pieces of a text, which is to go on in another way than it did."""
        barred = tuple((place, piece) for place, piece in self.barred if place <= length)
        return Beginning(tuple(text[:length]), (*barred, (length, text[length])))


def greedy_tokens(log_probabilities: Tensor, frames: int) -> list[int]:
    """Best path of one clip, (frames, tokens) -> ids with repeats and blanks removed."""
    best = log_probabilities[:frames].argmax(dim=-1).cpu().numpy()
    changed = np.concatenate([[True], best[1:] != best[:-1]])
    return [int(token) for token in best[changed & (best != BLANK)]]


@torch.no_grad()
def greedy_pieces(
    decoder: AttentionDecoder,
    encoded: Tensor,
    frames: Tensor,
    suppressed: Sequence[int] = (),
    most_pieces: int | None = None,
    beginning: Beginning = Beginning(),
) -> list[list[int]]:
    """Pieces of each clip of (batch, time, d_model) up to its end, without the prompt.

    Not more than `most_pieces` (default: ten a second of the longest clip); those `suppressed` are never written. All
    texts go on from the `beginning`.
    """
    device = encoded.device
    limit = int(int(frames.max()) * MOST_PIECES_PER_FRAME) + SPARE_PIECES if most_pieces is None else most_pieces
    limit = min(limit, len(decoder.positions) - len(PROMPT))
    memory, mask = decoder.memory(encoded), frame_mask(encoded, frames)
    pieces = torch.tensor([[*PROMPT, *beginning.pieces]] * len(encoded), device=device)
    forbidden = torch.tensor(list(suppressed), dtype=torch.int64, device=device)
    past: list[KeysAndValues] | None = None
    written = pieces[:, len(PROMPT) :]
    ended = torch.zeros(len(encoded), dtype=torch.bool, device=device)
    position = 0
    for length in range(len(beginning.pieces), limit):
        hidden, past = decoder.step(pieces, memory, mask, past, position)
        position += pieces.shape[1]
        logits = decoder.embedding.logits(hidden[:, -1]).float()
        logits[:, forbidden] = -torch.inf
        logits[:, [piece for place, piece in beginning.barred if place == length]] = -torch.inf
        best = logits.argmax(dim=-1).masked_fill(ended, END)
        ended |= best == END
        pieces = best[:, None]
        written = torch.cat([written, pieces], dim=1)
        if bool(ended.all()):
            break
    return [row[: row.index(END)] if END in row else row for row in written.tolist()]
