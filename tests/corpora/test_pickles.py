"""Foreign pickles: honest ones come back as they were, all others are refused, and nothing runs."""

import gzip
import io
import math
import os
import pickle
import pickletools
import re
import struct
import subprocess
import sys
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unglossed.corpora import pickles
from unglossed.corpora.pickles import read_pickle
from unglossed.errors import InputError

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
HONEST = {
    "train/a-1": {"name": "train/a-1", "text": 'über den bergen „schnee" .', "length": 117},
    "numbers": [0, -1, 255, 65536, -(2**63), 2**64 - 1, 0.5, -math.inf, True, False, None],
    "raw": [b"", b"\x00\xff" * 200, ()],
    "tuples": ((), (1,), (1, "b"), (1, 2, 3), (1, 2, 3, [4])),
    "long": [str(number) for number in range(2500)],
    2.5: {True: "x", None: {}, b"key": []},
    "中文": "今天有雨。\n\\\t",
}


class Calls:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.fixture
def write(tmp_path):
    def write(data, name="labels.train"):
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return write


def refused(path, **options):
    """The message with which a file is refused: one line that names it."""
    with pytest.raises(InputError) as error:
        read_pickle(path, **options)
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert len(message) < len(str(path)) + 800
    return message


# Honest files


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_honest_values_come_back_at_every_protocol(write, protocol, pack):
    value = read_pickle(write(pack(pickle.dumps(HONEST, protocol))))
    assert value == HONEST
    # == does not tell True from 1, nor an order from another.
    assert repr(value) == repr(HONEST)


def test_value_that_is_used_twice_is_one_value(write):
    frames = ["a/1.png", "a/2.png"]
    value = read_pickle(write(pickle.dumps([frames, frames, "z"])))
    assert value == [frames, frames, "z"]
    assert value[0] is value[1]


def test_text_of_python_2_is_utf8(write):
    # What Python 2.7 wrote at protocols 2 and 0 for {"ort": "Köln"} and for "Ulm".
    data = b"\x80\x02}q\x00U\x03ortq\x01U\x05K\xc3\xb6lnq\x02s."
    assert read_pickle(write(data)) == {"ort": "Köln"}
    assert read_pickle(write(b"S'Ulm'\np0\n.")) == "Ulm"
    assert "codec can't decode" in refused(write(b"U\x02K\xf6."))


def test_long_values_are_dropped_where_the_reader_says_so(write):
    value = {"text": "heute sonne", "features": b"\x07" * 5000, "more": "x" * 5000}
    for protocol in PROTOCOLS:
        path = write(pickle.dumps(value, protocol))
        assert read_pickle(path) == value
        kept = {"text": "heute sonne", "features": None, "more": None}
        assert read_pickle(path, longest=4096) == kept


def test_allowed_name_is_replaced_and_never_called_itself(write, tmp_path):
    marker = tmp_path / "ran"
    path = write(pickle.dumps([Calls(os.mkdir, str(marker))]))
    made = []
    value = read_pickle(path, {f"{os.mkdir.__module__}.mkdir": lambda where: made.append(where)})
    assert value == [None]
    assert made == [str(marker)]
    assert not marker.exists()


# What a pickle may not ask for


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_pickle_that_calls_os_system_is_refused_and_nothing_runs(write, tmp_path, protocol, pack):
    marker = tmp_path / "ran"
    data = pickle.dumps({"a": {"text": Calls(os.system, f"touch {marker}")}}, protocol)
    message = refused(write(pack(data)))
    assert f"asks for '{os.system.__module__}.system', which is not allowed" in message
    assert message.endswith("nothing was run")
    assert not marker.exists()
    # The trap itself works: Python's own reader falls into it.
    pickle.loads(data)
    assert marker.exists()


