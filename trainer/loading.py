"""Loads torch, timm and the training loop, which takes seconds."""

from __future__ import annotations

import gc


def load_libraries() -> None:
    """Imports what training needs, with the garbage collector resting: it would find nothing and take a sixth longer.

    What is loaded then stays for ever, so later collections pass it over.
    """
    gc.disable()
    try:
        import trainer.heartbeat
        import trainer.loop  # noqa: F401
    finally:
        gc.freeze()
        gc.enable()
