"""An id may be shortened to any beginning or end that fits one job; nothing is ever chosen among several."""

from __future__ import annotations

import pytest

from jobwarden.errors import AmbiguousId, JobNotFound
from jobwarden.store.database import Database
from jobwarden.views.ids import find_job, short
from tests.support.factories import Factories

FIRST = "0197aaaa-0000-7000-8000-0000c0ffee01"
SECOND = "0197aaaa-0000-7000-8000-0000c0ffee02"
OTHER = "0198bbbb-1111-7222-8333-4444deadbeef"


@pytest.fixture
def three(factories: Factories) -> None:
    for id in (FIRST, SECOND, OTHER):
        factories.job(id=id)


def find(database: Database, text: str) -> str:
    with database.read() as transaction:
        return find_job(transaction, text)


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize(
    "text",
    [
        OTHER,
        OTHER.upper(),
        f" {OTHER} ",
        OTHER.replace("-", ""),
        "0198",
        "0198bbbb-1",
        "0198bbbb1",
        short(OTHER),
        "beef",
        "4444deadbeef",
        "3-4444deadbeef",
        "34444deadbeef",
    ],
)
def test_a_whole_id_its_beginning_or_its_end_names_the_job(database: Database, text: str) -> None:
    assert find(database, text) == OTHER


@pytest.mark.usefixtures("three")
def test_jobs_enqueued_together_differ_in_what_is_shown_of_them(database: Database) -> None:
    assert find(database, short(FIRST)) == FIRST
    assert find(database, short(SECOND)) == SECOND


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize("text", ["0197", "0197aaaa-0000-7000-8000-0000c0ffee0"])
def test_what_fits_several_is_refused_with_the_candidates(database: Database, text: str) -> None:
    with pytest.raises(AmbiguousId) as refused:
        find(database, text)
    assert refused.value.facts["ids"] == [SECOND, FIRST]
    assert FIRST in str(refused.value)
    assert SECOND in str(refused.value)


@pytest.mark.usefixtures("three")
def test_a_beginning_of_one_and_an_end_of_another_is_ambiguous(database: Database, factories: Factories) -> None:
    factories.job(id="beef0000-0000-7000-8000-000000000000")
    with pytest.raises(AmbiguousId):
        find(database, "beef")


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize("text", ["", "-", "nightly", "c0ffee", "0199", "%", "_", OTHER + "0", FIRST[:-1] + "3"])
def test_what_fits_nothing_is_not_found_on_any_engine(database: Database, text: str) -> None:
    with pytest.raises(JobNotFound):
        find(database, text)
