"""Word error rate of the torch network on the dev set: for choosing checkpoints, never for reporting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from onebit_model.config import WHOLE_SEGMENT
from onebit_model.data.batching import epoch_batches, pad_audio
from onebit_model.data.corpora import Utterance
from onebit_model.evaluation.scoring import ErrorCounts, align_texts
from onebit_model.network.conformer import Conformer
from onebit_model.network.frontend import LogMel
from onebit_model.network.greedy import greedy_pieces, greedy_tokens
from onebit_model.network.mixed_precision import mixed_precision
from onebit_model.text.piece_encoder import PieceEncoder
from onebit_model.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from onebit_model.training.stage import Stage

BATCH_SECONDS = 60.0
ACCELERATOR_BATCH_SECONDS = 600.0


@torch.no_grad()
def transcribe(
    network: Conformer,
    tokenizer: Tokenizer,
    encoder: PieceEncoder | None,
    utterances: Sequence[Utterance],
    chunk: int = WHOLE_SEGMENT,
) -> tuple[list[str], list[str]]:
    """Greedy texts of the utterances at the network's current precision: the CTC head's and the decoder's.

    The decoder's are empty where there is none.
    """
    network.eval()
    device = next(network.parameters()).device
    front_end = LogMel().to(device)
    heard, written = [""] * len(utterances), [""] * len(utterances)
    batch_seconds = BATCH_SECONDS if device.type == "cpu" else ACCELERATOR_BATCH_SECONDS
    for batch in epoch_batches([u.duration_seconds for u in utterances], batch_seconds, 0, 0):
        samples, lengths = pad_audio([utterances[i].audio.read() for i in batch])
        mel, mel_frames = front_end(samples.to(device), lengths.to(device))
        with mixed_precision(device):
            hidden = network.lower(mel, mel_frames, chunk, network.config.average_after)
            frames = mel_frames // 4
            encoded = network.upper(hidden, frames, chunk)
            scores = network.log_probabilities(encoded)
            pieces = [] if network.decoder is None else greedy_pieces(network.decoder, encoded, frames)
        for row, index in enumerate(batch):
            heard[index] = tokenizer.decode(greedy_tokens(scores[row], int(frames[row])))
            if encoder is not None:
                written[index] = encoder.pieces.text(pieces[row]).strip()
    return heard, written


def dev_error_rates(stage: Stage, chunk: int = WHOLE_SEGMENT) -> dict[str, float]:
    """`wer_<corpus>[_<bits>bit]` in percent, with the pooled `wer`, for each precision of the network.

    Of the decoder where there is one; then `ctc_wer` is that of the CTC head.
    """
    rates: dict[str, float] = {}
    for bits in (None,) if stage.precision is None else (4, 2, 1):
        suffix = "" if bits is None else f"_{bits}bit"
        if stage.precision is not None:
            stage.precision.bits, stage.precision.ramp = bits, 1.0
        heard, written = transcribe(stage.network, stage.tokenizer, stage.encoder, stage.dev_set, chunk)
        texts = heard if stage.encoder is None else written
        rates |= {f"wer{key}{suffix}": rate for key, rate in _rates(stage.dev_set, texts).items()}
        if stage.encoder is not None:
            rates[f"ctc_wer{suffix}"] = _rates(stage.dev_set, heard)[""]
    return rates


def _rates(utterances: Sequence[Utterance], texts: Sequence[str]) -> dict[str, float]:
    """Percent by corpus, as `_<corpus>`, and pooled, as ""."""
    totals: dict[str, ErrorCounts] = {}
    for utterance, text in zip(utterances, texts, strict=True):
        counts = align_texts(utterance.text, text).counts
        for key in ("", f"_{utterance.corpus}"):
            totals[key] = totals.get(key, ErrorCounts()) + counts
    return {key: 100 * counts.rate for key, counts in totals.items()}
