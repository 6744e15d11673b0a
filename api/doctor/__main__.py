"""`python -m api.doctor`: the control plane's own checks without an API, as one JSON list. For when none answers.

Exit codes: 0 nothing failed, 1 something did.
"""

from __future__ import annotations

import json
import os
import sys

from api.db.engine import make_engine
from api.doctor.checks import control_checks
from api.settings import settings_or_exit
from trainer.contract.findings import Verdict, run_checks, worst

PART = "this machine"


def main() -> int:
    settings = settings_or_exit()
    findings = run_checks(
        PART, control_checks(settings, make_engine(settings, application="basin-doctor", pool_size=1))
    )
    document = {"event": "findings", "findings": [finding.model_dump(mode="json") for finding in findings]}
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()
    return int(worst(findings) is Verdict.failed)


if __name__ == "__main__":
    os._exit(main())  # A check that hangs must not keep the process.
