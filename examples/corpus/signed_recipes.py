"""A corpus of signed cooking recipes, in a layout that unglossed does not know.

FOLDER/steps.txt has one step a line, `recipe/step|signer|from|to|text`, with times in seconds:

    pancakes/1|anna|0|2.4|Mix flour, milk and eggs.

FOLDER/videos/pancakes.mp4 is the video of all its steps. Recipes whose name begins with "test-" or
"dev-" are the splits of these names, all others are train.
"""

from __future__ import annotations

from unglossed.corpora.listing import Clips, list_files
from unglossed.corpora.reading import Reading, RowError, Rows, read_lines
from unglossed.corpora.sample import Corpus


def read_signed_recipes(reading: Reading) -> Corpus:
    """Read all splits; the options of the spec (`?language=en`, ...) are in `reading`."""
    path = reading.root / "steps.txt"
    folder = reading.media_root or reading.root / "videos"
    # One listing, no look at each clip: a corpus of a million rows is read in seconds.
    clips = Clips({folder: list_files(folder, [".mp4"], reading.broken_links)})
    rows = Rows(reading, reading.language or "en")
    rows.begin(path, unit="line")
    for number, line in read_lines(reading, path):
        with rows.row(number):  # a RowError costs this row, and `corpus check` lists all of them
            id, signer, start, end, text = split_line(line)
            recipe = id.partition("/")[0]
            split = recipe.partition("-")[0]
            rows.add(
                number,
                id=id,
                media=clips.find(recipe),
                expected=folder / f"{recipe}.mp4",
                text=text,
                split=split if split in ("dev", "test") else "train",
                signer=signer,
                start_seconds=start,
                end_seconds=end,
            )
    clips.report_leftover(rows)  # videos that no row names
    return rows.corpus("signed_recipes")


def split_line(line: str) -> tuple[str, str, float, float, str]:
    """Split a line of steps.txt into its fields."""
    fields = line.split("|", 4)
    if len(fields) < 5:
        raise RowError(f"found {len(fields)} fields, expected recipe/step|signer|from|to|text")
    id, signer, start, end, text = fields
    try:
        return id, signer, float(start), float(end), text
    except ValueError:
        raise RowError(f"times {start!r} to {end!r}, expected seconds") from None
