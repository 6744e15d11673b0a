"""`python -m cli.demo`, which `make demo` runs."""

import sys

from cli.demo.story import demo
from cli.failure import ExitCode, Failure

try:
    demo()
except Failure as failure:
    sys.stderr.write(f"basin: {failure.sentence}\n")
    sys.exit(failure.exit_code)
except KeyboardInterrupt:
    sys.exit(ExitCode.interrupted)
