"""BLAS has one thread while any thread asks for it, and its own number afterwards."""

from __future__ import annotations

import threading

from threadpoolctl import threadpool_info

from headstart.blas import one_blas_thread


def num_threads() -> set[int]:
    return {each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"}


def test_threads_that_overlap_leave_the_number_of_blas_threads_as_it_was() -> None:
    first_is_inside, second_is_inside, first_has_left = (threading.Event() for _ in range(3))
    seen: list[set[int]] = []

    def second() -> None:
        first_is_inside.wait(10)
        with one_blas_thread():
            second_is_inside.set()
            first_has_left.wait(10)
            seen.append(num_threads())

    other = threading.Thread(target=second)
    before = num_threads()
    other.start()
    with one_blas_thread():
        seen.append(num_threads())
        first_is_inside.set()
        assert second_is_inside.wait(10)
    first_has_left.set()
    other.join()
    assert num_threads() == before
    assert seen == [{1}, {1}]
