"""The report stands alone, shows what it is given, and trusts none of it."""

import base64
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from unglossed.evaluation.metrics import Scores
from unglossed.evaluation.reliability import Reliability
from unglossed.evaluation.report import (
    ClipCard,
    ReportData,
    ScoreRow,
    StageCurve,
    TimeRow,
    marked,
    render_report,
    write_report,
)
from unglossed.inference.output import WordAttention
from unglossed.plots import Line, heat_map, line_chart, thumbnails

NASTY = "<script>alert(\"x\")</script> & 'quoted'"
SCORES = Scores(40.0, 30.0, 25.0, 21.5, 45.0, 42.0, 10, "nrefs:1|tok:13a", "13a", "nfc.v1")


def frames(num: int) -> list[np.ndarray]:
    """Frames of 26 x 21 pixels, each of one grey: 10 times its number."""
    return [np.full((26, 21, 3), 10 * index, np.uint8) for index in range(num)]


def card(**changes) -> ClipCard:
    attention = (
        WordAttention("regen", (0.1, 0.7, 0.2)),
        WordAttention("norden", (0.0, 0.0, 1.0)),
    )
    plain = ClipCard(
        *("clip-1", frames(3), "regen im norden", "schnee im norden"), -0.25, attention, 0.48
    )
    return replace(plain, **changes)


def data(**changes) -> ReportData:
    plain = ReportData(
        title="Demo",
        summary="Two stages on a generated corpus.",
        language="de",
        scores=[
            ScoreRow("both stages", "test", SCORES, 0.91),
            ScoreRow("shuffled videos", "test", replace(SCORES, bleu4=3.25), yardstick=True),
        ],
        curves=[
            StageCurve(
                "visual_initialing", ((1, 4.0), (2, 3.0)), ((2, 3.5),), ((1, 0.5), (2, 7.25))
            )
        ],
        times=[TimeRow("corpus", 60), TimeRow("stage 1", 120)],
        held_out=card(title="held-out.mp4", reference=None),
        clips=[card()],
        notes=["measured once"],
    )
    return replace(plain, **changes)


def parse(page: str) -> ElementTree.Element:
    return ElementTree.fromstring(page.removeprefix("<!DOCTYPE html>"))


def test_page_is_well_formed_and_loads_nothing(tmp_path: Path) -> None:
    write_report(tmp_path / "report.html", data())
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    root = parse(page)
    addresses = [
        value
        for element in root.iter()
        for name, value in element.attrib.items()
        if name in ("src", "href", "srcset", "data", "action")
    ]
    kinds = [address.partition(";base64,")[0] for address in addresses]
    counts = {"data:image/jpeg": 6, "data:image/svg+xml": 2, "data:image/png": 2}
    assert Counter(kinds) == counts
    assert "url(" not in page
    assert "@import" not in page
    assert {element.tag for element in root.iter()}.isdisjoint({"script", "link", "iframe"})
    assert "default-src 'none'" in page


def test_numbers_and_texts_are_shown() -> None:
    root = parse(render_report(data()))
    rows = ["|".join(cell.itertext()) for cell in root.iter("tr")]
    text = [" ".join(row.itertext()) for row in root.iter("tr")]
    told = " ".join(" ".join(text).split())
    assert "both stages test 40.00 30.00 25.00 21.50 45.00 42.00 0.910" in told
    assert any("3.25" in row and "–" in row for row in rows)
    everything = " ".join(root.itertext())
    for shown in ("nrefs:1|tok:13a", "best 7.25 at epoch 2", "3.0 minutes", "measured once"):
        assert shown in everything
    assert "held-out.mp4" in everything
    assert everything.count("Reference") == 1  # nobody knows what the held-out video says


def test_everything_is_escaped() -> None:
    attention = (WordAttention(NASTY, (0.5, 0.5, 0.0)),)
    nasty_card = card(title=NASTY, reference=NASTY, hypothesis=NASTY + "x", attention=attention)
    page = render_report(
        data(
            title=NASTY,
            summary=NASTY,
            language='"><b>',
            scores=[ScoreRow(NASTY, NASTY, replace(SCORES, signature=NASTY))],
            curves=[StageCurve(NASTY, ((1, 1.0), (2, 0.5)))],
            times=[TimeRow(NASTY, 1)],
            held_out=replace(nasty_card, reference=None),
            clips=[nasty_card],
            notes=[NASTY],
        )
    )
    root = parse(page)
    assert "<script" not in page
    assert not list(root.iter("b"))
    assert "".join(root.itertext()).count('alert("x")</script>') >= 12


