from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from headstart.training.steps.sampler import balanced_order, epoch_order, key, shards


@given(num_photos=st.integers(1, 60), batch_size=st.integers(1, 20), num_processes=st.integers(1, 5))
def test_every_photo_is_used_once_in_steps_that_all_processes_share(
    num_photos: int, batch_size: int, num_processes: int
) -> None:
    order = epoch_order(np.zeros(num_photos), "shuffled", 0, "phase", 1)
    parts = [list(shards(order, batch_size, rank, num_processes)) for rank in range(num_processes)]
    num_steps = -(-num_photos // batch_size)
    assert [len(each) for each in parts] == [num_steps] * num_processes
    used = [i for each in parts for part in each for i in part.indices[part.weights > 0]]
    assert sorted(used) == list(range(num_photos))
    for step in range(num_steps):
        of_step = [each[step] for each in parts]
        assert all(len(part.indices) == len(part.weights) > 0 for part in of_step)
        assert sum(part.weights.sum() for part in of_step) == of_step[0].step_size
        assert len({part.step_size for part in of_step}) == 1


def test_the_order_depends_on_seed_phase_and_epoch_alone() -> None:
    labels = [0] * 40 + [1] * 10
    for sampling in ("shuffled", "balanced"):
        first = epoch_order(labels, sampling, 0, "probe", 1)
        np.random.seed(1)  # noqa: NPY002  the global generator must not matter
        assert np.array_equal(first, epoch_order(np.array(labels), sampling, 0, "probe", 1))
        for other in ((1, "probe", 1), (0, "last", 1), (0, "probe", 2)):
            assert not np.array_equal(first, epoch_order(labels, sampling, *other))


@given(st.lists(st.integers(0, 6), min_size=1, max_size=80), st.integers(0, 10**6))
def test_balanced_classes_and_photos_of_a_class_are_used_equally_often(labels: list[int], seed: int) -> None:
    order = epoch_order(labels, "balanced", seed, "last", 1)
    assert np.array_equal(order, balanced_order(labels, seed, "last", 1))
    assert order.shape == (len(labels),)
    used = np.bincount(order, minlength=len(labels))
    of_class = [used[np.array(labels) == label] for label in set(labels)]
    totals = [int(uses.sum()) for uses in of_class]
    assert max(totals) - min(totals) <= 1
    assert all(uses.max() - uses.min() <= 1 for uses in of_class)


def test_a_balanced_order_mixes_its_classes_and_leaves_no_photo_out_for_ever() -> None:
    labels = np.array([0] * 40 + [1] * 10)
    orders = [balanced_order(labels, 0, "last", epoch) for epoch in range(40)]
    assert {int(i) for order in orders for i in order} == set(range(50))
    in_first_half = [int((labels[order[:25]] == 1).sum()) for order in orders]
    assert 10 < np.mean(in_first_half) < 15
    assert len(set(in_first_half)) > 3


def test_where_the_split_does_not_come_out_even_chance_decides_who_gets_more() -> None:
    more = [
        np.bincount(np.array([0, 0, 0, 1, 1])[balanced_order([0, 0, 0, 1, 1], 0, "last", epoch)]).argmax()
        for epoch in range(40)
    ]
    assert set(more) == {0, 1}


def test_keys_do_not_run_into_each_other() -> None:
    assert len({key("a", 1, 2), key("a", 12), key("a1", 2), key("a", 1, 2, 0)}) == 4
    assert 0 <= key("x") < 2**63
