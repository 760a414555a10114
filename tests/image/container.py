"""Runs a container from an image that buildah holds, with what the kernel gives and no container engine.

Like docker run: own process tree with the program as process 1, the image's entry point, environment and user, a read-only root, no
capabilities, and only the folders that are mounted. Not like it: the network is this machine's own.
"""
import json
import os
import random
import shlex
import socket
import subprocess

os.environ["PATH"] += ":/usr/sbin:/sbin"  # where Debian keeps chroot, and does not let users look
TOOLS = ("buildah", "mmdebstrap", "unshare", "setpriv", "chroot")
ENVIRONMENT = {**os.environ, "STORAGE_DRIVER": "vfs", "BUILDAH_ISOLATION": "chroot"}


def free_port():
    """One that is free, and that the kernel gives to nobody who does not ask for it by number: until it is used, a second may pass."""
    while True:
        port = random.randrange(10_000, 20_000)  # below net.ipv4.ip_local_port_range, and below the ports of tests/host
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass


def storage(folder):
    """Keeps buildah's images in `folder`, so that nothing of the machine's own is touched."""
    ENVIRONMENT["CONTAINERS_STORAGE_CONF"] = os.path.join(folder, "storage.conf")
    os.makedirs(folder, exist_ok=True)
    with open(ENVIRONMENT["CONTAINERS_STORAGE_CONF"], "w") as file:
        file.write(f'[storage]\ndriver = "vfs"\ngraphroot = "{folder}/graph"\nrootless_storage_path = "{folder}/graph"\nrunroot = "{folder}/run"\n')


def buildah(*words, **options):
    done = subprocess.run(["buildah", *words], env=ENVIRONMENT, text=True, capture_output=True, **options)
    if done.returncode != 0:
        raise RuntimeError(f"buildah {' '.join(words)}: {done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done.stdout.strip()


class Image:
    """An image, unpacked once. `note`: a file that keeps where, for later processes, which unpack nothing."""

    def __init__(self, name, note=None):
        if note and os.path.exists(note):
            with open(note) as file:
                self.config, self.working, self.root = json.load(file)
            return
        self.config = json.loads(buildah("inspect", "--type", "image", name))["Docker"]["config"]
        self.working = buildah("from", "--pull-never", name)
        self.root = buildah("mount", self.working)
        if note:
            with open(note + ".new", "w") as file:
                json.dump([self.config, self.working, self.root], file)
            os.rename(note + ".new", note)

    def close(self):
        buildah("rm", self.working)

    def command(self, words, *, user=None, environment=(), mounts=(), entrypoint=None, read_only=True):
        """What to execute, as an array, for a container that runs `words`."""
        variables = dict(entry.split("=", 1) for entry in [*self.config["Env"], *environment])
        program = (self.config["Entrypoint"] if entrypoint is None else [entrypoint]) + list(words)
        root = shlex.quote(self.root)
        lines = ["set -e", f"mount --bind {root} {root}"]
        for source, target, writable in mounts:
            where = self.root + target
            if not os.path.exists(where):  # as docker makes it
                os.makedirs(where if os.path.isdir(source) else os.path.dirname(where), exist_ok=True)
                if not os.path.isdir(source):
                    open(where, "w").close()
            lines.append(f"mount --bind {shlex.quote(source)} {root}{shlex.quote(target)}")
            if not writable:
                lines.append(f"mount -o remount,bind,ro {root}{shlex.quote(target)}")
        lines += [f"mount -t tmpfs tmpfs {root}/tmp", f"mount -t proc proc {root}/proc", f"mount --rbind /dev {root}/dev"]
        if read_only:
            lines.append(f"mount -o remount,bind,ro {root}")
        lines.append(shlex.join(["exec", "env", "-i", *[f"{key}={value}" for key, value in variables.items()],
                                 "/usr/bin/setpriv", "--no-new-privs", "--bounding-set=-all,+sys_chroot,+setuid,+setgid",
                                 "/usr/sbin/chroot", "--userspec=" + (user or self.config["User"]), "--groups=", self.root, *program]))
        return ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private", "sh", "-c", "\n".join(lines)]

    def run(self, *words, timeout=60, **options):
        return subprocess.run(self.command(words, **options), text=True, capture_output=True, timeout=timeout)
