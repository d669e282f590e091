"""Files that run code when they are read: never read here, and refused with the line that converts them."""

PICKLES = (".bin", ".ckpt", ".pt", ".pth")


def refusal(pickle: str, wanted: str) -> str:
    """Say why a pickle is not read, and how its tensors become the file that is `wanted` beside it."""
    code = (
        f"import torch, safetensors.torch as s; t = torch.load({pickle!r}, weights_only=True); "
        "t = t.get('state_dict', t); "
        f"s.save_file({{k: v.clone() for k, v in t.items() if hasattr(v, 'clone')}}, {wanted!r})"
    )
    return (
        f'{pickle} is a pickle, which runs code when it is read. Convert it there if you trust it: python -c "{code}"'
    )
