import sys
from types import SimpleNamespace

import numpy as np
import pytest

from unglossed.errors import InputError
from unglossed_synth.corpus import write_corpus
from unglossed_synth.planning import TRAIN_SIGNERS, UNSEEN_SIGNERS
from unglossed_synth.speech import Voice, draw_voice, speak

SHORT = "heute regen im osten"
LONG = "morgen nacht schneit es in den nördlichen regionen kräftig bei minus zwölf grad"
VOICE = Voice("de+m1", rate=160, pitch=50, range=50)


def pitch_of(samples):
    """The strongest repetition between 60 and 400 hertz, in hertz: of the mean over windows."""
    windows = np.lib.stride_tricks.sliding_window_view(samples.astype(float), 1024)[::512]
    spectrum = np.abs(np.fft.rfft(windows * np.hanning(1024), 2048)) ** 2
    repetition = np.fft.irfft(spectrum).mean(axis=0)[40:267]
    return 16000 / (40 + repetition.argmax())


def test_same_voice_gives_the_same_samples_in_every_process():
    first, second = speak([SHORT, LONG], VOICE), speak([SHORT, LONG], VOICE)
    assert [samples.dtype for samples in first] == [np.int16, np.int16]
    for one, other in zip(first, second, strict=True):
        assert np.array_equal(one, other)


def test_longer_sentence_and_slower_voice_take_longer():
    short, long = (len(samples) / 16000 for samples in speak([SHORT, LONG], VOICE))
    (slow,) = speak([LONG], Voice("de+m1", rate=120, pitch=50, range=50))
    assert 0.8 < short < 2
    assert 3 < long < 7
    # 160 words a minute, not counting the pauses at both ends.
    assert len(LONG.split()) / long == pytest.approx(160 / 60, rel=0.3)
    assert len(slow) / 16000 == pytest.approx(long * 160 / 120, rel=0.1)


def test_voices_of_men_and_women_differ_in_pitch():
    (man,), (woman,) = speak([LONG], VOICE), speak([LONG], Voice("de+f1", 160, 50, 50))
    assert pitch_of(man) < 120
    assert pitch_of(woman) > 150


def test_umlauts_are_spoken_as_such():
    (right,), (wrong,) = speak(["dünn schön"], VOICE), speak(["dunn schon"], VOICE)
    assert not np.array_equal(right, wrong)


def test_every_signer_has_a_voice_and_new_ones_have_variants_of_their_own():
    voices = {name: draw_voice(3, name) for name in TRAIN_SIGNERS + UNSEEN_SIGNERS}
    assert len(set(voices.values())) == len(voices)
    assert voices["Signer05"] == draw_voice(3, "Signer05") != draw_voice(4, "Signer05")
    seen = {voices[name].voice for name in TRAIN_SIGNERS}
    assert len(seen) > 8
    assert not seen & {voices[name].voice for name in UNSEEN_SIGNERS}
    spoken = [speak([SHORT], voice)[0] for voice in voices.values()]
    for samples in spoken:
        assert 0.7 < len(samples) / 16000 < 2.5
        assert 3000 < np.abs(samples.astype(int)).max() < 32767
    assert len({samples.tobytes() for samples in spoken}) == len(spoken)


def test_missing_espeak_is_found_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(InputError) as error:
        write_corpus(tmp_path / "out", 4, 0, layout="must_c", num_workers=1, progress=False)
    assert "pip install 'unglossed[espeak]'" in str(error.value)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_broken_espeak_is_one_clear_line(tmp_path, monkeypatch):
    (tmp_path / "espeak-ng-data").mkdir()
    paths = {
        "get_library_path": lambda: str(tmp_path / "libespeak-ng.so"),
        "get_data_path": lambda: str(tmp_path / "espeak-ng-data"),
    }
    monkeypatch.setitem(sys.modules, "espeakng_loader", SimpleNamespace(**paths))
    with pytest.raises(
        InputError, match=r"eSpeak NG failed .*libespeak-ng\.so.*, expected"
    ) as error:
        speak([SHORT], VOICE)
    assert "\n" not in str(error.value)


def test_unknown_voice_is_one_clear_line():
    with pytest.raises(InputError, match="knows no voice nobody"):
        speak([SHORT], Voice("nobody", 160, 50, 50))
