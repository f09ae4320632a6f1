"""Which tokens are kept, and why texts and unseen words are still written as they should be."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE, Unigram, WordPiece
from tokenizers.processors import BertProcessing

from unglossed.errors import InputError
from unglossed.trimming import (
    Selection,
    check_supported,
    cut_state,
    derivation,
    script_of,
    select_tokens,
)


def state_of(tokenizer: Tokenizer) -> dict[str, Any]:
    state: dict[str, Any] = json.loads(tokenizer.to_str())
    return state


def unigram(pieces: Mapping[str, float]) -> Tokenizer:
    """A Unigram tokenizer whose token 0 is <unk>."""
    tokenizer = Tokenizer(Unigram([("<unk>", 0.0), *pieces.items()], unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens(["<unk>"])
    return tokenizer


def bpe(characters: str, merges: list[tuple[str, str]]) -> Tokenizer:
    """A BPE tokenizer of some characters and all that the merges make of them."""
    pieces = ["<unk>", *characters, *(left + right for left, right in merges)]
    vocab = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens(["<unk>"])
    return tokenizer


def trim(tokenizer: Tokenizer, texts: list[str]) -> tuple[Tokenizer, Selection]:
    """The tokenizer cut to texts, and what of it was kept."""
    state = state_of(tokenizer)
    used = {i for text in texts for i in tokenizer.encode(text).ids}
    selection = select_tokens(state, used, (), texts)
    return Tokenizer.from_str(json.dumps(cut_state(state, selection))), selection


def pieces(tokenizer: Tokenizer) -> set[str]:
    return set(tokenizer.get_vocab())


def test_single_characters_stay_with_and_without_the_word_boundary() -> None:
    letters = dict.fromkeys("▁abc", -5.0) | {"▁b": -5.0, "▁ж": -5.0, "ж": -5.0, "▁7": -5.0}
    whole = unigram(letters | {"ab": -2.0, "bc": -2.0, "жж": -2.0, "▁ab": -2.0, "№": -5.0})

    trimmed, selection = trim(whole, ["ab"])

    assert pieces(trimmed) == {"<unk>", "▁", "a", "b", "c", "▁b", "▁7", "№", "▁ab"}
    assert selection.scripts == ("LATIN",)
    assert selection.num_safety == 6  # without <unk>, ▁ab and the first of the lowest score, ▁


def test_what_an_unknown_character_costs_stays_the_same() -> None:
    """x is in longer pieces only; were <unk> cheaper, it would take its place in the text."""
    scores = {"▁": 0.0, "a": -20.0, "w": -20.0, "wx": -20.0, "aw": 0.0, "b": -5.0}
    whole = unigram(scores | {"bbbb": -100.0})
    assert whole.encode("awx").tokens == ["▁", "a", "wx"]
    cheaper = unigram(scores)
    assert cheaper.encode("awx").ids[-1] == cheaper.token_to_id("<unk>")

    trimmed, _ = trim(whole, ["awx"])

    assert trimmed.encode("awx").tokens == ["▁", "a", "wx"]
    assert "bbbb" in pieces(trimmed)


def test_a_character_inside_longer_pieces_only_keeps_all_of_these() -> None:
    scores = dict.fromkeys("▁ab", -3.0) | {"qu": -4.0, "▁qu": -4.0, "aqua": -4.0, "aba": -1.0}
    whole = unigram(scores | {"quж": -4.0, "u": -9.0})

    trimmed, _ = trim(whole, ["ab"])

    assert {"qu", "▁qu", "aqua"} <= pieces(trimmed)
    assert not {"aba", "quж"} & pieces(trimmed)
    assert trimmed.encode("quab").tokens == ["▁qu", "a", "b"]


def test_pieces_keep_their_order_scores_and_the_unknown_piece_its_place() -> None:
    whole = Tokenizer(
        Unigram([("b", -1.5), ("zz", -9.0), ("жж", -2.0), ("<unk>", 0.0), ("▁", -3.0)], unk_id=3)
    )

    cut = cut_state(state_of(whole), Selection((0, 1, 3, 4), (), 0, ()))

    assert cut["model"]["vocab"] == [["b", -1.5], ["zz", -9.0], ["<unk>", 0.0], ["▁", -3.0]]
    assert cut["model"]["unk_id"] == 2


def test_bytes_sentinels_and_what_the_configuration_names_stay() -> None:
    reserved = {"<0x00>": 0.0, "<0xFF>": 0.0, "▁<extra_id_0>": 0.0, "<extra_id_12>": 0.0}
    ordinary = {"<br>": -2.0, "<0xQ>": -2.0, **dict.fromkeys("▁7", -5.0)}
    state = state_of(unigram(reserved | ordinary))

    selection = select_tokens(state, used=(), fixed=(5,), texts=["7"])

    kept = cut_state(state, selection)["model"]["vocab"]
    assert {piece for piece, _ in kept} == {"<unk>", *reserved, "<br>", "▁", "7"}


def test_all_numbers_of_tokens_are_renumbered() -> None:
    whole = unigram({"жж": -9.0, "ж": -1.0, "▁": -1.0, "a": -1.0, "▁жж": -2.0})
    whole.add_special_tokens(["</s>", AddedToken("ids"), "sep"])
    whole.post_processor = BertProcessing(("</s>", 6), ("sep", 8))
    whole.enable_padding(pad_id=7, pad_token="ids")

    trimmed, selection = trim(whole, ["a"])

    assert selection.ids == (0, 1, 3, 4, 6, 7, 8)
    encoded = trimmed.encode("a")
    assert (encoded.tokens, encoded.ids) == (["sep", "▁", "a", "</s>"], [6, 2, 3, 4])
    assert (trimmed.padding or {})["pad_id"] == trimmed.token_to_id("ids") == 5


MERGES = [
    ("a", "b"),
    ("b", "c"),
    ("▁", "ab"),
    ("ab", "c"),
    ("a", "bc"),
    ("abc", "d"),
    ("▁", "d"),
    ("bc", "d"),
]


def test_merges_that_lead_to_kept_pieces_stay_and_no_others() -> None:
    whole = bpe("▁abcd", MERGES)
    assert whole.encode("dabcd").tokens == ["▁d", "abcd"]

    trimmed, selection = trim(whole, ["dabcd"])

    assert selection.merges == (("a", "b"), ("ab", "c"), ("abc", "d"), ("▁", "d"))
    assert trimmed.encode("dabcd").tokens == ["▁d", "abcd"]
    assert pieces(trimmed) == {"<unk>", *"▁abcd", "ab", "abc", "abcd", "▁d"}
    assert whole.encode("abbc").tokens == ["▁ab", "bc"]
    assert trimmed.encode("abbc").tokens == ["▁", "ab", "b", "c"]


def test_a_derivation_takes_the_first_merge_and_of_equal_ones_the_leftmost() -> None:
    ranks = {("b", "b"): 0, ("a", "b"): 1, ("bb", "b"): 2, ("a", "bbb"): 3}

    assert list(derivation("abbb", ranks)) == [("b", "b"), ("bb", "b"), ("a", "bbb")]
    assert list(derivation("b", ranks)) == []
    assert list(derivation("ab", ranks)) == [("a", "b")]


def test_characters_that_merges_never_reach_stay_unknown() -> None:
    trimmed, _ = trim(bpe("▁abcd", MERGES), ["abx", "x"])

    assert trimmed.encode("abx dx").tokens == ["▁ab", "<unk>", "▁d", "<unk>"]


@pytest.mark.parametrize(
    ("character", "script"),
    [
        ("a", "LATIN"),
        ("É", "LATIN"),
        ("ß", "LATIN"),
        ("ﬁ", "LATIN"),
        ("ª", "LATIN"),
        ("Ａ", "LATIN"),
        ("ж", "CYRILLIC"),
        ("µ", "GREEK"),
        ("中", "CJK"),
        ("ひ", "HIRAGANA"),
        ("ー", "KATAKANA"),
        ("ｱ", "KATAKANA"),
        ("한", "HANGUL"),
        ("ी", "DEVANAGARI"),
        *((character, None) for character in "▁7٣.,。«☂€  ́々"),
    ],
)
def test_a_letters_script_is_known_and_the_rest_has_none(
    character: str, script: str | None
) -> None:
    assert script_of(character) == script


def byte_level(merges: list[tuple[str, str]]) -> Tokenizer:
    """Byte-level merges over some ASCII letters, a space and the two bytes of ä."""
    pieces = [*"abcd", "\u0120", "\u00c3", "\u00a4", *(left + right for left, right in merges)]
    vocab = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(BPE(vocab=vocab, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def test_every_byte_stays_and_merges_keep_their_order() -> None:
    """bc can be made in two ways; the later one is on no kept piece's path."""
    merges = [("\u00c3", "\u00a4"), ("a", "b"), ("b", "c"), ("ab", "c"), ("a", "bc"), ("c", "d")]
    whole = byte_level(merges)
    assert whole.encode("abc").tokens == ["abc"]

    trimmed, selection = trim(whole, ["abc"])

    assert selection.merges == (("a", "b"), ("ab", "c"))
    assert pieces(trimmed) == {*"abcd", "\u0120", "\u00c3", "\u00a4", "ab", "abc"}
    assert selection.scripts is None
    for text in ("abc", "\u00e4", "cd abcd"):
        assert trimmed.decode(trimmed.encode(text).ids) == text
    assert trimmed.encode("cd").tokens == ["c", "d"]


