"""`python -m api.openapi`: writes the API's description to api/openapi.json; the dashboard's types are made from it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from api.app import openapi_document

FILE = Path(__file__).with_suffix(".json")


def rendered() -> str:
    return json.dumps(openapi_document(), indent=2, ensure_ascii=False) + "\n"


def main() -> int:
    FILE.write_text(rendered(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
