"""Word error rate of the torch network on the dev set: for choosing checkpoints, never for reporting."""

import torch

from onebit_model.config import PRECISIONS
from onebit_model.data.batching import epoch_batches, pad_audio
from onebit_model.data.corpora import Utterance
from onebit_model.evaluation.scoring import ErrorCounts, align_texts
from onebit_model.network.conformer import SEGMENT, Conformer
from onebit_model.network.frontend import LogMel
from onebit_model.network.greedy import greedy_tokens
from onebit_model.network.mixed_precision import mixed_precision
from onebit_model.network.quantizers import Precision
from onebit_model.text.tokenizer import Tokenizer

BATCH_SECONDS = 60.0


@torch.no_grad()
def transcribe(
    network: Conformer, tokenizer: Tokenizer, utterances: list[Utterance], chunk: int = SEGMENT
) -> list[str]:
    """Greedy texts of the utterances at the network's current precision."""
    network.eval()
    device = next(network.parameters()).device
    front_end = LogMel()
    texts = [""] * len(utterances)
    for batch in epoch_batches([u.duration_seconds for u in utterances], BATCH_SECONDS, 0, 0):
        mel, frames = front_end(*pad_audio([utterances[i].audio.read() for i in batch]))
        with mixed_precision(device):
            scores, lengths = network(mel.to(device), frames.to(device), chunk)
        for row, index in enumerate(batch):
            texts[index] = tokenizer.decode(greedy_tokens(scores[row], int(lengths[row])))
    return texts


def dev_error_rates(
    network: Conformer,
    precision: Precision | None,
    tokenizer: Tokenizer,
    utterances: list[Utterance],
    chunk: int = SEGMENT,
) -> dict[str, float]:
    """`wer_<corpus>[_<bits>bit]` in percent, with the pooled `wer`, for each precision of the network."""
    rates: dict[str, float] = {}
    for bits in (None,) if precision is None else reversed(PRECISIONS):
        suffix = "" if bits is None else f"_{bits}bit"
        if precision is not None:
            precision.bits, precision.ramp = bits, 1.0
        texts = transcribe(network, tokenizer, utterances, chunk)
        totals: dict[str, ErrorCounts] = {}
        for utterance, text in zip(utterances, texts, strict=True):
            counts = align_texts(utterance.text, text).counts
            for key in ("wer", f"wer_{utterance.corpus}"):
                totals[key] = totals.get(key, ErrorCounts()) + counts
        rates |= {key + suffix: 100 * counts.rate for key, counts in totals.items()}
    return rates
