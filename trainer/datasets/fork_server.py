"""Imported by the fork server that the loader's processes come from, before it serves: once, what each of them needs.

The server stands aside of the rank's process group, so that what a terminal or a supervisor sends to the group does not
end it under a rank that wants to save first. It ends by itself once the rank and its processes are gone.
"""

from __future__ import annotations

import os

if os.getpgrp() != os.getpid():
    os.setsid()

import trainer.datasets.reading  # noqa: F401
