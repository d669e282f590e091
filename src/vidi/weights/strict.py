"""All tensors into a network, or none."""

from collections.abc import Mapping

from torch import Tensor, nn

BATCH_COUNTER = ".num_batches_tracked"  # of batch normalisation; old files and frozen norms lack it, nothing needs it


def load_strictly(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Load all tensors or none; only the batch counters of norms may be missing or superfluous.

    Raises:
        ValueError: naming what is missing, unexpected or of another shape; the network is then as it was.
    """
    wanted = {key: value.shape for key, value in network.state_dict().items()}
    given = {key: value for key, value in tensors.items() if key in wanted or not key.endswith(BATCH_COUNTER)}
    missing = [key for key in wanted if key not in given and not key.endswith(BATCH_COUNTER)]
    faults = [f"{len(missing)} missing: {', '.join(missing[:5])}"] if missing else []
    unexpected = [key for key in given if key not in wanted]
    faults += [f"{len(unexpected)} unexpected: {', '.join(unexpected[:5])}"] if unexpected else []
    faults += [
        f"{key} has shape {tuple(value.shape)}, expected {tuple(wanted[key])}"
        for key, value in given.items()
        if key in wanted and value.shape != wanted[key]
    ][:5]
    if faults:
        raise ValueError(f"the weights do not fit the network: {'; '.join(faults)}")
    network.load_state_dict(given)
