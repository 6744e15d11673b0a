"""The one contract between API, worker, trainer, command line and dashboard: pydantic and stdlib only."""
