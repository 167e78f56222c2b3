"""How a tile tells a change."""

import pytest
from streamlit.testing.v1 import AppTest

from app.ui import tiles
from app.ui.tiles import Tile


@pytest.mark.parametrize(
    ("now", "before", "text"),
    [(1300, 80, "+1\N{NO-BREAK SPACE}220"), (5, 12, "−7"), (4, 4, "без изменений"), (4, None, None), (None, 4, None)],
)
def test_a_change_has_a_real_minus_and_no_change_is_said(now, before, text):
    assert tiles.difference(now, before) == text


@pytest.mark.parametrize(
    ("now", "before", "text"),
    [(0.349, 0.051, "+29,8 п.п."), (0.05, 0.12, "−7,0 п.п."), (0.3, 0.30004, "без изменений")],
)
def test_a_change_too_small_to_show_is_none(now, before, text):
    assert tiles.points_difference(now, before) == text


def test_in_a_sentence_no_change_is_a_zero():
    assert [tiles.signed(change) for change in (270, 0, -3)] == ["+270", "0", "−3"]


@pytest.mark.parametrize(
    ("delta", "good", "colour"),
    [
        ("+5", "up", "green"),
        ("−5", "up", "red"),
        ("+5", "down", "red"),
        ("−5", "down", "green"),
        ("−5", "neither", "gray"),
        ("без изменений", "up", "gray"),
        (None, "up", "gray"),
    ],
)
def test_green_is_better_and_red_worse(delta, good, colour):
    assert tiles.colour_of(Tile("Звонки", "1", delta, "было 6", good)) == colour


def test_a_note_beside_a_change_has_a_line_of_its_own():
    def page():
        from app.ui import tiles

        tiles.row([tiles.Tile("Звонки", "1", "−5", "было 6"), tiles.Tile("Ждут", "2", note="звонить")], None, key="t")

    drawn = AppTest.from_function(page).run()
    assert not drawn.exception
    assert [(metric.delta, metric.proto.delta_description) for metric in drawn.metric] == [("−5", ""), ("звонить", "")]
    assert [caption.value for caption in drawn.caption] == ["было 6", "&nbsp;"]
