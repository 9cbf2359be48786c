"""Batches as an application builds them: members with keys, what they wait for, and what a failure means.

Everything is checked before a row is written; then all of it is written in one transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeAlias, TypedDict

from pydantic_core import PydanticSerializationError, to_json

from jobwarden.domain.dag import Node, finalizers, ordered
from jobwarden.domain.refs import WITHIN
from jobwarden.domain.verdict import Policy, Threshold
from jobwarden.errors import BatchRefused, DuplicateKey, InvalidOption
from jobwarden.options import Bound, checked, require_whole

_KEY, _NAME = 200, 200
_AFTERWARDS = "on_complete"


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a batch to be, to name in ``after`` and ``after_completion``."""

    key: str


Upstream: TypeAlias = "Member | str"
Waits: TypeAlias = "Member | str | Iterable[Member | str]"


@dataclass(frozen=True, slots=True)
class Built:
    """A checked batch: ``calls`` belong to ``nodes``, which are in an order in which they can run."""

    name: str
    nodes: Sequence[Node]
    calls: Sequence[Bound]
    policy: Policy
    threshold: float | None
    params: str | None
    created_by: str | None
    on_complete: Sequence[Bound]
    labels: Mapping[str, str]
    finalizers: frozenset[str]


class BatchTerms(TypedDict, total=False):
    """What a batch can be given beside its name and policy."""

    params: Mapping[str, Any] | None
    labels: Mapping[str, str] | None
    created_by: str | None
    on_complete: Bound | Iterable[Bound] | None


class Submitter(Protocol):
    """Where a checked batch goes."""

    def submit_batch(self, built: Built, connection: Any) -> Any:
        """Enqueue it; gives its handle."""
        ...


class Members:
    """Members of a batch to be, each with its key and what it waits for."""

    def __init__(self, name: str, mark: str = "") -> None:
        """``mark`` tells the keys that are made up here from those that are made up elsewhere for the same batch."""
        self._of, self._mark = name, mark
        self._nodes: list[Node] = []
        self._calls: dict[str, Bound] = {}
        self._groups: dict[str, list[str]] = {}

    def __len__(self) -> int:
        return len(self._nodes)

    def add(
        self, call: Bound | Batch, key: str | None = None, *, after: Waits = (), after_completion: Waits = ()
    ) -> Member:
        """Add a bound call as a member; gives what others name it by.

        A `Batch` as a member is all of its members, each under ``key/its own key``: all of them wait as it does, and
        who waits for it waits for them all. Its own key is its name if none is given.

        It waits until all of ``after`` succeeded, and all whose results its parameters refer to (`Ref`), and until all
        of ``after_completion`` ended. Without a ``key`` it gets the job's short name and its number. Raises
        `BatchRefused`, or `DuplicateKey`.
        """
        if isinstance(call, Batch):
            return self._add_group(call, key, self._keys(after), self._keys(after_completion))
        bound = _bound(self._of, call, key or "a member")
        if bound.terms.has_key:
            rule = f"the member {key or bound.job!r} has an idempotency key, which may belong to a job outside"
            raise BatchRefused(name=self._of, rule=rule, way_out="give its member key only")
        referred = [ref.key for ref in (bound.refs or {}).values()]
        needed = tuple(dict.fromkeys([*self._keys(after), *referred]))
        node = Node(self._key(key, bound), needed, self._keys(after_completion))
        self._nodes.append(node)
        if node.key not in self._calls:
            self._calls[node.key] = bound
        return Member(node.key)

    def chain(self, *calls: Bound, after: Waits = ()) -> list[Member]:
        """Add calls of which each waits for the success of the one before it, the first for ``after``."""
        members: list[Member] = []
        for call in calls:
            members.append(self.add(call, after=[members[-1]] if members else after))
        return members

    def fan_out(self, calls: Iterable[Bound], *, after: Waits = ()) -> list[Member]:
        """Add calls that run side by side once ``after`` succeeded."""
        upstream = list(_several(after))
        return [self.add(call, after=upstream) for call in calls]

    def _add_group(
        self, inner: Batch, key: str | None, after: tuple[str, ...], after_completion: tuple[str, ...]
    ) -> Member:
        """Take over the members of another batch."""
        own = self._key(key or inner.name, None)
        inner.check_as_member(self._of, own)
        if own in self._groups or own in self._calls:
            raise DuplicateKey(name=self._of, key=own)
        for node in inner.expanded():
            waits_for = tuple(f"{own}{WITHIN}{each}" for each in node.after)
            ends = tuple(f"{own}{WITHIN}{each}" for each in node.after_completion)
            if not node.upstream:
                ends = after_completion
            self._nodes.append(Node(f"{own}{WITHIN}{node.key}", (*after, *waits_for), ends))
            self._calls.setdefault(f"{own}{WITHIN}{node.key}", inner.calls[node.key])
        self._groups[own] = [f"{own}{WITHIN}{node.key}" for node in inner.expanded()]
        return Member(own)

    def expanded(self) -> list[Node]:
        """The members, each waiting for members only: a batch that is one stands for all of its own."""
        if not self._groups:
            return self._nodes
        for key in self._groups:
            if key in self._calls:
                raise DuplicateKey(name=self._of, key=key)
        for call in self._calls.values():
            for ref in (call.refs or {}).values():
                if ref.key in self._groups:
                    rule = f"{ref.key!r} is a batch within it, which has no result to refer to"
                    raise BatchRefused(name=self._of, rule=rule, way_out=f"refer to a member, as {ref.key}{WITHIN}...")
        return [
            replace(node, after=self._all(node.after), after_completion=self._all(node.after_completion))
            for node in self._nodes
        ]

    def _all(self, keys: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(each for key in keys for each in self._groups.get(key, [key])))

    def _key(self, key: str | None, call: Bound | None) -> str:
        if key is None and call is not None:
            return f"{call.job.rpartition(':')[2].rpartition('.')[2][:170]}-{self._mark}{len(self._nodes) + 1}"
        if not isinstance(key, str) or not 0 < len(key) <= _KEY or "\0" in key:
            rule = f"the key {key!r} is no text of 1 to {_KEY} characters"
            raise BatchRefused(name=self._of, rule=rule, way_out="give another key")
        return key

    def _keys(self, given: Waits) -> tuple[str, ...]:
        keys = []
        for each in _several(given):
            if not isinstance(each, (Member, str)):
                rule = f"{each!r} is neither a member nor a key"
                raise BatchRefused(name=self._of, rule=rule, way_out="pass what add() gave, or its key")
            keys.append(each if isinstance(each, str) else each.key)
        return tuple(keys)


