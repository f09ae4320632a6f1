"""Finds the files of recipes, and puts a recipe on top of the one that it starts from.

A recipe may start from another, which its `base` names: a file beside it, or a shipped recipe.
What it says itself then goes over what that one says; stages are matched by their names (see
`config.merge`). A stage with `skip: true` is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unglossed.config import merge, read_yaml
from unglossed.errors import InputError
from unglossed.files import as_path

RECIPES_FOLDER = "recipes"


def find_recipe(name: str | Path) -> Path:
    """A recipe's file: a path, or the name of a shipped recipe without `.yaml`.

    Raises:
        InputError: neither is there; the shipped names are listed.
    """
    path = as_path(name, "recipe")
    if path.is_file():
        return path
    folder = Path(__file__).parent.parent / RECIPES_FOLDER
    if not folder.is_dir():  # an editable install: the recipes lie at the repository's root
        folder = Path(__file__).parents[3] / RECIPES_FOLDER
    shipped = folder / f"{path.name.removesuffix('.yaml')}.yaml"
    if len(path.parts) == 1 and shipped.is_file():
        return shipped
    names = ", ".join(sorted(file.stem for file in folder.glob("*.yaml")))
    raise InputError(f"recipe {name}: no such file; the shipped recipes are: {names}")


def read_recipe_file(path: Path) -> tuple[dict[str, Any], list[str]]:
    """A recipe's content on top of its base's, without the stages that it skips; and their names.

    Raises:
        InputError: a file cannot be read, a base is not there, or bases go round in a circle.
    """
    data = _read_with_base(path, ())
    # Before anything else is changed, so that no change is of a stage that is not there.
    return data, leave_out_skipped(data, path)


def leave_out_skipped(data: dict[str, Any], path: Path) -> list[str]:
    """Drop the stages with `skip: true`, and this key of all others, in place.

    Args:
        data: a recipe's content.
        path: its file, for errors.

    Returns:
        The names of those that were dropped.

    Raises:
        InputError: the key says something else than true or false.
    """
    stages = data.get("stages")
    if not isinstance(stages, list):
        return []
    kept, skipped = [], []
    for stage in stages:
        skip = stage.pop("skip", False) if isinstance(stage, dict) else False
        if not isinstance(skip, bool):
            where = f"stages.{stage.get('name')}.skip"
            raise InputError(f"{path}: {where}: found {skip!r}, expected true or false")
        if skip:
            skipped.append(str(stage.get("name")))
        else:
            kept.append(stage)
    data["stages"] = kept
    return skipped


def refuse_skipped_sources(data: dict[str, Any], skipped: Sequence[str], path: Path) -> None:
    """Refuse a part that comes from a stage which is left out.

    Args:
        data: a recipe's content.
        skipped: names of stages that were dropped from it.
        path: its file, for errors.

    Raises:
        InputError: names the part and the stage.
    """
    stages = data.get("stages")
    for stage in stages if isinstance(stages, list) else []:
        for part, settings in stage.items() if isinstance(stage, dict) else ():
            source = settings.get("source") if isinstance(settings, dict) else None
            if source in skipped:
                instead = "name a published model's folder or hub name"
                if part in ("encoder", "adapter"):  # no other run's language model is taken over
                    instead += f", or a run's that trained the stage, as RUN/1-{source}/model"
                raise InputError(
                    f"{path}: stages.{stage.get('name')}.{part}.source: the stage {source} is"
                    f" skipped: {instead}"
                )


def _read_with_base(path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    """A recipe's content on top of its base's."""
    data = read_yaml(path)
    if "base" not in data:
        return data
    base = data.pop("base")
    if not isinstance(base, str):
        raise InputError(f"{path}: base: found {base!r}, expected the name of a recipe")
    beside = [path.parent / base, path.parent / f"{base}.yaml"]
    try:
        below = next((file for file in beside if file.is_file()), None) or find_recipe(base)
    except InputError as error:
        raise InputError(f"{path}: base: {error}") from None
    chain = (*seen, path.resolve())
    if below.resolve() in chain:
        names = " -> ".join(file.name for file in (*chain, below))
        raise InputError(f"{path}: base: found a circle, {names}, expected an end")
    merged: dict[str, Any] = merge(_read_with_base(below, chain), data)
    return merged
