"""Build the image of the Dockerfile without Docker, and run it as compose.yaml does: not root, nothing to write to.

python tools/container.py        builds it, says what is in it, and leaves it in build/container

It needs Linux, root and buildah, no privileges beyond. Where no registry is reached the base is made of Debian's own
packages by mmdebstrap, in half of the processor time of debootstrap, and tagged with the name that the Dockerfile asks
for; its Python is Debian's then.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
SUITE, MIRROR = "bookworm", "http://deb.debian.org/debian"
# What the base of the Dockerfile has and a bare Debian lacks; `python` is beside it a link.
PACKAGES = ("python3", "python3-dev", "python3-pip", "python3-venv", "ca-certificates")
DEBIAN_PYTHON = "3.11"
# What nobody reads there, as the slim image leaves it out, and what a power failure would take.
DPKG_OPTIONS = (*(f"path-exclude=/usr/share/{name}/*" for name in ("doc", "man", "locale", "info")), "force-unsafe-io")
CERTIFICATES = Path("/etc/ssl/certs")
PULL_S = 120
# In a mount namespace of its own, a root file system that cannot be written, as `read_only: true` has it; then neither
# rights nor a way to get any, as `cap_drop` and `no-new-privileges` have it. Its arguments: the root, SOURCE TARGET…,
# --, user, group, folder, PATH, NAME=TEXT…, program and its arguments.
ENTER = """
set -e
root=$1; shift
mount --bind "$root" "$root"
while [ "$1" != -- ]; do mount --bind "$1" "$root$2"; mount -o remount,bind,ro "$root$2"; shift 2; done; shift
mount -o remount,bind,ro "$root"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
exec chroot "$root" setpriv --reuid="$1" --regid="$2" --clear-groups \\
    --no-new-privs --bounding-set=-all --inh-caps=-all \\
    env -C "$3" -i PATH="$4" "${@:5}"
"""


# What a build says where the machine has no way to Debian or to the package index, or may not mount anything.
ELSEWHERE = re.compile(
    r"^.*(?:Could not resolve|Temporary failure|Failed to establish|Could not connect|Read timed out|"
    r"Connection (?:refused|timed out|reset)|Network is unreachable|No route to host|ProxyError|Forbidden|SSLError|"
    r"CERTIFICATE_VERIFY_FAILED|Couldn't download|Unable to fetch|Failed to fetch|Failed getting release file|"
    r"No matching distribution|Failure trying to run|Operation not permitted|Permission denied|"
    r"No space left on device).*$",
    re.MULTILINE,
)


class BuildError(Exception):
    """A step of a build ended with an error."""

    @property
    def elsewhere(self) -> str | None:
        """The line that says it was the machine's network or its rights; None if the image is what is wrong."""
        found = ELSEWHERE.search(str(self))
        return None if found is None else found[0].strip()


def lacking() -> str | None:
    """What is missing here to build an image; None if it can be tried."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "root on Linux"
    missing = next((one for one in ("buildah", "mmdebstrap", "unshare", "setpriv") if shutil.which(one) is None), None)
    if missing is None and subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
        return "the right to mount"
    return missing


@dataclass(frozen=True)
class Image:
    """An image that was built, laid out as files."""

    root: Path
    user: str  # UID:GID
    directory: str
    environment: Mapping[str, str]
    entrypoint: Sequence[str]
    command: Sequence[str]
    health_check: Sequence[str]

    def run(
        self, arguments: Sequence[str], *, environment: Mapping[str, str] = {}, mounts: Mapping[Path, str] = {}
    ) -> list[str]:
        """The command line that runs the image's program with arguments, or with its own; signals reach it itself."""
        return self.enter([*self.entrypoint, *(arguments or self.command)], environment=environment, mounts=mounts)

    def enter(
        self, command: Sequence[str], *, environment: Mapping[str, str] = {}, mounts: Mapping[Path, str] = {}
    ) -> list[str]:
        """The command line that runs another program in it; `mounts` are read-only."""
        uid, gid = self.user.split(":")
        for source, target in mounts.items():  # Docker makes what is mounted on, too
            place = self.root / target.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.mkdir(exist_ok=True) if source.is_dir() else place.touch()
        bound = [text for source, target in mounts.items() for text in (str(source), target)]
        given = {**self.environment, **environment}
        texts = [f"{name}={text}" for name, text in given.items() if name != "PATH"]
        inside = [uid, gid, self.directory, given["PATH"], *texts, *command]
        return ["unshare", "--mount", "bash", "-c", ENTER, "enter", str(self.root), *bound, "--", *inside]