class Batch(Members):
    """A batch that is being built; made by ``JobWarden.batch(...)``."""

    def __init__(
        self,
        submitter: Submitter,
        name: str,
        failure_policy: str | Threshold = "continue",
        *,
        params: Any = None,
        labels: Mapping[str, str] | None = None,
        created_by: str | None = None,
        on_complete: Bound | Iterable[Bound] | None = None,
        subscribers: Sequence[Bound] = (),
    ) -> None:
        """``subscribers`` follow it too, unless it becomes a part of another."""
        super().__init__(_checked_name(name))
        self.name = self._of
        self._labels, self._subscribers = _labels(self.name, labels), subscribers
        self._submitter = submitter
        self._policy, self._threshold = _policy(self.name, failure_policy)
        self._params = _params(self.name, params)
        self._created_by, self._on_complete = created_by, followers(self.name, on_complete)

    def __repr__(self) -> str:
        return f"<batch {self.name!r} of {len(self)} members>"

    def enqueue(self, connection: Any = None) -> Any:
        """Write the batch with all of its members, in the caller's transaction if ``connection`` is given.

        Gives a `BatchHandle`. Raises `DuplicateKey`, `UnknownDependency`, `DoubledDependency` or `DependencyCycle`
        before anything is written.
        """
        return self._submitter.submit_batch(self._built(), connection)

    @property
    def calls(self) -> Mapping[str, Bound]:
        """The calls of its members."""
        return self._calls

    def check_as_member(self, outer: str, key: str) -> None:
        """Raise `BatchRefused` for what a batch within another cannot have."""
        has = [
            ("a failure policy", self._policy is not Policy.CONTINUE),
            ("params", self._params is not None),
            ("labels", bool(self._labels)),
            ("on_complete", bool(self._on_complete)),
        ]
        for what, given in has:
            if given:
                rule = f"the batch {self.name!r} has {what} of its own, and is to be its member {key!r}"
                raise BatchRefused(name=outer, rule=rule, way_out=f"give {what} to the outer one")
        if not self._nodes:
            rule = f"the batch {self.name!r}, which is to be its member {key!r}, has no members"
            raise BatchRefused(name=outer, rule=rule, way_out="add some first")

    def _built(self) -> Built:
        nodes = ordered(self.name, self.expanded())
        return Built(
            name=self.name,
            nodes=nodes,
            calls=[self._calls[node.key] for node in nodes],
            policy=self._policy,
            threshold=self._threshold,
            params=self._params,
            created_by=self._created_by,
            on_complete=[*self._on_complete, *self._subscribers],
            labels=self._labels,
            finalizers=frozenset(finalizers(nodes)),
        )


