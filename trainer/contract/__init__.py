"""The one shared contract between API, worker, trainer, command line and dashboard: pydantic and the standard library only."""
