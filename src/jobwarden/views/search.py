"""How jobs are found: by an index, in bites, so that a page costs the same however many jobs there are.

Each word of a search is a condition on a job; most can also be *walked*: an index has the ids of the jobs that fit, in
order. A search walks along its narrowest word and holds the other conditions against what it finds there, a bite at a
time. After so many bites without filling a page it gives what it has, and the place to go on: that nothing fits among
millions is never found out in one request.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import (
    BindParameter,
    Boolean,
    Column,
    ColumnElement,
    Select,
    Text,
    and_,
    cast,
    exists,
    false,
    func,
    literal,
    literal_column,
    not_,
    or_,
    select,
    tuple_,
    union,
)

from jobwarden.domain.errorprint import pattern
from jobwarden.domain.ids import first_at
from jobwarden.domain.search import Field, Search, Word
from jobwarden.domain.states import IN_FLIGHT, JobState
from jobwarden.store.database import PREFIX, Id, Transaction, after, age
from jobwarden.store.schema import attempts, batches, errors, jobs, schedules, tags, workers
from jobwarden.views.ids import fitting
from jobwarden.views.rows import distinct, in_states

#: The narrowest first: by which of several words the walk goes.
_NARROWEST = (
    Field.ID, Field.BATCH, Field.SCHEDULE, Field.STUCK, Field.TAG, Field.PAIR, Field.ERROR, Field.LABEL, Field.STATE,
    Field.WORKER, Field.HOST, Field.BY, Field.TEXT, Field.JOB, Field.LANE,
)  # fmt: skip
_INDEXED = frozenset({JobState.FAILED, JobState.ORPHANED, JobState.CANCELED, JobState.STOPPED})
_MOST_WALKED = 40  # ranges of an index that are walked side by side
_BITE, _LARGEST_BITE, _MOST_LOOKED_AT = 200, 2000, 40_000
_LONG_ENOUGH = 0.1  # seconds of looking, after which a page that is not full goes out as it is
_NAMES = 1000
#: Ids begin with the clock of the host that made them, which may be wrong by so much.
_CLOCKS = timedelta(days=1)
#: Below and above every id.
FIRST, LAST = f"{0:08x}-0000-0000-0000-{0:012x}", "ffffffff-ffff-ffff-ffff-ffffffffffff"
#: As the index of these states says it, so that it is known to hold.
_ATTENTION = jobs.c.state.in_([literal_column(f"'{state}'") for state in ("failed", "orphaned", "canceled", "stopped")])
_ESCAPE = str.maketrans({"!": "!!", "%": "!%", "_": "!_"})


@dataclass(frozen=True, slots=True)
class Range:
    """Ids of jobs that some rows have: ``holds`` says which. Where ``index`` is named, its columns are those of
    ``keys`` and then the id, so that the ids of given values stand there in order. ``repeats``: one may stand there
    several times."""

    id: ColumnElement[str]
    holds: tuple[ColumnElement[bool], ...] = ()
    repeats: bool = False
    index: str | None = None
    keys: tuple[tuple[ColumnElement[Any], str], ...] = ()


@dataclass(frozen=True, slots=True)
class Clause:
    """What a word asks of a job, and the ranges along which the jobs that fit can be walked (None: by none).
    ``holds_more``: not all that is walked fits."""

    holds: ColumnElement[bool]
    ranges: tuple[Range, ...] | None = None
    holds_more: bool = False


class Plan:
    """A search against one database: which word leads, and what the others hold."""

    def __init__(self, transaction: Transaction, search: Search) -> None:
        self._transaction = transaction
        clauses = [(word.field, _clause(transaction, word)) for word in search.words]
        leaders = [each for each in clauses if each[1].ranges is not None and len(each[1].ranges) <= _MOST_WALKED]
        leader = min(leaders, key=lambda each: _NARROWEST.index(each[0]), default=(None, None))[1]
        self._ranges = (Range(jobs.c.id),) if leader is None else leader.ranges or ()
        self._holds = [clause.holds for _, clause in clauses if clause is not leader or clause.holds_more]
        self._low, self._high = _bounds(transaction, search)

    def page(
        self, wanted: Select[Any], cursor: str | None, limit: int, oldest_first: bool = False
    ) -> tuple[list[Any], str | None]:
        """The next rows of ``wanted`` (a select over jobs, with their ids) after the cursor, at most ``limit``, and the
        cursor to go on from; None: there is nothing more. The rows may be fewer although there is more."""
        found: list[Any] = []
        bite, looked = max(_BITE, 2 * limit) if self._holds else limit + 1, 0
        order = jobs.c.id.asc() if oldest_first else jobs.c.id.desc()
        begun = time.monotonic()
        while looked < _MOST_LOOKED_AT and time.monotonic() - begun < _LONG_ENOUGH:
            ids = self._ids(cursor, bite, oldest_first)
            if ids:
                fits = wanted.where(jobs.c.id.in_(ids), *self._holds).order_by(order).limit(limit + 1 - len(found))
                found += self._transaction.execute(fits).all()
            if len(found) > limit:
                return found[:limit], str(found[limit - 1].id)
            if len(ids) < bite:
                return found, None
            cursor, looked, bite = ids[-1], looked + bite, min(4 * bite, _LARGEST_BITE)
        return found, cursor

    def count(self) -> int:
        """How many jobs fit, exactly: that takes as long as there are jobs along the narrowest word."""
        walked = self._walked(None, None, False).subquery("walked")
        query = select(func.count()).select_from(walked)
        if self._holds:
            query = query.select_from(walked.join(jobs, jobs.c.id == walked.c.id)).where(*self._holds)
        return int(self._transaction.execute(query).scalar_one())

    def _ids(self, cursor: str | None, bite: int, oldest_first: bool) -> list[str]:
        """The next ids along the word that leads, or along all jobs."""
        if not self._ranges:
            return []
        walked = self._walked(cursor, bite, oldest_first)
        return [str(found) for found in self._transaction.execute(walked).scalars()]

    def _walked(self, cursor: str | None, bite: int | None, oldest_first: bool) -> Select[Any]:
        """The ids in the ranges, each once; in order, if they are bitten off."""
        parts = [self._part(each, cursor, bite, oldest_first) for each in self._ranges]
        if len(parts) < 2:
            return parts[0] if parts else select(jobs.c.id.label("id")).where(false())
        whole = union(*(select(part.subquery().c.id) for part in parts)).subquery("ids")
        query = select(whole.c.id)
        return query if bite is None else query.order_by(_ordered(whole.c.id, oldest_first)).limit(bite)

    def _part(self, each: Range, cursor: str | None, bite: int | None, oldest_first: bool) -> Select[Any]:
        """The ids in one range, in the order of its index.

        Where a planner believes in statistics, it may prefer the primary key, whose order is the same, and walk past
        millions that do not fit. So it is told: by a comparison of whole entries, or by the index's name.
        """
        query = select(each.id.label("id")).where(*each.holds)
        low, high = self._between(cursor, oldest_first)
        columns = [column for column, _ in each.keys]
        if each.repeats:
            query = query.group_by(*columns, each.id)
        if columns and self._transaction.facts.compares_entries:
            entry, values = tuple_(*columns, each.id), [literal(value, column.type) for column, value in each.keys]
            query = query.where(entry > tuple_(*values, low), entry < tuple_(*values, high))
        else:
            query = query.where(*(column == value for column, value in each.keys))
            query = query.where(each.id > low) if low.value != FIRST else query
            query = query.where(each.id < high) if high.value != LAST else query
            hint = self._transaction.facts.index_hint
            if each.index is not None and hint is not None:
                query = query.with_hint(each.id.table, hint.format(each.index))
            columns = []
        order = [_ordered(column, oldest_first) for column in (*columns, each.id)]
        return query if bite is None else query.order_by(*order).limit(bite)

    def _between(self, cursor: str | None, oldest_first: bool) -> tuple[BindParameter[str], BindParameter[str]]:
        """The ids between which to look, both left out."""
        low, high = self._low or FIRST, self._high or LAST
        if cursor is not None:
            low, high = (max(low, cursor), high) if oldest_first else (low, min(high, cursor))
        return literal(low, Id), literal(high, Id)


def _ordered(column: ColumnElement[Any], oldest_first: bool) -> ColumnElement[Any]:
    return column.asc() if oldest_first else column.desc()


def _bounds(transaction: Transaction, search: Search) -> tuple[str | None, str | None]:
    """Between which ids jobs of such an age can be, whatever the clocks of their hosts were."""
    low = high = None
    for word in search.words:
        if word.moment is None:
            continue
        moment = transaction.now() - word.moment if isinstance(word.moment, timedelta) else word.moment
        if (word.field is Field.NEWER) is not word.negated:
            low = max(filter(None, (low, first_at(moment - _CLOCKS))))
        else:
            high = min(filter(None, (high, first_at(moment + _CLOCKS))))
    return low, high


# -- words ------------------------------------------------------------------------------------------------------------


def _clause(transaction: Transaction, word: Word) -> Clause:
    clause = _READ[word.field](transaction, word)
    if not word.negated:
        return clause
    return Clause(not_(func.coalesce(clause.holds, false(), type_=Boolean())))


def _equal(column: Column[Any], values: Sequence[str], index: str | None) -> Clause:
    """One of some values in a column that the index has, and then the id; None: the id is not in it."""
    if index is None:
        return Clause(column.in_(values), tuple(Range(jobs.c.id, (column == value,)) for value in values))
    known = (column.is_not(None),) if column.nullable else ()
    ranges = (Range(jobs.c.id, known, index=f"{PREFIX}{index}", keys=((column, value),)) for value in values)
    return Clause(column.in_(values), tuple(ranges))


def _begins(column: ColumnElement[Any], text: str) -> ColumnElement[bool]:
    """The column begins with the text, in the same case on every engine."""
    return func.substr(column, 1, len(text)) == text


def _text(column: Column[Any], word: Word, index: str) -> Clause:
    [value] = word.values
    return Clause(_begins(column, value)) if word.begins else _equal(column, [value], index)


def _state(transaction: Transaction, word: Word) -> Clause:
    states = [JobState(value) for value in word.values]
    holds = in_states(jobs.c.state, states)
    if JobState.RUNNING in states and len(states) == 1:
        return Clause(holds, _running())
    if not _INDEXED.issuperset(states):
        return Clause(holds)
    index = f"{PREFIX}jobs_attention"
    return Clause(
        holds, tuple(Range(jobs.c.id, (_ATTENTION,), index=index, keys=((jobs.c.state, state),)) for state in states)
    )


def _running() -> tuple[Range, ...]:
    return (Range(attempts.c.job_id, (in_states(attempts.c.state, IN_FLIGHT),), repeats=True),)


def _stuck(transaction: Transaction, word: Word) -> Clause:
    overdue = and_(
        in_states(attempts.c.state, IN_FLIGHT),
        age(func.coalesce(attempts.c.started_at, attempts.c.created_at)) > jobs.c.max_runtime_sec,
    )
    return Clause(exists().where(attempts.c.id == jobs.c.current_attempt_id, overdue), _running(), holds_more=True)


def _job(transaction: Transaction, word: Word) -> Clause:
    if not word.begins:
        return _equal(jobs.c.job, word.values, "jobs_job")
    names = [name for name in job_names(transaction) if name.startswith(word.values[0])]
    return _equal(jobs.c.job, names, "jobs_job")


def _by_words(transaction: Transaction, word: Word) -> Clause:
    """A word without a name: a part of the job's name, in any case, or the label."""
    [value] = word.values
    names = [name for name in job_names(transaction) if value.lower() in name.lower()]
    return _either(_equal(jobs.c.job, names, "jobs_job"), _text(jobs.c.name, word, "jobs_label"))


