"""What a run of the tests may vary: VIDI_TEST_SEED (0), of every draw and training, and VIDI_TEST_THREADS (1)."""

import os

SEED = int(os.environ.get("VIDI_TEST_SEED", "0"))
THREADS = int(os.environ.get("VIDI_TEST_THREADS", "1"))
