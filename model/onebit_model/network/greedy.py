"""Greedy decoding of the torch network's outputs."""

import numpy as np
from torch import Tensor

from onebit_model.text.tokenizer import BLANK


def greedy_tokens(log_probabilities: Tensor, frames: int) -> list[int]:
    """Best path of one clip, (frames, tokens) -> ids with repeats and blanks removed."""
    best = log_probabilities[:frames].argmax(dim=-1).cpu().numpy()
    changed = np.concatenate([[True], best[1:] != best[:-1]])
    return [int(token) for token in best[changed & (best != BLANK)]]
