"""The workers of a cluster as a coordinator sees them: who is there, what each has to do, and what has come back."""

import time
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Generic, TypeVar

from distributed import Client
from distributed.scheduler import KilledWorker
from distributed.utils import CancelledError

from fastgd.common.errors import InputError
from fastgd.datasets import Data
from fastgd.runs.dask.messages import Answer, DataKey, States, Task
from fastgd.runs.dask.worker import release, run_task, stop

LOOK_SECONDS = 0.25  # between two looks at who is there
LOST_SECONDS = 30.0  # without an answer of the scheduler, after which the run ends
FETCH_SECONDS = 1.0  # that an answer may take, until its worker is looked for
CALL_SECONDS = 5.0  # that a message to all workers may take
IDLE_SECONDS = 10.0  # after which a worker that has not begun with a task is not waited for, if another one is free
SCATTERED_BYTES = 4 << 20  # states that are larger do not travel through the scheduler

T = TypeVar("T")


@dataclass
class Post(Generic[T]):
    """A task that a worker has.

    Attributes
    ----------
    whose : T
        What it was sent for.
    worker : str
        The worker's address.
    future : Future
    told : dict
        What its worker told last of how far it is; empty: it has not begun.
    sent : float
        When, on the clock of `time.monotonic`.
    """

    whose: T
    worker: str
    future: Any
    told: dict[str, Any] = field(default_factory=dict)
    sent: float = field(default_factory=time.monotonic)


class Lost(Exception):  # noqa: N818
    """A worker is gone, with what it had to do.

    Parameters
    ----------
    text : str
    to_blame : bool
        Whether it was at work on this task.
    for_good : bool
        Whether the scheduler does not try it again.
    """

    def __init__(self, text: str, *, to_blame: bool, for_good: bool = False) -> None:
        super().__init__(text)
        self.to_blame, self.for_good = to_blame, for_good


class SentData:
    """Data that workers are sent: one of them, from which the others get them.

    They stay with the workers as long as this object is there.

    Parameters
    ----------
    client : distributed.Client

    Attributes
    ----------
    data : sequence of Data
    """

    def __init__(self, client: Client) -> None:
        self.data: Sequence[Data] = ()
        self._client, self._worker, self._sending = client, "", Future[Any]()

    @property
    def future(self) -> Any:
        """What a task is given, to have them on its worker."""
        return self._sending.result()

    def is_there(self, workers: Collection[str], usable: Sequence[str]) -> bool:
        """Whether a worker has them; if not, and they are not on their way, they are sent to one that is usable."""
        done = self._sending.done()
        if done and self._sending.exception() is None and self.future.status == "finished":
            return True
        if usable and (done or self._worker not in workers):
            self._worker, self._sending = usable[0], Future[Any]()
            Thread(target=self._send, args=(self._worker, self._sending), daemon=True).start()
        return False

    def _send(self, worker: str, sending: Future[Any]) -> None:
        """Send them, in a thread: the worker may be gone, or stand still."""
        try:
            (sent,) = self._client.scatter([list(self.data)], workers=[worker], hash=False)
            sending.set_result(sent)
        except Exception as error:  # whatever it is, they are sent again
            sending.set_exception(error)


