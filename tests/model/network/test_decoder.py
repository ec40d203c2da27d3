"""The attention decoder: a piece at a time gives what teacher forcing gives, whatever the company."""

import torch

from onebit_model.config import ModelConfig
from onebit_model.network.conformer import Conformer
from onebit_model.network.decoder import AttentionDecoder, KeysAndValues, frame_mask
from onebit_model.network.greedy import greedy_pieces
from onebit_model.text.pieces import END, PROMPT

SMALL = ModelConfig(
    d_model=32,
    heads=2,
    blocks=2,
    feed_forward1=32,
    feed_forward2=48,
    average_after=1,
    vocabulary_size=20,
    decoder_blocks=2,
    decoder_feed_forward=64,
    decoder_vocabulary_size=288,
    decoder_positions=32,
)


def small_decoder() -> AttentionDecoder:
    torch.manual_seed(0)
    decoder = Conformer(SMALL).eval().decoder
    assert decoder is not None
    torch.nn.init.normal_(decoder.positions, std=0.3)
    return decoder


@torch.no_grad()
def test_a_piece_at_a_time_is_teacher_forcing() -> None:
    decoder = small_decoder()
    encoded, frames = torch.randn(2, 11, 32), torch.tensor([11, 7])
    pieces = torch.randint(6, 288, (2, 9))
    whole = decoder(pieces, encoded, frames)
    memory, mask = decoder.memory(encoded), frame_mask(encoded, frames)
    past: list[KeysAndValues] | None = None
    for position in range(9):
        hidden, past = decoder.step(pieces[:, position : position + 1], memory, mask, past, position)
        torch.testing.assert_close(hidden[:, 0], whole[:, position], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_padding_and_company_change_nothing() -> None:
    decoder = small_decoder()
    clips = [torch.randn(11, 32), torch.randn(7, 32)]
    together = torch.nn.utils.rnn.pad_sequence(clips, batch_first=True, padding_value=9.0)
    both = greedy_pieces(decoder, together, torch.tensor([11, 7]), most_pieces=12)
    for clip, pieces in zip(clips, both, strict=True):
        assert greedy_pieces(decoder, clip[None], torch.tensor([len(clip)]), most_pieces=12) == [pieces]


@torch.no_grad()
def test_the_text_ends_where_the_end_is_likeliest_and_where_there_is_no_more_room() -> None:
    decoder = small_decoder()
    encoded, frames = torch.randn(1, 500, 32), torch.tensor([500])
    (unended,) = greedy_pieces(decoder, encoded, frames, suppressed=[END])
    assert len(unended) == SMALL.decoder_positions - len(PROMPT)
    only = [piece for piece in range(288) if piece != END]
    assert greedy_pieces(decoder, encoded, frames, suppressed=only) == [[]]


def test_a_network_without_a_decoder_has_none_of_its_weights() -> None:
    plain = Conformer(ModelConfig(d_model=32, heads=2, blocks=1, average_after=1))
    assert plain.decoder is None
    assert not any(name.startswith("decoder") for name in plain.state_dict())