class CurrentBatch(Members):
    """The batch of a member that runs: as it stands, and to be grown.

    What is added is written in one transaction with the success of the member that added it, or, by `enqueue`, at
    once. It may wait for any member by its key. A batch is not over while a member runs that can still grow it.
    """

    def __init__(self, now: Any, mark: str, write: Callable[[Sequence[Node], Sequence[Bound]], int]) -> None:
        super().__init__(now.name or now.id, f"{mark}-")
        self.now, self._write = now, write
        self._sent = 0

    def __repr__(self) -> str:
        return f"<batch {self._of!r}, {self.now.state}, {self.open} members to be added>"

    @property
    def id(self) -> str:
        """Its id."""
        return str(self.now.id)

    @property
    def name(self) -> str | None:
        """Its name."""
        name: str | None = self.now.name
        return name

    @property
    def state(self) -> str:
        """Its state."""
        return str(self.now.state)

    @property
    def params(self) -> Any:
        """Its params."""
        return self.now.params

    @property
    def labels(self) -> Mapping[str, str]:
        """Its labels."""
        labels: Mapping[str, str] = self.now.labels
        return labels

    @property
    def counts(self) -> Any:
        """Its members: total, pending, running, succeeded, failed, canceled."""
        return self.now.counts

    @property
    def failures(self) -> Any:
        """Its members that ended without success, each with key, state and error."""
        return self.now.failures

    def enqueue(self) -> int:
        """Write what was added, now, and whatever becomes of this run; gives how many members are new.

        A member that is there with the same key, job and params is taken for the same. Raises `BatchRefused` and its
        kind, or `FencedOut`.
        """
        nodes, calls = self.pending()
        return self._write(nodes, calls) if nodes else 0

    def pending(self) -> tuple[Sequence[Node], Sequence[Bound]]:
        """What was added and not written yet; it counts as written from here on."""
        nodes, self._sent = self.expanded()[self._sent :], len(self._nodes)
        return nodes, [self._calls[node.key] for node in nodes]

    @property
    def open(self) -> int:
        """How many were added and are not written yet."""
        return len(self._nodes) - self._sent


def _several(given: Waits) -> Iterator[Upstream]:
    if isinstance(given, (Member, str)):
        yield given
        return
    yield from given


def _checked_name(name: Any) -> str:
    if not isinstance(name, str) or not 0 < len(name) <= _NAME or "\0" in name:
        rule = f"its name is no text of 1 to {_NAME} characters"
        raise BatchRefused(name=name, rule=rule, way_out="give another name")
    return name


def _policy(name: str, given: Any) -> tuple[Policy, float | None]:
    if isinstance(given, Threshold):
        return Policy.THRESHOLD, float(given.most)
    if given in (Policy.CONTINUE.value, Policy.FAIL_FAST.value):
        return Policy(given), None
    rule = f"the failure policy {given!r} is not known"
    raise BatchRefused(name=name, rule=rule, way_out="use 'continue', 'fail_fast' or Threshold(n)")


def _params(name: str, params: Any) -> str | None:
    if params is None:
        return None
    if not isinstance(params, Mapping):
        raise BatchRefused(name=name, rule=f"its params {params!r} are no mapping", way_out="pass a dict")
    try:
        return to_json(params).decode()
    except PydanticSerializationError as error:
        raise BatchRefused(
            name=name, rule=f"its params are no JSON data ({error})", way_out="pass plain data"
        ) from None


def _labels(name: str, given: Any) -> Mapping[str, str]:
    try:
        return dict(checked(name, {"tags": given or {}})["tags"])
    except InvalidOption:
        rule = f"its labels {given!r} are no mapping from names of 1 to 64 characters to texts of 1 to 200"
        raise BatchRefused(name=name, rule=rule, way_out="give such labels, or none") from None


def followers(name: str, given: Any) -> tuple[Bound, ...]:
    """The calls that follow a batch; raises `BatchRefused`, or `UnstorableParam` for a `Ref` in one."""
    several = () if given is None else (given,) if isinstance(given, Bound) or not _is_several(given) else given
    calls = tuple(_bound(name, call, _AFTERWARDS) for call in several)
    for call in calls:
        require_whole(call)
    return calls


def _is_several(given: Any) -> bool:
    return isinstance(given, Iterable) and not isinstance(given, (str, bytes, Mapping))


def _bound(name: str, call: Any, what: str) -> Bound:
    if isinstance(call, Bound):
        return call
    raise BatchRefused(name=name, rule=f"{what} is {call!r} and no bound call", way_out="pass job.bind(...)")
