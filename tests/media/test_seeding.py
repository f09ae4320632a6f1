from hypothesis import given
from hypothesis import strategies as st

from unglossed.media.augment import generator_for


def test_draws_are_the_same_on_every_machine():
    assert generator_for(1, 2, "01April_2010").integers(0, 1000, 4).tolist() == [210, 965, 536, 531]


def test_each_part_of_the_key_matters():
    keys = [
        (0, 0, "a"),
        (1, 0, "a"),
        (0, 1, "a"),
        (0, 0, "b"),
        (1, 1, "a"),
        (0, 0, "ä"),
        (0, 0, ""),
    ]
    assert len({generator_for(*key).random() for key in keys}) == len(keys)


@given(st.integers(0, 2**40), st.integers(0, 1000), st.text())
def test_equal_keys_give_equal_draws(seed, epoch, sample_id):
    first = generator_for(seed, epoch, sample_id).random(3)
    assert (first == generator_for(seed, epoch, sample_id).random(3)).all()
