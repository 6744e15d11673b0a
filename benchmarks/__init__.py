"""One package per question; each runs as `python -m benchmarks.<question>` and ends with one JSON line."""
