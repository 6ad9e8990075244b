"""The CRDs of the real Prometheus Operator, from its Go module, whose sum is pinned."""

import json
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

MODULE = "github.com/prometheus-operator/prometheus-operator"
VERSION = "0.94.1"
SUM = "h1:QEIb2wenPH+SdMN1xMf8l4Pmj00YYXXI6HlbLlQWkww="
_FOLDER = Path("example", "prometheus-operator-crd")


class NoGoError(Exception):
    """There is no `go` to fetch modules with."""


@cache
def manifests(*kinds: str) -> tuple[Path, ...]:
    """Files of the CRDs of these kinds, in the plural, such as `podmonitors`; fetched unless Go has them.

    Raises:
        NoGoError: this machine has no Go.
    """
    go = shutil.which("go")
    if go is None:
        raise NoGoError(f"the CRDs are fetched by Go as part of {MODULE}, and there is no `go` on PATH")
    command = [go, "mod", "download", "-json", f"{MODULE}@v{VERSION}"]
    done = subprocess.run(
        command, cwd="/", env={**os.environ, "GOWORK": "off"}, capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
    found = json.loads(done.stdout)
    assert found["Sum"] == SUM, f"not the {MODULE} {VERSION} that these tests were written for"
    return tuple(Path(found["Dir"]) / _FOLDER / f"monitoring.coreos.com_{kind}.yaml" for kind in kinds)
