"""Lists on their way to the service: journal, post, log, one after another in a thread of their own."""

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from geograph_types.cli import say
from geograph_types.labelling.journal import (
    DOUBTFUL,
    READY,
    SENDING,
    TAKEN,
    Change,
    Journal,
    Logged,
    New,
    PostedList,
)
from geograph_types.labelling.log import Log
from geograph_types.labelling.service import POST_TRIES, Answer, Outcome, Service, fingerprint

# Lists answered and not yet posted: with more the service's pace is not ours.
WAITING = 3
# So many lists refused one after another: something is wrong that more lists will not mend.
KEPT_IN_A_ROW = 3

STATES = {Outcome.TAKEN: TAKEN, Outcome.REFUSED: READY, Outcome.DOUBTFUL: DOUBTFUL}


@dataclass(eq=False)
class Job:
    """A list on its way. `number` is None until the journal knows it, `end` until it had its turn."""

    kind: str
    body: bytes
    photos: int
    image_ids: Sequence[int] = ()  # of a new list
    number: int | None = None
    end: Change | None = None
    counted: dict[str, int] | None = None  # its labels, for the log

    def posted(self) -> PostedList:
        end = self.end
        said = (end.status, end.answer, self.counted)
        return PostedList(self.number, self.kind, end.state, self.photos, self.body, *said)


