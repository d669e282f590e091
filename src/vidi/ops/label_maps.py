"""What the numbers of a label map mean."""

VOID = 255
"""Of pixels that count nowhere: those of no class, and what padding adds; on disk and in memory."""
