"""Training and recording of runs. Must be imported before torch."""

import os

# With OMP_DYNAMIC, a busy machine gives a parallel region fewer threads than requested, and oneDNN waits forever for the rest.
os.environ.pop("OMP_DYNAMIC", None)
