"""A store of objects as S3 is one, in memory: it has no rename, and dies where a test wants it to."""

import json
import threading

import fsspec
from fsspec.implementations.memory import MemoryFileSystem

BUCKET = "mortal://bucket"


class ConnectionLostError(Exception):
    """What a store raises that cannot be reached: libraries of stores have errors of their own."""


class MortalStore(MemoryFileSystem):
    """Counts what it is asked for; before the change number `dies_at` it can no longer be reached."""

    protocol = "mortal"
    store: dict = {}
    pseudo_dirs = [""]
    cachable = False
    changes = bytes_read = 0
    dies_at: int | None = None
    dead = False
    lost = ""  # the name of an object that cannot be reached
    guard = threading.Lock()

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(str(path).removeprefix("mortal://"))

    def _reach(self, path=""):
        if MortalStore.dead or (MortalStore.lost and str(path).endswith(MortalStore.lost)):
            raise ConnectionLostError("the store cannot be reached")

    def _change(self):
        with MortalStore.guard:
            MortalStore.dead = MortalStore.dead or MortalStore.changes == MortalStore.dies_at
            self._reach()
            MortalStore.changes += 1

    def put_file(self, lpath, rpath, **options):
        self._change()
        with open(lpath, "rb") as file:
            super().pipe_file(rpath, file.read())

    def pipe_file(self, path, value, **options):
        self._change()
        super().pipe_file(path, value, **options)

    def cp_file(self, path1, path2, **options):
        self._change()
        super().cp_file(path1, path2, **options)

    def rm_file(self, path):
        self._change()
        super().rm_file(path)

    def info(self, path, **options):
        self._reach(path)
        return super().info(path, **options)

    def ls(self, path, **options):
        self._reach()
        return super().ls(path, **options)

    def find(self, path, **options):
        self._reach()
        return super().find(path, **options)

    def cat_file(self, path, start=None, end=None, **options):
        self._reach(path)
        found = super().cat_file(path, start, end)
        MortalStore.bytes_read += len(found)
        return found

    def mkdir(self, path, **options):
        raise NotImplementedError("stores of objects have no folders")

    def mv(self, path1, path2, **options):
        raise NotImplementedError("stores of objects have no rename")

    rename = move = mv


fsspec.register_implementation("mortal", MortalStore, clobber=True)


def empty() -> None:
    """Begin a store anew."""
    MortalStore.store.clear()
    MortalStore.changes = MortalStore.bytes_read = 0
    MortalStore.dies_at, MortalStore.dead, MortalStore.lost = None, False, ""


def revive() -> None:
    """Let the store be reached again, so late that no lock is fresh."""
    MortalStore.dies_at, MortalStore.dead, MortalStore.lost = None, False, ""
    for name, file in list(MortalStore.store.items()):
        if name.endswith("/.lock"):
            content = json.loads(file.getvalue())
            MortalStore().pipe_file(name, json.dumps({**content, "time": content["time"] - 1000}).encode())


def damage(part: str, at: int) -> None:
    """Flip a bit of the first object in whose name `part` stands."""
    name = min(name for name in MortalStore.store if part in name)
    content = bytearray(MortalStore.store[name].getvalue())
    content[at] ^= 1
    MortalStore().pipe_file(name, bytes(content))
