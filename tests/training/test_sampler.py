from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from headstart.training.sampler import epoch_order, key, shards


@given(num_photos=st.integers(1, 60), batch_size=st.integers(1, 20), num_processes=st.integers(1, 5))
def test_every_photo_is_used_once_in_steps_that_all_processes_share(
    num_photos: int, batch_size: int, num_processes: int
) -> None:
    order = epoch_order(num_photos, 0, "phase", 1)
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
    first = epoch_order(50, 0, "probe", 1)
    np.random.seed(1)  # noqa: NPY002  the global generator must not matter
    assert np.array_equal(first, epoch_order(50, 0, "probe", 1))
    for other in ((1, "probe", 1), (0, "last", 1), (0, "probe", 2)):
        assert not np.array_equal(first, epoch_order(50, *other))


def test_keys_do_not_run_into_each_other() -> None:
    assert len({key("a", 1, 2), key("a", 12), key("a1", 2), key("a", 1, 2, 0)}) == 4
    assert 0 <= key("x") < 2**63