@pytest.mark.parametrize(
    ("data", "asked"),
    [
        (b"cos\nsystem\n(S'touch ran'\ntR.", "asks for 'os.system'"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x09touch ran\x85R.", "asks for 'os.system'"),
        (b"(cos\nsystem\nS'touch ran'\no.", "asks for 'os.system'"),
        (b"(S'touch ran'\nios\nsystem\n.", "asks for 'os.system'"),
        (b"cbuiltins\neval\n(S'1'\ntR.", "asks for 'builtins.eval'"),
        (b"\x80\x04\x8c\x08builtins\x8c\x0cgetattr.evil\x93.", "asks for 'builtins.getattr.evil'"),
        (b"]}b.", "asks for the operation BUILD()"),
        (b"])\x81.", "asks for the operation NEWOBJ()"),
        (b"])}\x92.", "asks for the operation NEWOBJ_EX()"),
        (b"(]o.", "asks for the operation OBJ()"),
        (b"Psome file\n.", "asks for the operation PERSID('some file')"),
        (b"]Q.", "asks for the operation BINPERSID()"),
        (b"\x82\x07.", "asks for the operation EXT1(7)"),
        (b"\x97.", "asks for the operation NEXT_BUFFER()"),
    ],
)
def test_each_way_to_more_than_plain_data_is_refused_by_name(
    write, tmp_path, monkeypatch, data, asked
):
    monkeypatch.chdir(tmp_path)
    assert asked in refused(write(data))
    assert not (tmp_path / "ran").exists()


def test_unknown_class_is_refused_by_name_and_not_imported(write, tmp_path, monkeypatch):
    (tmp_path / "trap_module.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    message = refused(write(b"\x80\x02ctrap_module\nClip\n)\x81}b."), allowed={"a.b": dict})
    assert "asks for 'trap_module.Clip', which is not allowed" in message
    assert "expected plain containers, text and numbers, a.b" in message
    assert "trap_module" not in sys.modules


def test_allowed_names_do_not_open_a_door(write):
    allowed = {"some.dict": dict, "some.none": lambda *_: None}
    name = b"csome\ndict\n"
    assert read_pickle(write(name + b")R."), allowed) == {}
    assert "has 'some.dict' as a value" in refused(write(name + b"."), allowed=allowed)
    assert "has 'some.dict' as a value" in refused(write(b"](" + name + b"e."), allowed=allowed)
    assert "has 'some.dict' as a value" in refused(write(name + b"\x85."), allowed=allowed)
    assert "the operation INST('some dict')" in refused(write(b"(isome\ndict\n."), allowed=allowed)
    # Neither its parts nor a function that only looks like it.
    assert "'some.dict.clear'" in refused(write(b"csome\ndict.clear\n."), allowed=allowed)
    assert "calls what is no name" in refused(write(b"])R."), allowed=allowed)
    assert "with other values" in refused(write(name + b"(K\x01K\x02tR."), allowed=allowed)
    inner = b"csome\nnone\ncos\nsystem\n\x85R."
    assert "asks for 'os.system'" in refused(write(inner), allowed=allowed)


# Damaged files


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_truncated_pickle_is_refused_wherever_it_ends(write, protocol):
    data = pickle.dumps(
        {"a": {"text": "wolken", "imgs_path": ["a/1.png"], "length": 1.5}}, protocol
    )
    for end in range(len(data)):
        message = refused(write(data[:end]))
        assert "no pickle, or damaged or truncated, at byte" in message


def test_truncated_and_damaged_gzip_is_refused(write):
    data = gzip.compress(pickle.dumps(HONEST))
    for end in (2, 9, 20, len(data) // 2, len(data) - 9, len(data) - 1):
        assert "truncated or damaged gzip" in refused(write(data[:end]))
    middle = len(data) // 2
    damaged = data[:middle] + bytes(32) + data[middle + 32 :]
    assert "truncated or damaged gzip" in refused(write(damaged))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "exhausted before seeing STOP"),
        (b"version https://git-lfs.github.com/spec/v1\n", "at byte 1: .*opcode b'v' unknown"),
        (b"name|video|start\n", "no pickle"),
        (b".", "no pickle"),
        (b"e.", "no pickle"),
        (b"h\x05.", "takes the stored value 5, which is not there"),
        (b"K\x01K\x02a.", "adds to a value of the type int"),
        (b"}(K\x01u.", "no pickle"),
        (b"X\x04\x00\x00\x00a\xff\xffb.", "can't decode"),
        (b"X\x03\x00\x00\x00\xed\xa0\x80.", "surrogates not allowed"),
        (b"I" + b"9" * 5000 + b"\n.", "no pickle"),
        (b"\x8a\x09" + b"\x01" * 9 + b".", "a number of more than 64 bits"),
    ],
)
def test_other_content_is_one_clear_line(write, data, said):
    assert re.search(said, refused(write(data)))


def test_what_cannot_be_opened(tmp_path):
    assert "cannot be read: No such file" in refused(tmp_path / "none")
    assert "cannot be read: Is a directory" in refused(tmp_path)


# Bounds


def number_of(size):
    return struct.pack("<I", size)


def get(number):
    return b"h" + bytes([number])


