"""The position-wise feed-forward network: one hidden layer, the same for every token (notes 3.1.3).

Vaswani et al. 2017, 1706.03762, section 3.3: relu(x W_1 + b_1) W_2 + b_2, or GELU in the place of ReLU.
"""

from jaxtyping import Float
from torch import Tensor, nn

from vidi.nn.convolution import Activation


class FeedForward(nn.Module):
    """Two linear maps with an activation between them; no token sees another."""

    def __init__(self, width: int, hidden: int, *, activation: Activation = nn.ReLU, dropout: float = 0.0):
        super().__init__()
        self.widen = nn.Linear(width, hidden)
        self.activation = activation()
        self.dropout = nn.Dropout(dropout)
        self.narrow = nn.Linear(hidden, width)
        for linear in (self.widen, self.narrow):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, x: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
        return self.narrow(self.dropout(self.activation(self.widen(x))))


def as_convolutions(network: FeedForward) -> nn.Sequential:
    """Return the same map as two convolutions of kernel 1 over B D T, with copies of the weights."""
    layers: list[nn.Module] = []
    for linear in (network.widen, network.narrow):
        convolution = nn.Conv1d(linear.in_features, linear.out_features, kernel_size=1)
        convolution.to(linear.weight)
        convolution.load_state_dict({"weight": linear.weight[..., None], "bias": linear.bias})  # out in -> out in 1
        layers.append(convolution)
    return nn.Sequential(layers[0], network.activation, network.dropout, layers[1])
