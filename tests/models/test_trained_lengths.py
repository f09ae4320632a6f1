"""What a saved model knows of the lengths of its training's clips."""

import math
from pathlib import Path

import numpy as np
import pytest

from tiny import tiny_processor
from unglossed.errors import InputError
from unglossed.models.processing import TranslatorProcessor
from unglossed.models.saved import TrainedLengths

SECONDS = np.array([2.0, 4.0, 6.0, 9.0, math.nan])


def test_lengths_are_summed_up_and_saved_with_the_processor(tmp_path: Path) -> None:
    lengths = TrainedLengths.of(SECONDS, limit=8.0)
    assert lengths == TrainedLengths(4, 2.0, 5.0, 9.0, 8.0, 1)
    processor = tiny_processor()
    processor.trained_seconds = lengths.to_dict()
    processor.save_pretrained(tmp_path)
    loaded = TranslatorProcessor.from_pretrained(tmp_path)
    assert TrainedLengths.from_dict(loaded.trained_seconds) == lengths
    assert TrainedLengths.of([math.nan], limit=8.0) is None


def test_a_processor_without_lengths_loads(tmp_path: Path) -> None:
    tiny_processor().save_pretrained(tmp_path)
    config = tmp_path / "processor_config.json"
    config.write_text(
        config.read_text(encoding="utf-8").replace('"trained_seconds": null', '"a": 1')
    )
    assert TranslatorProcessor.from_pretrained(tmp_path).trained_seconds is None


@pytest.mark.parametrize(("seconds", "told"), [(9.0, False), (12.0, False), (12.1, True)])
def test_a_clip_is_far_longer_from_one_and_a_half_times_the_longest_on(
    seconds: float, told: bool
) -> None:
    lengths = TrainedLengths.of([2.0, 4.0, 8.0], limit=48.0)
    assert lengths is not None
    text = lengths.told(seconds)
    assert (text is not None) == told
    if text is not None:
        assert text == (
            "12.1 seconds long, more than 1.5 times the 8.0 of the longest clip of training (half"
            " have at most 4.0): the text may leave out most of it; cut it into sentences, or let"
            " `translate -f srt` find them"
        )


def test_where_training_cut_its_clips_is_told(tmp_path: Path) -> None:
    lengths = TrainedLengths.of(SECONDS, limit=8.0)
    assert lengths is not None
    assert lengths.told(8.0) is None
    assert "9.0 seconds long, while training cut its clips at 8.0" in str(lengths.told(9.0))


@pytest.mark.parametrize(
    "content", [{}, {"clips": 1}, [], "long", dict.fromkeys(TrainedLengths.__match_args__, "a")]
)
def test_lengths_that_are_none_are_refused(content) -> None:
    with pytest.raises(InputError, match="trained_seconds: found"):
        TrainedLengths.from_dict(content)
