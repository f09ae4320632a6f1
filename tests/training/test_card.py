"""The card of a model: metadata that a hub reads, what it was trained on, and no path of ours."""

from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard

from tiny import write_corpus
from unglossed.config import read_yaml
from unglossed.hub import verify
from unglossed.inference.translator import SignTranslator
from unglossed.training.train import train_recipe

RECIPE = Path(__file__).parents[1] / "end_to_end" / "tiny.yaml"


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("card")
    corpus = write_corpus(root / "my private corpus")
    return train_recipe(RECIPE, corpus, root / "run").parent


def test_a_hub_reads_its_metadata(run: Path) -> None:
    card = ModelCard.load(run / "model" / "README.md")

    assert card.data.language == ["de"]
    assert card.data.library_name == "unglossed"
    assert card.data.tags == ["sign-language-translation"]


def test_it_tells_data_scores_recipe_and_limits(run: Path) -> None:
    text = (run / "model" / "README.md").read_text(encoding="utf-8")

    assert "clips: 8 train, 2 dev, 2 test" in text
    assert "2 clips of dev: BLEU-4 " in text
    assert "tok:13a" in text
    assert "no interpreter" in text
    recipe = yaml.safe_load(text.partition("```yaml\n")[2].partition("```")[0])
    names = [stage["name"] for stage in recipe["stages"]]
    assert names == [stage["name"] for stage in read_yaml(RECIPE)["stages"]]
    assert "my private corpus" not in text
    assert str(run) not in text


def test_a_generated_corpus_is_called_generated(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus")
    (tmp_path / "corpus" / "generated.json").write_text("{}")

    train_recipe(RECIPE, corpus, tmp_path / "run")

    text = (tmp_path / "run" / "model" / "README.md").read_text(encoding="utf-8")
    assert "its signs are invented" in text


def test_whoever_edits_it_can_still_load_the_model(run: Path) -> None:
    card = run / "model" / "README.md"
    card.write_text(card.read_text(encoding="utf-8") + "\nEdited.\n", encoding="utf-8")

    verify(run / "model")
    assert SignTranslator.from_pretrained(run).processor.language == "de"
