"""Lists on their way to the service: journal, post, log, one after another in a thread of their own."""

import queue
import sqlite3
import threading
from pathlib import Path

from geograph_types.cli import CommandError, say
from geograph_types.labelling.journal import DOUBTFUL, READY, SENDING, TAKEN, Journal, PostedList
from geograph_types.labelling.log import Log
from geograph_types.labelling.service import POST_TRIES, Answer, Outcome, Service, fingerprint

# Lists answered and not yet posted: with more the service's pace is not ours.
WAITING = 3
# So many lists refused one after another: something is wrong that more lists will not mend.
KEPT_IN_A_ROW = 3

STATES = {Outcome.TAKEN: TAKEN, Outcome.REFUSED: READY, Outcome.DOUBTFUL: DOUBTFUL}


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
        self._jobs: queue.Queue = queue.Queue(WAITING)
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
        return self.journal.known(image_ids, asked_at)

    def settling(self) -> float:
        """Seconds until doubtful photos that are handed out again may be answered anew."""
        return 0.0 if self.journal is None else self.journal.settling()

    def put(self, kind: str, body: bytes, image_ids: list[int]) -> None:
        """A list to post; waits where too many wait already."""
        if self.journal is None:
            self._dry_lists += 1
            self._dry_run.update(image_ids)
            self.log.write(PostedList(self._dry_lists, kind, READY, len(image_ids), body), submitted=False)
            return
        self._jobs.put(self.journal.add(kind, body, image_ids))

    def put_kept(self, again: bool = False) -> None:
        """Posts what an earlier run kept; `again`: what is doubtful, too, which may then be there twice."""
        if self.journal is None:
            return
        for posted in self.journal.lists(READY):
            if self.service.stop.is_set() or self.gave_up:
                return
            self._jobs.put(posted.number)
        for posted in self.journal.lists(DOUBTFUL) if again else ():
            self.journal.replace(posted.number, self.journal.still_doubtful(posted))
            self._jobs.put(posted.number)

    @property
    def gave_up(self) -> bool:
        """Whether posting on makes no sense: the service refuses all, or the journal cannot be written."""
        return self._kept_in_a_row >= KEPT_IN_A_ROW or self.error is not None

    def idle(self) -> bool:
        return not self._jobs.unfinished_tasks

    def wait(self) -> None:
        """Until all lists have had their turn. Raises what went wrong here (a full disk)."""
        self._jobs.join()
        if self.error is not None:
            raise self.error

    def _work(self) -> None:
        while True:
            number = self._jobs.get()
            try:
                if not self.gave_up:
                    self._deliver(number)
            except sqlite3.Error as error:
                self.error = CommandError(f"{self.journal.path}: {error} (is the disk full?)")
            except BaseException as error:  # raised where the lists come from
                self.error = error
            finally:
                self._jobs.task_done()

    def _deliver(self, number: int) -> None:
        """Three tries, twice as long between them each time; what is refused then is kept."""
        posted = self.journal.get(number)
        for attempt in range(1, POST_TRIES + 1):
            self.journal.change(number, SENDING)
            answer = self.service.post(posted.body)
            self.journal.change(number, STATES[answer.outcome], answer.status, answer.text)
            if answer.outcome is not Outcome.REFUSED:
                break
            wait = self.service.wait_after(attempt, answer.wait)
            more = f"; posting again in {wait:.0f} s" if attempt < POST_TRIES else ""
            say(f"{self.service.name}: list {number} was refused ({described(answer)}){more}")
            if attempt < POST_TRIES and self.service.stop.wait(wait):
                break
        self._write_log(number)
        self._count(number, answer)

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

    def _write_log(self, number: int) -> None:
        self.log.write(self.journal.get(number))
        self.journal.logged(number)

    def _catch_up_log(self) -> None:
        """Writes what a kill kept from the log; one line may be there that the journal does not know of."""
        last = self.log.last_number()
        for posted in self.journal.unlogged():
            if posted.number != last or posted.state == DOUBTFUL:
                self.log.write(posted)
            self.journal.logged(posted.number)


def described(answer: Answer) -> str:
    return f"{answer.status} {answer.text}".strip() if answer.status is not None else answer.text
