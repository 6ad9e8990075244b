"""`python -m penstock_operator` and `penstock-operator`: run the operator."""

from __future__ import annotations

import asyncio
import logging
import os
import sys

from penstock_operator.adapters.errors import ConfigurationError
from penstock_operator.runtime.app import run
from penstock_operator.runtime.settings import Settings, SettingsError


def main() -> None:
    """Run until SIGTERM or SIGINT; configuration errors end with one line and exit code 2."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        asyncio.run(run(Settings.from_environment(os.environ)))
    except (ConfigurationError, SettingsError) as error:
        sys.exit(f"penstock-operator: error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