def _pair(transaction: Transaction, word: Word) -> Clause:
    """A name that is none of ours: a tag, or the name of a job that has a colon."""
    tagged = _tag(transaction, word)
    spelled = f"{word.name}:{word.values[0]}"
    job = Word(Field.JOB, (spelled,), begins=word.begins)
    return _either(tagged, _job(transaction, job))


def _either(one: Clause, other: Clause) -> Clause:
    both = None if one.ranges is None or other.ranges is None else one.ranges + other.ranges
    return Clause(or_(one.holds, other.holds), both, one.holds_more or other.holds_more)


def _tag(transaction: Transaction, word: Word) -> Clause:
    [value] = word.values
    named = (tags.c.name, word.name or "")
    tagged = exists().where(tags.c.job_id == jobs.c.id, tags.c.name == word.name)
    all_of_name = (Range(tags.c.job_id, index="PRIMARY", keys=(named,)),)
    if not value:
        return Clause(tagged, all_of_name)
    if word.begins:
        return Clause(tagged.where(_begins(tags.c.value, value)), all_of_name, holds_more=True)
    keys = (named, (tags.c.value, value))
    return Clause(tagged.where(tags.c.value == value), (Range(tags.c.job_id, index=f"{PREFIX}tags_value", keys=keys),))


def _error(transaction: Transaction, word: Word) -> Clause:
    """A part of the last error's words or the name of its class, in any case."""
    [value] = word.values
    told = func.lower(errors.c.message).like(_part_of(pattern(value)), escape="!")
    named = func.lower(errors.c.class_name).like(_part_of(value), escape="!")
    prints = list(transaction.execute(select(errors.c.print).where(or_(told, named)).limit(_NAMES)).scalars())
    clause = _equal(jobs.c.error_print, prints, "jobs_error")
    if pattern(value) == value:
        return clause
    spelled = json.dumps(value)[1:-1]
    exactly = func.lower(cast(jobs.c.last_error, Text)).like(_part_of(spelled), escape="!")
    return Clause(and_(clause.holds, exactly), clause.ranges, holds_more=True)


