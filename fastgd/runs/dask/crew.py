"""The workers of a cluster as a coordinator sees them: who is there, what each has to do, and what has come back."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

from distributed import Client
from distributed.scheduler import KilledWorker

from fastgd.common.errors import InputError
from fastgd.datasets import Data
from fastgd.runs.dask.messages import Answer, DataKey, States, Task
from fastgd.runs.dask.worker import own_versions, release, run_task, stop

LOOK_SECONDS = 0.25  # between two looks at who is there
LOST_SECONDS = 30.0  # without an answer of the scheduler, after which the run ends
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
    answer : Future
        What its worker answers.
    told : dict
        What its worker told last of how far it is; empty: it has not begun.
    sent : float
        When, on the clock of `time.monotonic`.
    """

    whose: T
    worker: str
    answer: Future[Answer]
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
        self._client, self._worker = client, ""
        self._sending: Future[Any] | None = None

    @property
    def future(self) -> Any:
        """What a task is given, to have them on its worker."""
        assert self._sending is not None
        (sent,) = self._sending.result()
        return sent

    def is_there(self, workers: Collection[str], usable: Sequence[str]) -> bool:
        """Whether a worker has them; if not, and they are not on their way, they are sent to one that is usable."""
        done = self._sending is None or self._sending.done()
        if done and self._sending and self._sending.exception() is None and self.future.status == "finished":
            return True
        if usable and (done or self._worker not in workers):  # whatever the reason, they are sent again
            self._worker = usable[0]
            values = [list(self.data)]
            sending = self._client.scatter(values, workers=[self._worker], hash=False, asynchronous=True)
            self._sending = _begun(self._client, sending)
        return False


