"""`python -m penstock_gateway` and `penstock-gateway`: run the gateway."""

from __future__ import annotations

import logging
import os
import sys

import uvloop

from penstock_gateway.app import run
from penstock_gateway.errors import ConfigurationError
from penstock_gateway.settings import Settings


def main() -> None:
    """Run until SIGTERM or SIGINT; wrong settings end with one line and exit status 2."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        settings = Settings.from_environment(os.environ)
        status = uvloop.run(run(settings))
    except ConfigurationError as error:
        print(f"penstock-gateway: error: {error}", file=sys.stderr)  # noqa: T201 - the last words of the process
        status = 2
    sys.exit(status)


if __name__ == "__main__":
    main()
