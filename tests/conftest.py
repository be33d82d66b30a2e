"""Settings every test runs under."""

from __future__ import annotations

import os

# Set before torch or Ray is imported. A second thread collapses beside a busy neighbour, and changes the last bits.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
# A developer's own database is no place for the tests' studies.
os.environ.pop("OPTLSTM_STORAGE", None)
