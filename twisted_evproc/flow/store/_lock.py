"""The lock on a store's file: one engine at a time, freed by the operating system when its process ends."""

from __future__ import annotations

import fcntl
import os
import socket
import time
import weakref

from ...errors import StoreInUse, StoreUnusable

_LOCKS: weakref.WeakSet[FileLock]


def this_process() -> str:
    """``host:pid`` of this process."""
    return f"{socket.gethostname()}:{os.getpid()}"


class FileLock:
    """
    Held from the time it is made until it is released.

    A ``flock`` belongs to the open file, which a forked child shares: the child closes its copy at once, or the lock would
    outlive the engine for as long as the child lives.

    :param path: of the lock file, which is made, and gone after the release.
    :param store: what the store is called in messages.
    """

    def __init__(self, path: str, store: str) -> None:
        self._path = path
        self._store = store
        self._file = self._acquire()
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{this_process()}\n".encode(), 0)
        _LOCKS.add(self)

    def _acquire(self) -> int:
        # Someone who looks whether the lock is held holds it for a moment: worth some more trials.
        for pause in (0.02, 0.02, 0.02, 0.02, 0.0):
            try:
                file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
            except OSError as error:
                raise StoreUnusable(self._store, f"cannot be locked: {error}") from error
            if self._locked(file):
                return file
            os.close(file)
            time.sleep(pause)
        raise StoreInUse(self._store, _written_owner(self._path))

    def _locked(self, file: int) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The owner before may have removed the file between our opening and our locking it.
            return os.path.samestat(os.fstat(file), os.stat(self._path))
        except (BlockingIOError, FileNotFoundError):
            return False

    def release(self) -> None:
        """Let go, and remove the file."""
        if self._file >= 0:
            _LOCKS.discard(self)
            try:
                # Somebody may have removed the file, and another engine made one anew.
                if os.path.samestat(os.fstat(self._file), os.stat(self._path)):
                    os.unlink(self._path)
            except OSError:
                # A lock file that stays does no harm: what counts is the lock.
                pass
            finally:
                self._drop()

    def _drop(self) -> None:
        os.close(self._file)
        self._file = -1


def _written_owner(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(300).strip() or "(unknown)"
    except OSError:
        return "(unknown)"


def holder(path: str) -> str | None:
    """``host:pid`` of who holds the lock, or ``None``."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _written_owner(path)
    else:
        return None
    finally:
        os.close(file)


_LOCKS = weakref.WeakSet()


def _drop_in_child() -> None:
    for lock in list(_LOCKS):
        lock._drop()
    _LOCKS.clear()


os.register_at_fork(after_in_child=_drop_in_child)

__all__ = ["FileLock", "holder", "this_process"]
