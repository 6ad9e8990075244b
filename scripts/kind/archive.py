"""A folder as a container image of one layer, in the archive that `docker load` and `ctr images import` both read.

`docker import` can set neither a stop signal nor several names, and asks for a daemon.
"""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

PATH: Final = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ZSTD: Final = ("zstd", "-q", "-1", "-T0")
_CHUNK: Final = 1 << 20


def pack(
    root: Path,
    archive: Path,
    names: Sequence[str],
    *,
    config: Mapping[str, Any] | None = None,
    compress: Sequence[str] = (),
    architecture: str = "amd64",
) -> None:
    """Write `root` as an image.

    Args:
        root: folder that becomes the file system, owners and extended attributes included.
        archive: file to write.
        names: `name:tag` of the image, one or more.
        config: of the image, as OCI spells it: Entrypoint, Cmd, Env, User, StopSignal.
        compress: command that compresses the layer; none leaves it as it is.
        architecture: as Go spells it.

    Raises:
        subprocess.CalledProcessError: tar or the compressor failed.
    """
    layer = archive.with_suffix(".layer")
    plain = _layer(root, layer, compress)
    settings = dict(config or {})
    settings["Env"] = [*settings.get("Env", ()), PATH]
    image = {
        "architecture": architecture,
        "os": "linux",
        "config": settings,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{plain}"]},
        "history": [{"created_by": "scripts/kind"}],
    }
    body = json.dumps(image).encode()
    config_name = f"{hashlib.sha256(body).hexdigest()}.json"
    manifest = [{"Config": config_name, "RepoTags": list(names), "Layers": ["layer.tar"]}]
    with tarfile.open(archive, "w") as out:
        for name, data in (("manifest.json", json.dumps(manifest).encode()), (config_name, body)):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            out.addfile(entry, io.BytesIO(data))
        out.add(layer, "layer.tar")
    layer.unlink()


def _layer(root: Path, layer: Path, compress: Sequence[str]) -> str:
    """Write the layer; return the SHA-256 of what it holds, uncompressed."""
    command = ["tar", "--sort=name", "--numeric-owner", "--xattrs", "-C", str(root), "-cf", "-", "."]
    digest = hashlib.sha256()
    with (
        layer.open("wb") as out,
        subprocess.Popen(command, stdout=subprocess.PIPE) as tar,
        subprocess.Popen(compress or ("cat",), stdin=subprocess.PIPE, stdout=out) as squeeze,
    ):
        assert tar.stdout is not None
        assert squeeze.stdin is not None
        while chunk := tar.stdout.read(_CHUNK):
            digest.update(chunk)
            squeeze.stdin.write(chunk)
        squeeze.stdin.close()
        for process in (tar, squeeze):
            if process.wait():
                raise subprocess.CalledProcessError(process.returncode, process.args)
    return digest.hexdigest()
