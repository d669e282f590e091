"""Local response normalisation as a slow loop over the equation of Krizhevsky et al. 2012, section 3.3."""

from torch import Tensor


def response_norm(x: Tensor, *, n: int, alpha: float, beta: float, k: float) -> Tensor:
    """b_i = a_i / (k + alpha * sum of a_j^2)^beta, j from max(0, i - n / 2) to min(N - 1, i + n / 2); x is B C H W."""
    result = x.clone()
    for i in range(x.shape[1]):
        total = sum(x[:, j] ** 2 for j in range(max(0, i - n // 2), min(x.shape[1] - 1, i + n // 2) + 1))
        result[:, i] = x[:, i] / (k + alpha * total) ** beta
    return result
