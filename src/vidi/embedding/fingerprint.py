"""Which model a vector is of: vectors of two models cannot be compared, though their lengths be the same."""

import hashlib
import json

from vidi.model import Saved


def fingerprint(*models: Saved) -> str:
    """Return the model's name, and 16 digits of a SHA-256 over what models are: description and weights.

    Args:
        models: the one that embeds, then others that pictures go through before.

    Raises:
        ValueError: if a model was not made by a named builder.
    """
    digest = hashlib.sha256()
    for model in models:
        digest.update(json.dumps(model.description(), sort_keys=True).encode())
        for name, value in sorted(model.state_dict().items()):
            digest.update(f" {name} {value.dtype} {tuple(value.shape)} ".encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return f"{models[0].description()['model']} {digest.hexdigest()[:16]}"