# What each bomb is made of: pieces, and how often each comes. They are streamed into a gzip file.
BOMBS = {
    "10 GB of lists inside each other": (
        [(b"]" * 1_000_000, 160), (b"a" * 1_000_000, 159), (b".", 1)],
        "more than 200000 values waiting for a container",
    ),
    "lists put into lists at once": (
        [(b"]", 1), (b"q\x00]h\x00a" * 100_000, 100)],
        "more than 100 containers inside each other",
    ),
    "tuples inside each other": (
        [(b")", 1), (b"\x85" * 1_000_000, 100), (b".", 1)],
        "more than 100 containers inside each other",
    ),
    "marks": ([(b"(" * 1_000_000, 100)], "more than 100 containers inside each other"),
    "lists side by side": (
        [(b"]", 1), ((b"(" + b"]" * 1000 + b"e") * 1000, 100), (b".", 1)],
        "opcodes, too many for its size",
    ),
    "long texts": (
        [(b"]", 1), (b"X" + number_of(10_000_000) + b" " * 10_000_000 + b"a", 100), (b".", 1)],
        "unpacks to more than",
    ),
    "lists of the last list twice": (
        [(b"]\x94", 1), *((b"]\x94(" + get(n) * 2 + b"e", 1) for n in range(64)), (b".", 1)],
        "repeats values until they make more than",
    ),
    "a key whose hash would take years": (
        [(b")\x94", 1), *((get(n) * 2 + b"\x86\x94", 1) for n in range(64)), (b"}h\x40Ns.", 1)],
        "repeats values until they make more than",
    ),
    "a long text used again": (
        [(b"X" + number_of(30_000_000) + b" " * 30_000_000 + b"\x94](" + get(0) * 200 + b"e.", 1)],
        "repeats values until they make more than",
    ),
}
MEMORY_LIMIT = 1 << 30
PROGRAM = """
import resource, sys
from pathlib import Path
from unglossed.corpora.pickles import read_pickle
from unglossed.errors import InputError
path, limit, longest = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_AS, (int(limit), int(limit)))
try:
    read_pickle(Path(path), longest=int(longest) or None)
except InputError as error:
    print(error)
"""


