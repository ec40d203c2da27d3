"""Written labels for clips whose corpus has none: the human's words in the spelling of Whisper's own transcript."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from onebit_model.data.corpora import Utterance
from onebit_model.data.label_file import write_labels
from onebit_model.data.labels import spelled_like
from onebit_model.network.conformer import Conformer
from onebit_model.network.greedy import greedy_pieces
from onebit_model.network.mixed_precision import mixed_precision
from onebit_model.network.pretrained import whisper_encoding
from onebit_model.text.piece_encoder import PieceEncoder
from onebit_model.text.pieces import END, SPECIALS
from onebit_model.training.soft_labels import padded_clips
from onebit_model.training.sources import ClipStore

CLIPS = 128  # at once
PIECES_PER_SECOND = 8
SPARE_PIECES = 8


@torch.no_grad()
def transcripts(
    whisper: Conformer, encoder: PieceEncoder, clips: ClipStore, utterances: Sequence[Utterance], chosen: Sequence[int]
) -> list[str]:
    """What Whisper, as loaded, writes of the chosen clips, each padded to 30 s."""
    assert whisper.decoder is not None
    texts = dict.fromkeys(chosen, "")
    ordered = sorted(chosen, key=lambda index: utterances[index].duration_seconds)
    suppressed = [piece for piece in range(len(SPECIALS)) if piece != END]
    for start in range(0, len(ordered), CLIPS):
        batch = ordered[start : start + CLIPS]
        longest = utterances[batch[-1]].duration_seconds
        with mixed_precision(clips.device):
            encoded = whisper_encoding(whisper, padded_clips(clips, batch))
            frames = torch.full((len(batch),), encoded.shape[1], device=clips.device)
            most = int(longest * PIECES_PER_SECOND) + SPARE_PIECES
            written = greedy_pieces(whisper.decoder, encoded, frames, suppressed, most)
        for index, pieces in zip(batch, written, strict=True):
            texts[index] = encoder.pieces.text(pieces).strip()
    return [texts[index] for index in chosen]


def write_written_labels(
    path: Path, utterances: Sequence[Utterance], chosen: Sequence[int], texts: Sequence[str]
) -> None:
    """The label file of the chosen clips: their words as the transcripts spell them."""
    labels = {
        (utterances[index].corpus, utterances[index].id): spelled_like(utterances[index].text, text)
        for index, text in zip(chosen, texts, strict=True)
    }
    write_labels(path, labels)
