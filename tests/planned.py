"""Plans and models of one stage; what earlier stages have is read from their model folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tiny
from unglossed.models.processing import TranslatorProcessor
from unglossed.models.recogniser import Recogniser
from unglossed.models.translator import Translator
from unglossed.training import build
from unglossed.training.parts import Parts, plan_language_model
from unglossed.training.plan import StagePlan, plan_stage, trained_parts
from unglossed.training.settings import LanguageModelSettings, StageSettings

NONE: Mapping[str, Path] = {}


def plan(
    stage: StageSettings, processor: TranslatorProcessor, earlier: Mapping[str, Path] = NONE
) -> StagePlan:
    """The plan of a stage."""
    return plan_stage(stage, _parts(earlier), processor)


def build_translator(
    stage: StageSettings, earlier: Mapping[str, Path], processor: TranslatorProcessor
) -> Translator:
    """Plan and build a stage's translator."""
    return build.build_translator(plan(stage, processor, earlier), earlier)


def build_text_model(
    stage: StageSettings, earlier: Mapping[str, Path], processor: TranslatorProcessor
) -> Any:
    """Plan and build the model of a stage that trains on text alone."""
    return build.build_text_model(plan(stage, processor, earlier), earlier)


def build_recogniser(
    stage: StageSettings, earlier: Mapping[str, Path], symbols: Sequence[str]
) -> Recogniser:
    """Plan and build a stage's recogniser of glosses."""
    return build.build_recogniser(plan(stage, tiny.tiny_processor(), earlier), earlier, symbols)


def language_model_part(
    settings: LanguageModelSettings,
    earlier: Mapping[str, Path],
    processor: TranslatorProcessor,
) -> build.LanguageModelPart:
    """Plan and load a language model."""
    planned = plan_language_model(settings, _parts(earlier), processor)
    return build.load_language_model_part(planned, earlier, processor)


def _parts(earlier: Mapping[str, Path]) -> dict[str, Parts]:
    return {name: trained_parts(folder) for name, folder in earlier.items() if folder.is_dir()}
