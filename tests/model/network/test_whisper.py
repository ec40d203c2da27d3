"""At step 0 the network is Whisper base: the same pieces, the same encoder output.

Expected values: CTranslate2 4.8.5 in float32 (`models.Whisper.encode` and `generate`, beam 1, nothing suppressed), with
the model of the same packages, 2026-11-27.
"""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from onebit_model.config import ModelConfig
from onebit_model.data.reference import read_set
from onebit_model.errors import ModelFileError
from onebit_model.network.conformer import Conformer
from onebit_model.network.greedy import greedy_pieces
from onebit_model.network.pretrained import load_whisper, whisper_encoding
from onebit_model.network.whisper_file import WHISPER_BASE, read_whisper
from onebit_model.text.pieces import SPECIALS

PIECES = 51_865
OURS = (50_257, 50_258, 50_259, 50_359, 50_362, 50_363)  # Whisper's ids of our specials, in our order
FRAMES = (0, 100, 700)  # whose first eight values are below


@dataclass(frozen=True)
class Clip:
    corpus: str
    name: str
    pieces: tuple[int, ...]
    encoded: tuple[tuple[float, ...], ...]


CLIPS = (
    Clip(
        "ljspeech",
        "LJ001-0002",
        (294, 885, 6311, 19020, 4363, 13),
        (
            (0.2063, 0.2268, 0.0154, 1.338, -1.5676, -3.2065, 0.2158, -0.1155),
            (0.3508, 0.1046, -0.6291, 0.3863, 0.122, 2.0908, -0.4969, -1.1055),
            (0.3446, -0.2847, 0.4641, -1.1673, 0.3237, 2.0721, -0.5467, 0.0371),
        ),
    ),
    Clip(
        "librispeech-other",
        "1688-142285-0003",
        (286, 534, 411, 300, 2696, 295, 3647, 11, 1101, 813, 1340, 1646, 415, 848, 13),
        (
            (-1.5745, -0.3842, -0.5194, -1.6589, 0.7149, -2.4101, -0.6926, -0.5182),
            (1.1815, 0.1298, 0.2787, -0.0616, -0.8173, 1.6694, -1.2138, -2.042),
            (0.2198, -0.2022, 0.4241, -1.411, 0.384, 2.21, -0.7275, -0.0949),
        ),
    ),
    Clip(
        "common-voice",
        "common_voice_en_37280736",
        (467, 307, 257, 1465, 300, 1580, 294, 300, 1782, 486, 978, 13),
        (
            (-1.8375, 0.8111, -0.7479, -0.4018, -0.3097, -2.325, -0.1899, -0.1108),
            (-1.3303, 0.9615, -1.3428, 1.6565, 1.8703, 2.1062, -0.2834, 0.7128),
            (0.3643, -0.2902, 0.3646, -1.2202, 0.2397, 2.0476, -0.6862, -0.1675),
        ),
    ),
)


@pytest.fixture(scope="module")
def rows() -> list[int]:
    """Every piece of Whisper, ours first; the last ones again, to a multiple of 16."""
    others = [piece for piece in range(PIECES) if piece not in OURS]
    return [*OURS, *others, *others[-(-PIECES % 16) :]]


@pytest.fixture(scope="module")
def whisper(rows: list[int]) -> Conformer:
    config = ModelConfig(
        decoder_blocks=6, decoder_feed_forward=2048, decoder_vocabulary_size=len(rows), decoder_positions=448
    )
    network = Conformer(config).eval()
    source = read_whisper(Path(WHISPER_BASE))
    load_whisper(network, source, rows)
    network.positions.copy_(
        source["encoder.embed_positions.weight"]
    )  # in float16, as the other implementation has them
    return network


@pytest.mark.parametrize("clip", CLIPS, ids=lambda clip: clip.name)
@torch.no_grad()
def test_step_zero_is_whisper_base(clip: Clip, whisper: Conformer, rows: list[int]) -> None:
    utterance = next(u for u in read_set(clip.corpus) if u.id == clip.name)
    encoded = whisper_encoding(whisper, torch.from_numpy(utterance.audio.read())[None])
    expected = torch.tensor(clip.encoded)
    torch.testing.assert_close(encoded[0, list(FRAMES), : expected.shape[1]], expected, rtol=0, atol=1e-3)
    assert whisper.decoder is not None
    (written,) = greedy_pieces(whisper.decoder, encoded, torch.tensor([encoded.shape[1]]))
    assert tuple(rows[piece] for piece in written) == clip.pieces


def test_the_specials_are_whispers() -> None:
    assert len(OURS) == len(SPECIALS)


def test_a_foreign_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"\x05\x00\x00\x00")
    with pytest.raises(ModelFileError, match="not a CTranslate2 file of version 6: it says 5"):
        read_whisper(tmp_path / "model.bin")
