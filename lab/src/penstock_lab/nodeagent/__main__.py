"""`python -m penstock_lab.nodeagent`."""

from __future__ import annotations

import asyncio
import logging
import os
import sys

from penstock_lab.nodeagent.agent import run
from penstock_lab.nodeagent.errors import NodeAgentError
from penstock_lab.nodeagent.settings import parse_settings


def main() -> int:
    """Run the node agent; return the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        asyncio.run(run(parse_settings(sys.argv[1:], os.environ)))
    except (NodeAgentError, OSError, ValueError) as error:
        print(f"node agent: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