def test_a_byte_inside_longer_pieces_only_keeps_all_of_these() -> None:
    state = state_of(byte_level([("a", "b")]))
    state["model"]["vocab"] |= {"xa": 8, "bb": 9}  # as pieces that no merge reaches

    selection = select_tokens(state, used=(), fixed=(), texts=["a"])

    assert set(range(9)) - {7} == set(selection.ids)


def test_added_tokens_go_unless_they_are_special_or_used() -> None:
    whole = byte_level([("a", "b")])
    whole.add_tokens([AddedToken("<one>", special=False), AddedToken("<two>", special=False)])
    whole.add_special_tokens(["<three>", "<four>"])
    state = state_of(whole)

    selection = select_tokens(state, used=(9,), fixed=(), texts=["a"], without_row=(11,))
    trimmed = Tokenizer.from_str(json.dumps(cut_state(state, selection)))

    assert pieces(trimmed) - set("abcd") == {"\u0120", "\u00c3", "\u00a4", "<two>", "<three>"}
    assert trimmed.token_to_id("<three>") == len(selection.ids) - 1


def test_two_tokens_at_one_id_are_refused() -> None:
    state = state_of(byte_level([]))
    state["added_tokens"].append({"content": "<one>", "id": 3, "special": True})

    with pytest.raises(InputError, match=r"tokenizer.json: found 'd' and '<one>' both at 3, exp"):
        check_supported(state, "my/model")


