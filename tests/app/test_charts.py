"""Charts as options: what a browser is told to draw."""

import pytest

from app import i18n
from app.charts import bars
from app.ui.formats import NBSP

RED, BLUE = "#f00", "#00f"


def axes(option, name):
    """The axis of values and the one of their texts."""
    values, texts = option[name]
    return values, texts


def test_an_axis_writes_numbers_like_the_rest_of_the_page():
    months = bars.stacked(
        ["окт", "ноя"], [bars.Series("a", [1100, 400], RED), bars.Series("b", [58, 0], BLUE)], vertical=True
    )
    values, texts = axes(months, "yAxis")
    assert not values["axisLabel"]["show"]
    assert texts["data"] == ["0", "300", "600", "900", f"1{NBSP}200"]
    i18n.use("en")
    assert axes(bars.stacked(["x"], [bars.Series("a", [1158], RED)]), "xAxis")[1]["data"][-1] == "1,200"


@pytest.mark.parametrize(
    ("came", "went", "expected"),
    [
        ([87], [64], ["−80", "−40", "0", "40", "80", "120"]),
        ([0], [0], ["0", "1"]),
        ([1], [None], ["0", "1"]),
        ([10], [], ["0", "2", "4", "6", "8", "10"]),
    ],
)
def test_texts_stand_at_the_steps_of_the_axis(came, went, expected):
    option = bars.up_and_down(["ноя"], [bars.Series("a", came, BLUE)], [bars.Series("b", went, RED)] if went else [])
    values, texts = axes(option, "yAxis")
    assert texts["data"] == expected
    assert (values["max"] - values["min"]) / values["interval"] == len(expected) - 1
    assert texts["position"] == "left"
    assert not texts["boundaryGap"]


def test_short_lengths_keep_their_fractions():
    option = bars.side_by_side(["Новая"], [bars.Series("a", [0.9], BLUE), bars.Series("b", [None], RED)])
    assert axes(option, "xAxis")[1]["data"] == ["0,0", "0,2", "0,4", "0,6", "0,8", "1,0"]


def test_a_text_beside_a_bar_has_no_outline():
    series = [bars.Series("a", [1], BLUE, ["один"])]
    for option in (bars.ladder(["x"], [1], ["один"], [RED]), bars.side_by_side(["x"], series)):
        assert option["series"][0]["label"]["textBorderColor"] == "transparent"


def test_each_bar_of_a_ladder_has_its_colour():
    option = bars.ladder(["x", "y"], [2, 1], ["2", "1"], [RED, BLUE])
    assert [item["itemStyle"]["color"] for item in option["series"][0]["data"]] == [RED, BLUE]


def test_long_names_in_a_legend_leave_the_bars_alone():
    series = [
        bars.Series(name, [1], BLUE) for name in ("Медиана с учётом тех, кто ещё стоит", "Медиана ушедших с этапа")
    ]
    option = bars.side_by_side(["x"], series)
    assert option["legend"]["orient"] == "vertical"
    assert option["grid"]["top"] >= 2 * bars.LEGEND_LINE_PX
