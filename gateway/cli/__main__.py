"""`python -m gateway.cli` is `agent-gateway`."""

import sys

from gateway.cli import main

sys.exit(main())