def _part_of(text: str) -> str:
    return f"%{text.lower().translate(_ESCAPE)}%"


def _batch(transaction: Transaction, word: Word) -> Clause:
    return _equal(jobs.c.batch_id, _ids_like(transaction, batches.c.id, word.values[0]), None)


def _schedule(transaction: Transaction, word: Word) -> Clause:
    [value] = word.values
    named = _begins(schedules.c.name, value) if word.begins else schedules.c.name == value
    ids = list(transaction.execute(select(schedules.c.id).where(named)).scalars())
    return _equal(jobs.c.schedule_id, ids, "jobs_schedule")


def _worker(transaction: Transaction, word: Word) -> Clause:
    return _worked_by(_ids_like(transaction, workers.c.id, word.values[0]))


def _host(transaction: Transaction, word: Word) -> Clause:
    [value] = word.values
    query = select(workers.c.id).where(or_(workers.c.hostname == value, workers.c.host_id == value))
    return _worked_by(list(transaction.execute(query.order_by(workers.c.id.desc()).limit(_NAMES)).scalars()))


def _worked_by(ids: Sequence[str]) -> Clause:
    """Jobs of which these workers had an attempt."""
    held = exists().where(attempts.c.job_id == jobs.c.id, attempts.c.worker_id.in_(ids))
    index = f"{PREFIX}attempts_worker"
    ranges = (
        Range(attempts.c.job_id, repeats=True, index=index, keys=((attempts.c.worker_id, worker),)) for worker in ids
    )
    return Clause(held, tuple(ranges))


