"""What a batch is to become: pieces behind the prompt, soft labels beside them, silence where no word is."""

import numpy as np
import torch

from onebit_model.text.pieces import END, FIRST_BYTE, NO_SPEECH, PROMPT
from onebit_model.training.targets import ClipTargets, SoftLabels, item_targets, piece_targets

PROMPTED = len(PROMPT) - 1


def clip(*pieces: int, tokens: int = 2, weight: float = 1.0, soft: bool = False) -> ClipTargets:
    rows = len(pieces) + 1
    labels = SoftLabels(np.full((rows, 3), 50), np.full((rows, 3), 1 / 3, np.float32)) if soft else None
    return ClipTargets(torch.arange(tokens), pieces, weight, labels)


def due(targets_row: int, batch: list[ClipTargets]) -> tuple[list[int], list[int]]:
    """What the decoder is told in a row and what it is to say, at which places of the row."""
    told = piece_targets(batch, 300, 0.0, np.random.default_rng(0))
    assert told is not None
    length = told.inputs.shape[1]
    here = (told.positions // length == targets_row) & (told.weights > 0)
    assert (told.positions[here] % length).tolist() == list(range(PROMPTED, PROMPTED + int(here.sum())))
    return told.inputs[targets_row].tolist(), told.labels[here].tolist()


def test_each_piece_is_due_where_the_one_before_is_told() -> None:
    told, said = due(0, [clip(70, 71, 72), clip(80)])
    assert told[: len(PROMPT) + 2] == [*PROMPT, 70, 71]
    assert said == [70, 71, 72, END]
    assert due(1, [clip(70, 71, 72), clip(80)])[1] == [80, END]


def test_sounds_without_words_are_said_to_be_none() -> None:
    assert due(0, [clip()])[1] == [NO_SPEECH, END]


def test_whisper_teaches_nothing_about_sounds_without_words() -> None:
    """It says so in another place, before the prompt."""
    told = piece_targets([clip(), clip(70)], 300, 0.0, np.random.default_rng(0))
    assert told is not None
    assert told.labels[told.spoken].tolist() == [70, END]


def test_clips_without_written_text_teach_the_ctc_head_alone() -> None:
    unknown = ClipTargets(torch.arange(3), None)
    assert piece_targets([unknown], 300, 0.0, np.random.default_rng(0)) is None
    told = piece_targets([unknown, clip(70)], 300, 0.0, np.random.default_rng(0))
    assert told is not None
    assert told.labels[told.weights > 0].tolist() == [70, END]
    joined = item_targets((0, 1), [unknown, clip(70)])
    assert joined.pieces is None
    assert len(joined.tokens) == 5


def test_joined_clips_read_on_and_end_once() -> None:
    clips = [clip(70, 71, soft=True), clip(tokens=0), clip(80, soft=True, weight=0.5)]
    joined = item_targets((0, 1, 2), clips)
    assert joined.pieces == (70, 71, 80)
    assert joined.weight == 0.5
    assert joined.soft is not None
    assert len(joined.soft.pieces) == 4  # a row for each piece and one for the end
    assert item_targets((1,), clips).pieces == ()


def test_some_of_what_the_decoder_is_told_is_wrong() -> None:
    batch = [clip(*[70] * 100)]
    told = piece_targets(batch, 300, 0.2, np.random.default_rng(0))
    assert told is not None
    wrong = (told.inputs[0, len(PROMPT) : len(PROMPT) + 99] != 70).float().mean()
    assert 0.1 < float(wrong) < 0.3
    assert told.inputs[0, : len(PROMPT)].tolist() == list(PROMPT)
    assert told.inputs[0, len(PROMPT) : len(PROMPT) + 99].min() >= FIRST_BYTE
    assert told.labels[told.weights > 0].tolist() == [*[70] * 100, END]


def test_a_clip_without_soft_labels_is_certain_of_its_own() -> None:
    told = piece_targets([clip(70, soft=True), clip(80)], 300, 0.0, np.random.default_rng(0))
    assert told is not None
    assert told.soft_pieces is not None
    assert told.soft_probabilities is not None
    assert told.soft_pieces[:4, 0].tolist() == [50, 50, 80, END]
    torch.testing.assert_close(told.soft_probabilities[:4].sum(dim=1), torch.ones(4))
