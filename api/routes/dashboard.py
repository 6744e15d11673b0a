"""The built dashboard at /, with index.html for every path that its own router knows."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, Depends, FastAPI, Request

from api.errors import NotFound

OURS = ("/api/", "/healthz", "/readyz", "/openapi.json")


def serve_dashboard(app: FastAPI, folder: Path | None) -> None:
    """Adds the pages behind every other route; without a built dashboard, / says how to get one."""
    if folder is None or not (folder / "index.html").is_file():
        app.add_api_route("/", _not_built, include_in_schema=False)
        return
    pages = APIRouter(dependencies=[Depends(_is_a_page)])
    pages.frontend("/", directory=folder, fallback="index.html")
    app.include_router(pages)


def _not_built() -> None:
    raise NotFound("the dashboard is not built: run `make setup`, or set BASIN_DASHBOARD to the folder of a build")


def _is_a_page(request: Request) -> None:
    path = request.url.path
    if path.startswith(OURS):
        raise NotFound(f"there is nothing at {path[:200]}")