def _ids_like(transaction: Transaction, column: ColumnElement[str], text: str) -> list[str]:
    fits = fitting(column, text)
    return [] if fits is None else list(transaction.execute(select(column).where(fits).limit(_NAMES)).scalars())


def _id(transaction: Transaction, word: Word) -> Clause:
    fits = fitting(jobs.c.id, word.values[0], jobs.c.id_end)
    return Clause(false(), ()) if fits is None else Clause(fits, (Range(jobs.c.id, (fits,)),))


def _age(transaction: Transaction, word: Word) -> Clause:
    moment: Any = word.moment
    moment = (
        after(-moment.total_seconds()) if isinstance(moment, timedelta) else literal(moment, jobs.c.created_at.type)
    )
    return Clause(jobs.c.created_at > moment if word.field is Field.NEWER else jobs.c.created_at < moment)


_READ: Mapping[Field, Callable[[Transaction, Word], Clause]] = {
    Field.STATE: _state,
    Field.LANE: lambda transaction, word: _equal(jobs.c.lane, word.values, "jobs_lane"),
    Field.JOB: _job,
    Field.LABEL: lambda transaction, word: _text(jobs.c.name, word, "jobs_label"),
    Field.HOST: _host,
    Field.WORKER: _worker,
    Field.BATCH: _batch,
    Field.SCHEDULE: _schedule,
    Field.BY: lambda transaction, word: _text(jobs.c.created_by, word, "jobs_by"),
    Field.TAG: _tag,
    Field.ERROR: _error,
    Field.ID: _id,
    Field.OLDER: _age,
    Field.NEWER: _age,
    Field.STUCK: _stuck,
    Field.TEXT: _by_words,
    Field.PAIR: _pair,
}


def job_names(transaction: Transaction) -> list[str]:
    """The names of all jobs that there are, at most a thousand."""
    return distinct(transaction, jobs.c.job, _NAMES)