def refused_elsewhere(path, longest=0):
    """The message with which another process refuses a file that may take 1 GB of memory."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path), str(MEMORY_LIMIT), str(longest)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize(("pieces", "said"), BOMBS.values(), ids=BOMBS.keys())
def test_small_file_that_would_take_all_memory_is_refused(tmp_path, pieces, said):
    path = tmp_path / "labels.train"
    with path.open("wb") as file:
        for piece, count in pieces:
            file.write(gzip.compress(piece) * count)
    assert path.stat().st_size < 2_000_000
    assert said in refused_elsewhere(path)


def test_dropped_values_are_bounded_as_well(tmp_path):
    path = tmp_path / "labels.train"
    piece = b"X" + number_of(10_000_000) + b" " * 10_000_000 + b"a"
    path.write_bytes(gzip.compress(b"]") + gzip.compress(piece) * 100 + gzip.compress(b"."))
    assert "unpacks to more than" in refused_elsewhere(path, longest=4096)


@pytest.mark.parametrize(
    "data",
    [
        b"B\xff\xff\xff\xff",  # BINBYTES
        b"X\xff\xff\xff\xff",  # BINUNICODE
        b"T\xff\xff\xff\x7f",  # BINSTRING
        b"\x8b\xff\xff\xff\x7f",  # LONG4
        b"\x8d" + struct.pack("<Q", 1 << 62),  # BINUNICODE8
        b"\x8e" + struct.pack("<Q", 1 << 62),  # BINBYTES8
        b"\x96" + struct.pack("<Q", 1 << 62),  # BYTEARRAY8
        b"V" + b" " * (1 << 26) + b"\n",  # UNICODE, a line
    ],
)
def test_declared_sizes_are_not_believed(write, data):
    tracemalloc.start()
    try:
        message = refused(write(data + b"x."))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert re.search(r"declares a value of \d+ bytes, more than 33554432$", message)
    assert peak < 200_000_000


def test_sizes_that_only_look_huge_do_no_harm(write):
    frame = b"\x80\x04\x95" + struct.pack("<Q", (1 << 64) - 1)
    assert read_pickle(write(frame + b"K\x01.")) == 1
    far = number_of((1 << 32) - 1)
    assert read_pickle(write(b"]r" + far + b".")) == []
    assert read_pickle(write(b"](K\x05r" + far + b"j" + far + b"e.")) == [5, 5]


@pytest.mark.parametrize(
    "piece",
    [b"]", b"}", b"K\x01\x85", b"]\x94", b"X\x01\x00\x00\x00e", b"G@" + b"\x09" * 7],
)
def test_memory_is_not_estimated_too_low(write, monkeypatch, piece):
    limit = 1 << 23
    monkeypatch.setattr(pickles, "MAX_MEMORY", limit)
    path = write(b"]" + (b"(" + piece * 1000 + b"e") * 2000 + b".")
    tracemalloc.start()
    try:
        message = refused(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert f"holds values of more than {limit} bytes of memory" in message
    assert peak < limit + 4_000_000


def test_bounds_are_far_above_an_honest_file(write, monkeypatch):
    """A part of a label file as they circulate: 7,096 entries of 117 frames are the whole."""
    entries = {
        f"train/{clip}": {
            "name": f"train/{clip}",
            "gloss": "MORGEN NORD REGEN",
            "text": "morgen regnet es im norden und an den küsten",
            "length": 117,
            "imgs_path": [f"train/{clip}/images{frame:04d}.png" for frame in range(1, 118)],
        }
        for clip in range(500)
    }
    monkeypatch.setattr(pickles, "MAX_MEMORY", pickles.MAX_MEMORY * 500 // 7096 // 4)
    for protocol in PROTOCOLS:
        path = write(gzip.compress(pickle.dumps(entries, protocol)))
        assert read_pickle(path) == entries


def own_member():
    value = [1]
    value.append(value)
    return value


def own_value():
    value = {}
    value["x"] = [value]
    return value


def own_tuple():
    value = []
    value.append((value,))
    return value[0]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("make", [own_member, own_value, own_tuple])
def test_container_that_contains_itself_is_refused(write, make, protocol):
    message = refused(write(pickle.dumps(make(), protocol)))
    assert "contains itself" in message or "asks for the operation POP" in message


@pytest.mark.parametrize("key", [(1, 2), 1 << 61, ()])
def test_keys_that_can_be_made_to_collide_are_refused(write, key):
    message = refused(write(pickle.dumps({key: 1})))
    assert f"a key of the type {type(key).__name__}, expected text or a small number" in message


# Anything at all

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(st.characters(exclude_categories=("Cs",)))
    | st.binary(),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text(st.characters(exclude_categories=("Cs",)), max_size=3), inner)
    ),
    max_leaves=10,
)


@given(PLAIN, st.sampled_from(PROTOCOLS), st.booleans())
def test_any_plain_value_survives_a_round_trip(tmp_path_factory, value, protocol, packed):
    path = tmp_path_factory.getbasetemp() / "round-trip"
    data = pickle.dumps(value, protocol)
    path.write_bytes(gzip.compress(data) if packed else data)
    assert repr(read_pickle(path)) == repr(value)


class Strict(pickle._Unpickler):
    """Python's reader where nothing can be named, to compare with."""

    def find_class(self, module, name):
        raise pickle.UnpicklingError(f"{module}.{name}")


def is_plain(value):
    if isinstance(value, dict):
        return all(map(is_plain, value)) and all(map(is_plain, value.values()))
    if isinstance(value, list | tuple):
        return all(map(is_plain, value))
    return value is None or type(value) in (str, bytes, int, float, bool)


def check_any_bytes(path, data):
    """A plain value comes back, as Python reads it, or an InputError and nothing else."""
    path.write_bytes(data)
    try:
        value = read_pickle(path)
    except InputError:
        return
    assert is_plain(value)
    try:
        expected = Strict(io.BytesIO(data), encoding="utf-8").load()
    except Exception:
        return  # it is stricter about frames, and finds no name that we know
    assert repr(value) == repr(expected)


@given(st.binary() | st.binary(max_size=30).map(lambda data: data + b"."))
def test_any_bytes_give_a_plain_value_or_an_error(tmp_path_factory, data):
    check_any_bytes(tmp_path_factory.getbasetemp() / "any", data)


OPCODES = [opcode.code.encode("latin-1") for opcode in pickletools.opcodes]


@settings(max_examples=400)
@given(
    PLAIN,
    st.sampled_from(PROTOCOLS),
    st.lists(
        st.tuples(
            st.integers(0, 300),
            st.integers(0, 2),
            st.sampled_from(OPCODES) | st.binary(max_size=3) | st.just(b"cos\nsystem\n"),
        ),
        min_size=1,
        max_size=5,
    ),
)
def test_any_damaged_pickle_gives_a_plain_value_or_an_error(
    tmp_path_factory, value, protocol, changes
):
    data = pickle.dumps([value, {"text": "x", "more": [1, 2]}], protocol)
    for place, removed, put in changes:
        place %= len(data)
        data = data[:place] + put + data[place + removed :]
    check_any_bytes(tmp_path_factory.getbasetemp() / "damaged", data)