class Crew(Generic[T]):
    """Sends tasks to workers and takes their answers.

    Each task is for one worker, so that none has more than it can begin soon, and none runs where it may not.

    Parameters
    ----------
    client : distributed.Client
    run : str
        The name of the run, under which workers report.
    data : SentData, optional
        What is sent to each worker once.

    Attributes
    ----------
    workers : dict of str to int
        The addresses of those that are there, with their threads.
    refused : dict of str to str
        Why some of them are given nothing.
    posts : dict of str to Post
        The tasks that are on their way, by their keys, in the order in which they were sent.
    compiling : deque of str
        The names of kernels that workers compile, as far as nobody has looked at them.
    """

    def __init__(self, client: Client, run: str, data: SentData | None) -> None:
        self._client, self._run, self._data = client, run, data
        self.compiling: deque[str] = deque()
        self.workers: dict[str, int] = {}
        self.refused: dict[str, str] = {}
        self.posts: dict[str, Post[T]] = {}
        self._ended: SimpleQueue[str] = SimpleQueue()
        self._looked, self._answered = 0.0, time.monotonic()
        self._held: dict[str, Any] = {}  # futures of states, as long as their tasks need them
        client.subscribe_topic(run, self._listen)

    # --- who is there -------------------------------------------------------------------------------------------------

    @property
    def usable(self) -> list[str]:
        """The workers that may be given tasks."""
        return [address for address in self.workers if address not in self.refused]

    def look(self) -> None:
        """See who is there, if the last look is some time ago."""
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        try:
            self.workers = dict(self._client.nthreads(callback_timeout=CALL_SECONDS))
            self._answered = time.monotonic()
        except (OSError, TimeoutError) as error:
            if time.monotonic() - self._answered > LOST_SECONDS or self._client.status in ("closing", "closed"):
                raise InputError(
                    f"Dask's scheduler does not answer any more ({error}): what was committed is kept, and the same "
                    "command goes on from there"
                ) from error

    def room(self, depth: int, avoid: Collection[str] = ()) -> str | None:
        """Return the worker that has least to do, if that is fewer than `depth` tasks; others than `avoid`, if any."""
        if self._data is not None and not self._data.is_there(self.workers, self.usable):
            return None
        counts = dict.fromkeys(set(self.usable).difference(avoid) or self.usable, 0)
        for post in self.posts.values():
            if post.worker in counts:
                counts[post.worker] += 1
        least = min(counts, key=counts.__getitem__, default=None)
        return None if least is None or counts[least] >= depth else least

    def waiting(self) -> Post[T] | None:
        """Return a task that has not begun, of a worker that has another one before it, or that does nothing."""
        busy: set[str] = set()
        found, late = None, time.monotonic() - IDLE_SECONDS
        for post in self.posts.values():
            if not post.told and (post.worker in busy or post.sent < late):
                found = post
            busy.add(post.worker)
        return found

    # --- tasks --------------------------------------------------------------------------------------------------------

    def send(self, whose: T, task: Task, states: States, worker: str) -> bool:
        """Send a task to a worker; False: it is gone."""
        sent: Any = states
        if states.bytes > SCATTERED_BYTES:
            try:
                (sent,) = self._client.scatter([states], workers=[worker], hash=False)
            except (KeyError, OSError, TimeoutError):
                self._looked = 0.0
                return False
            self._held[task.key] = sent
        future = self._client.submit(
            run_task,
            task,
            None if self._data is None else self._data.future,
            sent,
            key=task.key,
            workers=[worker],
            allow_other_workers=False,
            pure=False,
        )
        self.posts[task.key] = Post(whose, worker, future)
        future.add_done_callback(lambda _, key=task.key: self._ended.put(key))
        return True

    def take_back(self, key: str) -> T:
        """Take a task back from its worker."""
        post = self._forget(key)
        post.future.cancel()
        return post.whose

    def _forget(self, key: str) -> Post[T]:
        self._held.pop(key, None)
        return self.posts.pop(key)

    def answers(self, seconds: float) -> Iterator[tuple[Post[T], Answer | Lost]]:
        """Yield what has come back, and what is lost, waiting so long for the first."""
        self.look()
        yield from self._lost()
        with suppress(Empty):
            while True:
                key = self._ended.get(timeout=seconds)
                seconds = 0.0
                if key in self.posts:
                    post = self._forget(key)
                    yield post, self._result(post)

    def _lost(self) -> Iterator[tuple[Post[T], Lost]]:
        """Take back what workers had that are gone; what they were at is to blame."""
        for worker in {post.worker for post in self.posts.values()} - self.workers.keys():
            own = {key: post for key, post in self.posts.items() if post.worker == worker}
            begun = [key for key, post in own.items() if post.told] or [next(iter(own))]
            for key, post in own.items():
                self.take_back(key)
                yield post, Lost(f"the worker {worker} was lost", to_blame=key in begun)

    def _result(self, post: Post[T]) -> Answer | Lost:
        try:
            return self._fetched(post)
        except KilledWorker as error:
            return Lost(f"it ended its workers: {error.args[0]}", to_blame=True, for_good=True)
        except CancelledError:
            return Lost(f"the worker {post.worker}, or what it was sent, was lost", to_blame=False)
        except Exception as error:  # what does not even arrive there
            return Answer("failed", text=f"{type(error).__name__}: {error}")

    def _fetched(self, post: Post[T]) -> Answer | Lost:
        """Return the answer of a task that has ended.

        Where its worker is gone since, Dask would wait for it to run again, on this worker.
        """
        seconds = FETCH_SECONDS
        while True:
            try:
                answer: Answer = post.future.result(timeout=seconds)
                return answer
            except TimeoutError:
                seconds *= 2  # it may be large
                self._looked = 0.0
                self.look()
                if post.worker not in self.workers:
                    post.future.cancel()
                    return Lost(f"the worker {post.worker} was lost", to_blame=False)

    def _listen(self, event: tuple[float, dict[str, Any]]) -> None:
        """Take what a worker tells; called in a thread of the client's."""
        told = dict(event[1])
        if post := self.posts.get(told.pop("key", "")):
            if kernels := told.get("compiling"):
                self.compiling.append(kernels)
            post.told = post.told | told

    # --- ends ---------------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Have all units end, which answer as they are."""
        if not (at_work := list({post.worker for post in self.posts.values()})):
            return
        with suppress(OSError, TimeoutError):
            self._client.run(stop, self._run, workers=at_work, on_error="ignore", callback_timeout=CALL_SECONDS)

    def close(self, data: Collection[DataKey]) -> None:
        """Take everything back, and have workers let go of what they keep for this run, and of data."""
        for key in list(self.posts):
            self.take_back(key)
        self._data = None
        with suppress(OSError, TimeoutError, ValueError):
            self._client.unsubscribe_topic(self._run)
            self._client.run(release, self._run, data, on_error="ignore", callback_timeout=CALL_SECONDS)
