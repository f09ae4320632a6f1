import multiprocessing
import operator
from itertools import count, islice

import pytest

from unglossed.corpora.parallel import map_in_order


@pytest.mark.parametrize("num_workers", [1, 2])
def test_results_come_in_the_order_of_the_items(num_workers):
    assert list(map_in_order(operator.neg, range(50), num_workers)) == list(range(0, -50, -1))


@pytest.mark.parametrize("num_workers", [1, 2])
def test_items_are_taken_as_results_are_asked_for(num_workers):
    assert list(islice(map_in_order(operator.neg, count(), num_workers), 20))[-1] == -19


@pytest.mark.parametrize("num_workers", [1, 2])
def test_error_of_the_work_comes_in_its_place(num_workers):
    results = map_in_order(int, ["1", "2", "three", "4"], num_workers)
    assert list(islice(results, 2)) == [1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)


class OddError(Exception):
    """Cannot be made again from its pickle."""

    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def raise_odd(item):
    raise OddError(item, item)


def test_error_tells_where_in_the_other_process_it_was_raised():
    with pytest.raises(ValueError, match="three") as error:
        list(map_in_order(int, ["three"], 2))
    assert "in a worker process:\nTraceback" in error.value.__notes__[0]
    with pytest.raises(RuntimeError, match=r"in raise_odd\n(.*\n)*.*OddError: 1 and 1"):
        list(map_in_order(raise_odd, [1], 2))


def test_processes_end_with_the_generator():
    results = map_in_order(operator.neg, count(), 2)
    next(results)
    assert len(multiprocessing.active_children()) == 2
    results.close()
    assert multiprocessing.active_children() == []
