"""`python -m scripts.kind up|down|run COMMAND…`: a kind cluster to try things on, as the tests have it.

`up` makes images and cluster, `run` runs a command (a shell, say) that finds kind, kubectl, helm and the cluster, and
`down` leaves nothing but caches.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

from penstock_lab.cluster.errors import ClusterError

from . import lifecycle
from .errors import KindError
from .settings import Settings


def main(arguments: Sequence[str]) -> int:
    """Do it; return the exit status."""
    settings = Settings.from_environment()
    try:
        match list(arguments):
            case ["up"]:
                lifecycle.up(settings, lifecycle.Build(_say))
                _say(f"cluster {settings.cluster} is up: `python -m scripts.kind run kubectl get nodes`")
            case ["down"]:
                lifecycle.down(settings)
            case ["run", *command] if command:
                return _run(lifecycle.attach(settings), command)
            case _:
                _say(str(__doc__).splitlines()[0])
                return 2
    except (KindError, ClusterError) as error:
        _say(str(error))
        return 1
    return 0


def _run(cluster: lifecycle.Cluster, command: Sequence[str]) -> int:
    env = cluster.engine.environment()
    programs = cluster.binaries["kubectl"].parent
    env |= {"KUBECONFIG": str(cluster.kubeconfig), "PATH": f"{programs}{os.pathsep}{env['PATH']}"}
    return subprocess.run(cluster.engine.command(*command), env=env, check=False).returncode


def _say(line: str) -> None:
    sys.stderr.write(f"kind: {line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