def byte_level_unigram() -> Tokenizer:
    tokenizer = unigram({"a": -1.0})
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex("x"), "isolated"), pre_tokenizers.ByteLevel()]
    )
    return tokenizer


def with_suffix() -> Tokenizer:
    return Tokenizer(BPE(vocab={"▁": 0, "a</w>": 1}, merges=[], end_of_word_suffix="</w>"))


def without_boundary() -> Tokenizer:
    tokenizer = Tokenizer(BPE(vocab={"a": 0}, merges=[]))
    tokenizer.normalizer = normalizers.NFC()
    return tokenizer


@pytest.mark.parametrize(
    ("tokenizer", "found"),
    [
        (byte_level_unigram(), "byte-level Unigram"),
        (with_suffix(), "BPE"),
        (without_boundary(), "BPE"),
        (Tokenizer(WordPiece(vocab={"[UNK]": 0, "▁": 1}, unk_token="[UNK]")), "WordPiece"),
    ],
    ids=["byte_level", "with_suffix", "without_boundary", "word_piece"],
)
def test_other_tokenizers_are_refused(tokenizer: Tokenizer, found: str) -> None:
    with pytest.raises(InputError, match=f"^my/model: found a {found} tokenizer, expected Sent"):
        check_supported(state_of(tokenizer), "my/model")
