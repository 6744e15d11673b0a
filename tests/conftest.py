"""What holds for all tests: they may run on a busy machine, and never assert a time."""

from __future__ import annotations

import hypothesis

hypothesis.settings.register_profile(
    "basin", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)  # The first example pays for imports, and a process that waits for a processor makes examples slowly.
hypothesis.settings.load_profile("basin")