class Crew(Generic[T]):
    """Sends tasks to workers and takes their answers.

    Each task is for one worker, so that none has more than it can begin soon, and none runs where it may not. What a
    worker is asked or sent waits in a coroutine of the client's: none that stands still holds up the others.

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
        self._asked: dict[str, Future[Any]] = {}  # what fastgd newcomers have
        self._known: set[str] = set()  # the workers that have told it
        client.subscribe_topic(run, self._listen)

    # --- who is there -------------------------------------------------------------------------------------------------

    @property
    def usable(self) -> list[str]:
        """The workers that may be given tasks."""
        return [address for address in self.workers if address in self._known and address not in self.refused]

    def newcomers(self) -> Iterator[tuple[str, Mapping[str, str] | str]]:
        """Yield workers that have come, with what `own_versions` found there, or why it failed.

        What has not the coordinator's fastgd is not to be given a task: Dask ends a worker that cannot read one.
        """
        for address in [address for address, asked in self._asked.items() if asked.done()]:
            asked = self._asked.pop(address)
            if asked.cancelled() or asked.exception() is not None or address not in asked.result():
                continue  # it, or the scheduler, is gone; it is asked again if not
            self._known.add(address)
            found = asked.result()[address]
            yield address, found if isinstance(found, dict) else str(found)

    def look(self) -> None:
        """See who is there, if the last look is some time ago."""
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        try:
            self.workers = dict(self._client.nthreads(callback_timeout=CALL_SECONDS))
            self._answered = time.monotonic()
        except Exception as error:  # Dask has many for what does not answer
            if time.monotonic() - self._answered > LOST_SECONDS or self._client.status in ("closing", "closed"):
                raise InputError(
                    f"Dask's scheduler does not answer any more ({error}): what was committed is kept, and the same "
                    "command goes on from there"
                ) from error
            return
        self._known.intersection_update(self.workers)
        self.refused = {address: why for address, why in self.refused.items() if address in self.workers}
        for address in self.workers.keys() - self._known - self._asked.keys():
            asked = self._client.run(own_versions, workers=[address], on_error="return", asynchronous=True)
            self._asked[address] = _begun(self._client, asked)

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

    def waiting(self) -> str | None:
        """Return the key of a task that has not begun, of a worker that has another one before it, or does nothing."""
        busy: set[str] = set()
        found, late = None, time.monotonic() - IDLE_SECONDS
        for key, post in self.posts.items():
            if not post.told and (post.worker in busy or post.sent < late):
                found = key
            busy.add(post.worker)
        return found

    # --- tasks --------------------------------------------------------------------------------------------------------

    def send(self, whose: T, task: Task, states: States, worker: str) -> None:
        """Send a task to a worker."""
        given = None if self._data is None else self._data.future
        answer = _begun(self._client, self._answer(task, given, states, worker))
        self.posts[task.key] = Post(whose, worker, answer)
        answer.add_done_callback(lambda _: self._ended.put(task.key))

    async def _answer(self, task: Task, given: Any, states: States, worker: str) -> Answer:
        """Send a task to a worker and return its answer; where this is cancelled, so is the task."""
        sent: Any = states
        try:
            if states.bytes > SCATTERED_BYTES:
                (sent,) = await self._client.scatter([states], workers=[worker], hash=False, asynchronous=True)
            where = {"workers": [worker], "allow_other_workers": False}
            future = self._client.submit(run_task, task, given, sent, key=task.key, pure=False, **where)
        except Exception as error:
            raise Lost(f"the worker {worker} could not be sent its unit: {error}", to_blame=False) from error
        gathering = asyncio.ensure_future(self._client.gather(future, asynchronous=True))
        try:
            answer: Answer = await asyncio.shield(gathering)
            return answer
        except asyncio.CancelledError:
            await self._client.cancel([future], asynchronous=True)
            with suppress(CancelledError):  # of Dask's, which would tell of what nobody has waited for
                await gathering
            raise

    def take_back(self, key: str) -> T:
        """Take a task back from its worker."""
        post = self.posts.pop(key)
        post.answer.cancel()
        return post.whose

    def answers(self, seconds: float) -> Iterator[tuple[Post[T], Answer | Lost]]:
        """Yield what has come back, and what is lost, waiting so long for the first."""
        self.look()
        yield from self._lost()
        with suppress(Empty):
            while True:
                key = self._ended.get(timeout=seconds)
                seconds = 0.0
                if key in self.posts and self._was_lost(key):  # with its worker, or with what came from another one
                    self._looked = 0.0
                    self.look()
                    yield from self._lost()
                if post := self.posts.pop(key, None):
                    yield post, self._result(post)

    def _lost(self) -> Iterator[tuple[Post[T], Lost]]:
        """Take back what workers had that are gone; what they were at is to blame."""
        for worker in {post.worker for post in self.posts.values()} - self.workers.keys():
            own = {key: post for key, post in self.posts.items() if post.worker == worker}
            begun = [key for key, post in own.items() if post.told] or [next(iter(own))]
            for key, post in own.items():
                self.take_back(key)
                yield post, Lost(f"the worker {worker} was lost", to_blame=key in begun)

    def _was_lost(self, key: str) -> bool:
        """Whether Dask has no answer to a task, and none will come."""
        answer = self.posts[key].answer
        return answer.cancelled() or isinstance(answer.exception(), CancelledError | OSError | Lost)

    def _result(self, post: Post[T]) -> Answer | Lost:
        try:
            return post.answer.result()
        except KilledWorker as error:
            return Lost(f"it ended its workers: {error.args[0]}", to_blame=True, for_good=True)
        except Lost as lost:
            return lost
        except (CancelledError, OSError):
            return Lost(f"the worker {post.worker}, or what it was sent, was lost", to_blame=False)
        except Exception as error:  # what does not even arrive there
            return Answer("failed", text=f"{type(error).__name__}: {error}")

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
        if at_work := list({post.worker for post in self.posts.values()}):
            tell(self._client, stop, self._run, workers=at_work)

    def close(self, data: Collection[DataKey]) -> None:
        """Take everything back, and have workers let go of what they keep for this run, and of data."""
        for key in list(self.posts):
            self.take_back(key)
        self._data = None
        with suppress(Exception):  # the client may be closed
            self._client.unsubscribe_topic(self._run)
        tell(self._client, release, self._run, data, workers=[*self._known])


def tell(client: Client, what: Callable[..., None], *about: Any, workers: Sequence[str] | None = None) -> None:
    """Have workers, by default all, do what they can do without: whoever does not answer is left alone."""
    with suppress(Exception):  # Dask has many for who does not answer
        client.run(what, *about, workers=workers, on_error="ignore", callback_timeout=CALL_SECONDS)


def _begun(client: Client, what: Coroutine[Any, Any, T]) -> Future[T]:
    """Begin with a coroutine in the thread of a client."""
    return asyncio.run_coroutine_threadsafe(what, client.loop.asyncio_loop)
