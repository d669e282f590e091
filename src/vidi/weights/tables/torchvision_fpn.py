"""Names of torchvision's feature pyramid, as part of its detectors."""

PYRAMID = {
    "inner_blocks.*.0.*": "lateral.*.*",
    "layer_blocks.*.0.*": "smooth.*.*",
    "inner_blocks.*.*": "lateral.*.*",  # in older files
    "layer_blocks.*.*": "smooth.*.*",
    "extra_blocks.p*.*": "p*.*",
}
