import multiprocessing
import os
import signal
import time

import psycopg
import pytest
from mltbench.benchmark.executors.claims import FolderClaims, open_claims
from mltbench.benchmark.executors.database_claims import DatabaseClaims
from mltbench.errors import InputError


@pytest.fixture(params=["folder", "database"])
def open_more(request, tmp_path):
    """Open claims as several processes would, on a folder and on PostgreSQL."""
    if request.param == "folder":
        opening, place = FolderClaims, tmp_path
    else:
        opening, place = DatabaseClaims, request.getfixturevalue("postgresql_uri")
    opened = []

    def opening_more(**more):
        opened.append(opening(place, **more))
        return opened[-1]

    opening_more.place = opening, place
    yield opening_more
    for claims in opened:
        claims.close()


def test_a_claim_is_held_by_one_until_it_is_released(open_more):
    first, second = open_more(), open_more()
    assert first.take("a")
    assert not second.take("a")
    assert second.take("b")
    assert f"process {os.getpid()} on " in second.holder("a")
    first.release("a", "finished")
    assert second.take("a")
    assert not first.take("a")
    second.close()
    assert first.take("a")
    assert first.take("b")


def take_and_sleep(opening, place, taken):
    opening(place).take("a")
    taken.set()
    time.sleep(60)


def test_the_claim_of_a_process_that_was_killed_is_free_at_once(open_more):
    context = multiprocessing.get_context("spawn")
    taken, claims = context.Event(), open_more()
    process = context.Process(target=take_and_sleep, args=(*open_more.place, taken))
    process.start()
    assert taken.wait(60)
    assert not claims.take("a")
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert claims.take("a")


def take_one_after_the_other(opening, place, start, results, number):
    claims = opening(place)
    start.wait()
    results.put((number, [name for name in map(str, range(20)) if claims.take(name)]))
    start.wait()
    claims.close()


def test_of_two_that_ask_at_once_one_gets_each(open_more):
    context = multiprocessing.get_context("spawn")
    start, results = context.Barrier(2), context.Queue()
    processes = [
        context.Process(target=take_one_after_the_other, args=(*open_more.place, start, results, n)) for n in range(2)
    ]
    for process in processes:
        process.start()
    taken = [name for _ in processes for name in results.get(timeout=60)[1]]
    for process in processes:
        process.join()
    assert sorted(taken) == sorted(map(str, range(20)))


def test_a_silent_process_on_another_machine_loses_its_claims_after_the_lease(postgresql_uri):
    other, mine = DatabaseClaims(postgresql_uri, lease=2), DatabaseClaims(postgresql_uri, lease=2)
    assert other.take("a")
    time.sleep(2.5)
    assert not mine.take("a")  # its heart beats
    other._heart.stop()
    time.sleep(2.5)
    assert mine.take("a")
    other.release("a", "finished")  # it wakes up: the claim is not its own any more
    assert mine.outcome("a") is None
    for claims in (other, mine):
        claims.close()


def test_others_learn_how_a_claim_ended_since_they_are_here(postgresql_uri):
    early, other = DatabaseClaims(postgresql_uri), DatabaseClaims(postgresql_uri)
    assert other.take("a")
    other.release("a", "failed", "the loss was not finite")
    assert early.outcome("a") == ("failed", "the loss was not finite")
    late = DatabaseClaims(postgresql_uri)
    assert late.outcome("a") is None
    assert late.take("a")
    for claims in (early, other, late):
        claims.close()


def test_a_database_that_goes_away_stops_nobody(postgresql_uri, postgresql_server):
    claims = DatabaseClaims(postgresql_uri)
    name = postgresql_uri.rpartition("/")[2]
    with psycopg.connect(postgresql_server, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        assert claims.take("a")
        assert "not currently accepting connections" in claims.trouble
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    assert claims.take("b")
    assert claims.trouble is None
    claims.close()


def test_a_database_that_does_not_answer_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match=r"postgresql://me:\*\*\*@127.0.0.1:1/x does not answer") as caught:
        open_claims(tmp_path, "sqlite://", "postgresql://me:s3cret@127.0.0.1:1/x")
    assert "s3cret" not in str(caught.value)


def test_only_postgresql_keeps_claims(tmp_path):
    with pytest.raises(InputError, match="must be a PostgreSQL"):
        open_claims(tmp_path, "sqlite://", "mysql://me@host/x")