class Posting:
    """Takes lists by `put`; use it as a context. Without `submit` they are logged, and nothing leaves this machine.

    Raises:
        CommandError: another process works on this output, or its journal is another service's.
    """

    def __init__(self, service: Service, output: Path, submit: bool):
        self.service = service
        self.journal = Journal(output, fingerprint(service.url), service.name) if submit else None
        self.log = Log(output)
        self.error: BaseException | None = None
        self.taken = self.kept = self.doubtful = 0
        self._kept_in_a_row = 0
        self._dry_run: set[int] = set()
        self._dry_lists = 0
        self._logged: list[Logged] = []  # in the log, and not known to be there by the journal yet
        self._line: deque[Job] = deque()
        self._turn = threading.Condition()  # of the line
        if submit:
            self._catch_up_log()
        threading.Thread(target=self._work, daemon=True).start()

    def __enter__(self) -> "Posting":
        return self

    def __exit__(self, *error: object) -> None:
        """Closes the files; lists on their way are waited for by `wait`."""
        self.log.close()
        if self.journal is not None:
            self.journal.close()

    def known(self, image_ids: list[int], asked_at: float) -> set[int]:
        """Photos that are not to be answered again."""
        if self.journal is None:
            return self._dry_run.intersection(image_ids)
        with self._turn:
            new = [job.image_ids for job in self._line if job.number is None]
        return self.journal.known(image_ids, asked_at).union(*(set(ids).intersection(image_ids) for ids in new))

    def settling(self) -> float:
        """Seconds until doubtful photos that are handed out again may be answered anew."""
        return 0.0 if self.journal is None else self.journal.settling()

    def put(self, kind: str, body: bytes, image_ids: list[int], counted: dict[str, int] | None = None) -> None:
        """A list to post; waits where too many wait already. `counted`: its labels, for the log."""
        if self.journal is None:
            self._dry_lists += 1
            self._dry_run.update(image_ids)
            posted = PostedList(self._dry_lists, kind, READY, len(image_ids), body, counted=counted)
            self.log.write(posted, submitted=False)
            return
        self._join_line(Job(kind, body, len(image_ids), image_ids, counted=counted))

    def put_kept(self, again: bool = False) -> None:
        """Posts what an earlier run kept; `again`: what is doubtful, too, which may then be there twice."""
        if self.journal is None:
            return
        for posted in self.journal.lists(READY):
            if self.service.stop.is_set() or self.gave_up:
                return
            self._join_line(Job(posted.kind, posted.body, posted.photos, number=posted.number))
        for posted in self.journal.lists(DOUBTFUL) if again else ():
            body = self.journal.still_doubtful(posted)
            self.journal.replace(posted.number, body)
            self._join_line(Job(posted.kind, body, posted.photos, number=posted.number))

    def _join_line(self, job: Job) -> None:
        with self._turn:
            self._turn.wait_for(lambda: len(self._line) <= WAITING + 1)  # one had its turn
            self._line.append(job)
            self._turn.notify_all()

    @property
    def gave_up(self) -> bool:
        """Whether posting on makes no sense: the service refuses all, or the journal cannot be written."""
        return self._kept_in_a_row >= KEPT_IN_A_ROW or self.error is not None

    def idle(self) -> bool:
        return not self._line

    def wait(self) -> None:
        """Until all lists have had their turn. Raises what went wrong here (a full disk)."""
        with self._turn:
            self._turn.wait_for(self.idle)
        if self.error is not None:
            raise self.error

    def _work(self) -> None:
        while True:
            with self._turn:
                self._turn.wait_for(lambda: self._line)
                line = list(self._line)
            try:
                gone = len(line) if self.error else self._step(line)
            except BaseException as error:  # raised where the lists come from
                self.error, gone = error, len(line)
            with self._turn:
                for _ in range(gone):
                    self._line.popleft()
                self._turn.notify_all()

    def _step(self, line: list[Job]) -> int:
        """Notes how the list before ended and that the next one leaves, at once; posts that. Gives how many are done.

        The head of the line is the list before, where there was one: it leaves the line when its end is noted.
        """
        last, waiting = (line[0], line[1:]) if line[0].end else (None, line)
        job = waiting[0] if waiting and not self.gave_up else None
        self._note(last, waiting, job)
        if last is not None:
            try:
                self.log.write(last.posted())
            except OSError:
                if job is not None:  # it does not leave after all
                    self.journal.note(Change(job.number, READY))
                raise
            self._logged.append(Logged(last.number))
        if job is None:
            self._note(None, [], None)
            return len(line)
        job.end = self._deliver(job)
        return len(line) - len(waiting)

    def _note(self, last: Job | None, waiting: list[Job], next_one: Job | None) -> None:
        """One write to the disk: the end of the last list, the new ones among those that wait, and which leaves."""
        new = [job for job in waiting if job.number is None]
        steps = [New(job.kind, job.body, job.image_ids, SENDING if job is next_one else READY) for job in new]
        steps += self._logged
        if last is not None:
            steps.append(last.end)
        if next_one is not None and next_one.number is not None:
            steps.append(Change(next_one.number, SENDING))
        if steps:
            for job, number in zip(new, self.journal.note(*steps), strict=True):
                job.number = number
        self._logged = []

    def _deliver(self, job: Job) -> Change:
        """Three tries, twice as long between them each time; what is refused then is kept."""
        for attempt in range(1, POST_TRIES + 1):
            answer = self.service.post(job.body)
            end = Change(job.number, STATES[answer.outcome], answer.status, answer.text)
            if answer.outcome is not Outcome.REFUSED:
                break
            wait = self.service.wait_after(attempt, answer.wait)
            more = f"; posting again in {wait:.0f} s" if attempt < POST_TRIES else ""
            say(f"{self.service.name}: list {job.number} was refused ({described(answer)}){more}")
            if attempt == POST_TRIES:
                break
            self.journal.note(end)
            if self.service.stop.wait(wait):
                break
            self.journal.note(Change(job.number, SENDING))
        self._count(job.number, answer)
        return end

    def _count(self, number: int, answer: Answer) -> None:
        if answer.outcome is Outcome.TAKEN:
            self.taken += 1
            self._kept_in_a_row = 0
        elif answer.outcome is Outcome.REFUSED:
            self.kept += 1
            self._kept_in_a_row += 1
        else:
            self.doubtful += 1
            say(
                f"{self.service.name}: no answer to list {number} ({described(answer)}): it is not posted again, "
                "unless the service hands its photos out again"
            )

    def _catch_up_log(self) -> None:
        """Writes what a kill kept from the log; one line may be there that the journal does not know of."""
        last = self.log.last_number()
        for posted in self.journal.unlogged():
            if posted.number != last or posted.state == DOUBTFUL:
                self.log.write(posted)
            self.journal.note(Logged(posted.number))


def described(answer: Answer) -> str:
    return f"{answer.status} {answer.text}".strip() if answer.status is not None else answer.text