class Builder:
    """Images in a folder of their own, without a daemon."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._environment = {**os.environ, "BUILDAH_ISOLATION": "chroot"}
        self._keep_images("overlay")
        try:  # which a folder that is an overlay itself, as a container's, does not take
            container = self._buildah("from", "scratch").strip()
            self._buildah("mount", container)
            self._buildah("rm", container)
        except BuildError:
            self._keep_images("vfs")  # copies the whole file system at each step

    def build(self, tag: str = "streamlstm") -> None:
        """Build the image of the Dockerfile."""
        asked = re.search(r"^ARG PYTHON=(\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
        assert asked is not None
        python = asked[1] if self._pulled(asked[1]) else DEBIAN_PYTHON
        if python == DEBIAN_PYTHON and not self._has(self._base(python)):
            self._make_base()
        certificates = ["--volume", f"{CERTIFICATES}:{CERTIFICATES}:ro"] if CERTIFICATES.is_dir() else []
        pip = f"PIP_ARGS=--cert {CERTIFICATES / 'ca-certificates.crt'}" if certificates else "PIP_ARGS="
        options = ["--pull-never", "--format", "docker", "--network", "host", "--layers=false", *certificates]
        self._buildah("bud", *options, "--build-arg", f"PYTHON={python}", "--build-arg", pip, "--tag", tag, str(ROOT))

    @contextlib.contextmanager
    def mounted(self, tag: str = "streamlstm") -> Iterator[Image]:
        """The image as files, for as long as it is used."""
        found = json.loads(self._buildah("inspect", "--type", "image", tag))["Docker"]["config"]
        container = self._buildah("from", "--pull-never", tag).strip()
        try:
            yield Image(
                Path(self._buildah("mount", container).strip()),
                found["User"],
                found["WorkingDir"],
                dict(text.split("=", 1) for text in found["Env"]),
                found["Entrypoint"],
                found["Cmd"],
                found["Healthcheck"]["Test"][1:],  # without the word CMD
            )
        finally:
            self._buildah("rm", container)

    def _keep_images(self, driver: str) -> None:
        """Write how and where images are kept."""
        storage, place = self._folder / "storage.conf", self._folder / driver
        storage.write_text(f'[storage]\ndriver = "{driver}"\nrunroot = "{place}/run"\ngraphroot = "{place}/images"\n')
        self._environment["CONTAINERS_STORAGE_CONF"] = str(storage)

    def _base(self, python: str) -> str:
        return f"docker.io/library/python:{python}-slim-{SUITE}"

    def _pulled(self, python: str) -> bool:
        """Whether the base the Dockerfile names is here, or was to be had."""
        if self._has(self._base(python)):
            return True
        command = ["buildah", "pull", "--quiet", self._base(python)]
        try:
            done = subprocess.run(command, env=self._environment, capture_output=True, timeout=PULL_S, check=False)
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0

    def _has(self, name: str) -> bool:
        command = ["buildah", "inspect", "--type", "image", name]
        return subprocess.run(command, env=self._environment, capture_output=True, check=False).returncode == 0

    def _make_base(self) -> None:
        """Debian with its Python, under the name of the image that could not be had."""
        container = self._buildah("from", "scratch").strip()
        root = Path(self._buildah("mount", container).strip())
        options = (f"--include={','.join(PACKAGES)}", *(f"--dpkgopt={option}" for option in DPKG_OPTIONS))
        self._run("mmdebstrap", "--quiet", "--variant=minbase", *options, SUITE, str(root), MIRROR)
        (root / "usr/local/bin/python").symlink_to("/usr/bin/python3")
        self._buildah("config", "--env", "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", container)
        self._buildah("commit", "--quiet", "--rm", container, self._base(DEBIAN_PYTHON))

    def _buildah(self, *arguments: str) -> str:
        return self._run("buildah", *arguments)

    def _run(self, *command: str) -> str:
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False)
        if done.returncode:
            shown = f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
            raise BuildError(f"{' '.join(command)} ended with {done.returncode}:\n{shown}")
        return done.stdout


def main() -> None:
    """Build, and ask the image's program who it is."""
    missing = lacking()
    if missing is not None:
        raise SystemExit(f"an image is not built here: it needs {missing}")
    builder = Builder(ROOT / "build" / "container")
    try:
        builder.build()
    except BuildError as error:
        raise SystemExit(str(error)) from None
    with builder.mounted() as image:
        subprocess.run(image.run(["--version"]), check=True)
        subprocess.run(image.enter(["id"]), check=True)


if __name__ == "__main__":
    main()
