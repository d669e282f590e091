"""Traditional attention as slow loops over the equations of Bahdanau et al. 2015, section 3.1 and appendix A.1.2."""

import math

import torch
from torch import Tensor


def additive_attention(
    states: Tensor, annotations: Tensor, *, W: Tensor, b: Tensor, U: Tensor, v: Tensor
) -> tuple[Tensor, Tensor]:
    """Return contexts N x D and weights N x M: e_ij = v^T tanh(W s_i + b + U h_j), softmax over j, mean of the h_j."""
    N, M = len(states), len(annotations)
    weights = torch.zeros(N, M, dtype=states.dtype)
    contexts = torch.zeros(N, annotations.shape[1], dtype=states.dtype)
    for i in range(N):
        energies = [float(v @ torch.tanh(W @ states[i] + b + U @ annotations[j])) for j in range(M)]
        total = sum(math.exp(energy) for energy in energies)
        for j in range(M):
            weights[i, j] = math.exp(energies[j]) / total
            contexts[i] += weights[i, j] * annotations[j]
    return contexts, weights
