"""What encoder and decoder share."""

from torch import Tensor, nn


class Linear(nn.Linear):
    """A projection: quantised to 1, 2 or 4 bit when the network is."""


class FeedForward(nn.Module):
    def __init__(self, dim: int, hidden: int, activation: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.up = Linear(dim, hidden)
        self.down = Linear(hidden, dim)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.activation(self.up(self.norm(x))))


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(batch, time, dim) -> (batch, heads, time, dim / heads)."""
    batch, time, dim = x.shape
    return x.view(batch, time, heads, dim // heads).transpose(1, 2)
