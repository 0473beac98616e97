"""Trains and records. Imported before torch, wherever torch is."""

import os

# With OMP_DYNAMIC a busy machine gives a parallel region fewer threads than were asked for, and oneDNN waits for the others
# for ever.
os.environ.pop("OMP_DYNAMIC", None)
