"""Slabs on threads: order, errors, nesting, threads of the caller, forks."""

import os
import threading

import pytest

from gpuseg.kernels import launch


@pytest.fixture(autouse=True)
def three_threads(monkeypatch):
    monkeypatch.setenv("GPUSEG_NUM_THREADS", "3")


@pytest.mark.parametrize("count", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("pieces", [None, 1, 5])
def test_pieces_cover_the_range_in_order(count, pieces):
    bounds = launch.slabs(lambda start, stop: (start, stop), count, pieces=pieces)
    assert [i for start, stop in bounds for i in range(start, stop)] == list(range(count))
    assert len(bounds) == min(count, pieces or 3)


def test_nothing_to_do():
    assert launch.slabs(lambda start, stop, x: (start, stop, x), 0, "x") == [(0, 0, "x")]


def test_pieces_run_at_the_same_time():
    barrier = threading.Barrier(3)
    launch.slabs(lambda start, stop: barrier.wait(10), 3)


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_an_error_comes_out_after_all_pieces_ended(bad):
    ended = []

    def piece(start, stop):
        if start == bad:
            raise ArithmeticError(start)
        ended.append(start)

    with pytest.raises(ArithmeticError):
        launch.slabs(piece, 3)
    assert sorted(ended) == sorted({0, 1, 2} - {bad})


def test_a_nested_call_runs_in_its_own_thread():
    def outer(start, stop):
        me = threading.get_ident()
        return all(launch.slabs(lambda a, b: threading.get_ident() == me, 4, pieces=4))

    assert launch.slabs(outer, 30, pieces=30) == [True] * 30


def test_many_callers_share_the_pool():
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(launch.slabs(lambda a, b: b - a, 50)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [sum(r) for r in results] == [50] * 8


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_has_a_pool_of_its_own():
    launch.slabs(lambda a, b: None, 9)
    child = os.fork()
    if child == 0:
        ok = launch.slabs(lambda a, b: b - a, 9) == [3, 3, 3]
        os._exit(0 if ok else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_thread_count(monkeypatch):
    assert launch.thread_count() == 3
    for bad in ("0", "x", "-1", "1.5"):
        monkeypatch.setenv("GPUSEG_NUM_THREADS", bad)
        with pytest.raises(ValueError, match="GPUSEG_NUM_THREADS must be a positive integer"):
            launch.thread_count()
    monkeypatch.delenv("GPUSEG_NUM_THREADS")
    assert 1 <= launch.thread_count() <= os.cpu_count()


def test_blocks():
    assert [launch.blocks(n, 8) for n in (0, 1, 8, 9)] == [1, 1, 1, 2]
    assert launch.blocks(1000, 8, most=4) == 4
