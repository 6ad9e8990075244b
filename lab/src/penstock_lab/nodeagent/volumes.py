"""The volumes of one pod as folders on this machine.

Volumes made of files are written as a kubelet's atomic writer does: a fresh folder, then one rename of the `..data`
link, so that a reader sees either the old content or the new. `refresh` writes again what has changed, tokens
included.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock_lab.kube import KubeError
from penstock_lab.nodeagent.errors import ConfigError, MountError
from penstock_lab.nodeagent.resources import CLAIMS, PERSISTENT_VOLUMES

if TYPE_CHECKING:
    from penstock_lab.kube import Kube
    from penstock_lab.nodeagent.payload import Files, PayloadReader
    from penstock_lab.nodeagent.sandbox import Sandbox
    from penstock_lab.nodeagent.tokens import Tokens


class Volumes:
    """All volumes of one pod."""

    def __init__(self, *, sandbox: Sandbox, kube: Kube, reader: PayloadReader, tokens: Tokens) -> None:
        self._sandbox = sandbox
        self._kube = kube
        self._reader = reader
        self._tokens = tokens
        self._folders: dict[str, Path] = {}
        self._contents: dict[str, Files] = {}
        self._generation = 0

    @property
    def refreshable(self) -> bool:
        """Whether any volume holds files that can change."""
        return bool(self._contents)

    async def mount(self) -> None:
        """Provide every volume of the pod.

        Raises:
            MountError: one cannot be provided; the message names it.
        """
        for volume in self._sandbox.spec.get("volumes", ()):
            try:
                self._folders[volume["name"]] = await self._provide(volume)
            except (ConfigError, KubeError, MountError, OSError) as error:
                raise MountError(f'MountVolume.SetUp failed for volume "{volume["name"]}" : {error}') from error

    async def refresh(self) -> None:
        """Write again the files that have changed.

        Raises:
            ConfigError: a source has gone; the old files stay.
            KubeError: the server refuses one.
        """
        for volume in self._sandbox.spec.get("volumes", ()):
            if volume["name"] in self._contents and (files := await self._reader.read(volume)) is not None:
                self._write(volume, files)

    def mounts(self, container: dict[str, Any]) -> dict[str, str]:
        """Return the real path of each mount of a container, by its path inside.

        Raises:
            MountError: a mount has a form that is not supported.
        """
        mounts = {}
        for mount in container.get("volumeMounts", ()):
            if mount.get("subPathExpr"):
                raise MountError(f"volumeMounts[{mount['name']}].subPathExpr is not supported; use subPath")
            folder = self._folders[mount["name"]]
            mounts[mount["mountPath"]] = str(folder / mount["subPath"] if mount.get("subPath") else folder)
        return mounts

    def kubeconfig(self, container: dict[str, Any]) -> str | None:
        """Return the kubeconfig for a container that mounts a service account token, else None."""
        for mount in container.get("volumeMounts", ()):
            path = self._kubeconfig(mount["name"])
            if path.exists():
                return str(path)
        return None

    async def _provide(self, volume: dict[str, Any]) -> Path:
        folder = self._sandbox.folder / "volumes" / str(volume["name"])
        if "emptyDir" in volume:
            folder.mkdir(parents=True, exist_ok=True)
            return folder
        if "hostPath" in volume:
            return _existing(volume["hostPath"])
        if "persistentVolumeClaim" in volume:
            return await self._claimed(volume["persistentVolumeClaim"]["claimName"])
        files = await self._reader.read(volume)
        if files is None:
            kind = ", ".join(key for key in volume if key != "name")
            raise MountError(f"volumes of type {kind} are not supported by the node agent")
        self._write(volume, files)
        return folder

    async def _claimed(self, claim: str) -> Path:
        bound = await self._kube.get(CLAIMS, claim, namespace=self._sandbox.namespace)
        if not (name := bound["spec"].get("volumeName")):
            raise MountError(f'persistentvolumeclaim "{claim}" is not bound')
        spec = (await self._kube.get(PERSISTENT_VOLUMES, name))["spec"]
        source = spec.get("hostPath") or spec.get("local")
        if not source:
            raise MountError(f'persistentvolume "{name}" is neither hostPath nor local')
        return _existing(source)

    def _write(self, volume: dict[str, Any], files: Files) -> None:
        name = volume["name"]
        if self._contents.get(name) == files:
            return
        folder = self._sandbox.folder / "volumes" / name
        self._generation += 1
        data = folder / f"..{self._generation}"
        shutil.rmtree(data, ignore_errors=True)
        data.mkdir(parents=True)
        for path, content in files.items():
            target = data / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            target.chmod(0o600 if "configMap" not in volume else 0o644)
        self._publish(folder, data, [path.split("/", 1)[0] for path in files])
        self._write_kubeconfig(volume, files)
        self._contents[name] = files

    @staticmethod
    def _publish(folder: Path, data: Path, names: list[str]) -> None:
        current = folder / "..data"
        previous = current.resolve() if current.is_symlink() else None
        link = folder / "..new"
        link.unlink(missing_ok=True)
        link.symlink_to(data.name)
        link.replace(current)
        for entry in folder.iterdir():
            if not entry.name.startswith("..") and entry.name not in names:
                entry.unlink()
        for name in set(names):
            if not (folder / name).is_symlink():
                (folder / name).symlink_to(f"..data/{name}")
        if previous is not None and previous != data:
            shutil.rmtree(previous, ignore_errors=True)

    def _write_kubeconfig(self, volume: dict[str, Any], files: Files) -> None:
        for part in volume.get("projected", {}).get("sources", ()):
            projection = part.get("serviceAccountToken")
            if projection is None or projection.get("audience"):
                continue
            path = self._kubeconfig(volume["name"])
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh = path.with_suffix(".new")
            fresh.touch(mode=0o600)
            fresh.write_bytes(self._tokens.kubeconfig(files[projection["path"]].decode()))
            fresh.replace(path)

    def _kubeconfig(self, volume: str) -> Path:
        return self._sandbox.folder / "kubeconfig" / f"{volume}.yaml"


def _existing(host_path: dict[str, Any]) -> Path:
    path = Path(host_path["path"])
    if host_path.get("type") == "DirectoryOrCreate":
        path.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        raise MountError(f"hostPath type check failed: {path} does not exist")
    return path