def test_sections_without_content_are_left_out() -> None:
    bare = ReportData("Demo", "summary", "de", scores=[ScoreRow("a", "test", SCORES)])
    headings = [heading.text for heading in parse(render_report(bare)).iter("h2")]
    assert headings == ["Scores"]
    assert "slot F1" not in render_report(bare)
    assert "slot F1" in render_report(data())


def test_light_and_dark() -> None:
    page = render_report(data())
    assert "prefers-color-scheme: dark" in page
    # No colour outside of the two palettes, or one of the modes could not be read.
    body = page.split("</style>")[1]
    assert not re.search(r"#[0-9a-f]{3,6}\b", body)


def test_thumbnails_are_spread_evenly_and_kept_in_shape() -> None:
    addresses = thumbnails(frames(16), 4, height=13)
    greys, shapes = [], set()
    for address in addresses:
        raw = base64.b64decode(address.partition(",")[2])
        picture = cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_COLOR)
        greys.append(round(float(picture.mean())))
        shapes.add(picture.shape)
    assert greys == pytest.approx([20, 60, 100, 140], abs=3)
    assert shapes == {(13, 10, 3)}
    assert len(thumbnails(frames(2), 8, height=13)) == 2


def test_thumbnail_colours_are_not_swapped() -> None:
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 250
    raw = base64.b64decode(thumbnails([red], 1, 16)[0].partition(",")[2])
    blue, green, found_red = cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_COLOR)[8, 8]
    assert found_red > 200
    assert max(blue, green) < 50


def test_heat_map_has_the_strongest_cell_where_the_word_looked() -> None:
    raw = np.frombuffer(picture(heat_map(card().attention)), np.uint8)
    shades = cv2.imdecode(raw, cv2.IMREAD_UNCHANGED)[..., 3] / 255
    assert shades.shape == (2, 3)
    assert shades == pytest.approx(np.array([[0.125, 1, 0.25], [0, 0, 1]]), abs=0.004)


def test_differing_words_are_marked() -> None:
    assert marked("regen im norden", "schnee im norden", "de") == "<mark>regen</mark> im norden"
    assert marked("北部下雨", "南部下雨", "zh") == "<mark>北</mark>部下雨"
    assert marked("im norden", "im norden", "de") == "im norden"


def picture(address: str) -> bytes:
    return base64.b64decode(address.partition(",")[2])


def test_line_chart_draws_every_point_and_tells_values() -> None:
    points = ((0, 0.0), (10, 4.0), (20, 2.0))
    chart = line_chart([Line("dev", points), Line("train", ())], "epoch")
    assert chart.text == "dev, epoch 0: 0; dev, epoch 10: 4; dev, epoch 20: 2"
    root = ElementTree.fromstring(picture(chart.address))
    texts = {"".join(text.itertext()) for text in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"dev", "epoch"} < texts
    assert "train" not in texts
    assert b"<dc:date>" not in picture(chart.address)
    assert line_chart([Line("dev", points)], "epoch") == chart


def test_chart_without_points_says_so() -> None:
    assert line_chart([Line("dev", ())], "epoch") is None
    assert "not measured" in render_report(data(curves=[StageCurve("stage", ())]))


def test_a_report_is_the_same_each_time() -> None:
    assert render_report(data()) == render_report(data())


def test_curve_from_the_rows_of_a_metrics_file() -> None:
    rows = [
        {"epoch": 1.0, "step": 5, "loss": 4.0},
        {"epoch": 1.0, "step": 5, "eval_loss": 3.5, "eval_bleu4": 0.5},
        {"epoch": 2.0, "step": 10, "loss": 3.0},
    ]
    curve = StageCurve.from_metrics("stage", rows)
    assert curve == StageCurve("stage", ((1, 4.0), (2, 3.0)), ((1, 3.5),), ((1, 0.5),))


def test_the_confidence_of_a_calibrated_system_is_drawn() -> None:
    sure, good = np.array([0.9, 0.8, 0.1, 0.3]), np.array([True, False, False, True])
    page = render_report(data(reliability=Reliability(sure, good, 0.25, 50)))
    assert "<h2>Confidence</h2>" in page
    assert "Below the threshold of 0.25 no sentence is given: 1 of 4." in page
    assert "confidence 0.90: 1.00 good of 1" in page
    assert "coverage 0.750 at the threshold 0.25" in page
    ElementTree.fromstring(page.removeprefix("<!DOCTYPE html>"))
    assert "<h2>Confidence</h2>" not in render_report(data())
