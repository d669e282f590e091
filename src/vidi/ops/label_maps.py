"""Integer maps of labels, one for each pixel."""

VOID = 255
"""The label of pixels that count nowhere: in no loss and no score, on disk as in memory."""
