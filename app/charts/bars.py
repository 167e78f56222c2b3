"""Bar charts as ECharts options. Pure: rows in, a dictionary out, so that they are tested without a browser."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.ui import formats

Option = dict[str, Any]

BAR_PX = 34
BASE: Option = {"animation": False, "grid": {"left": 8, "right": 24, "top": 34, "bottom": 8, "containLabel": True}}
LONGEST_LABEL = 26
STEPS_SHOWN = 5
TOOLTIP: Option = {
    "trigger": "axis",
    "axisPointer": {"type": "shadow"},
    "confine": True,
    "valueFormatter": "localized",  # as the lists of Streamlit write numbers
}
# A border of no width is drawn all the same: of no width means the usual one to zrender.
LABEL: Option = {"position": "right", "textBorderColor": "transparent"}


@dataclass(frozen=True)
class Series:
    """A named row of bars. texts: what is written on each bar, as ready text; None: nothing."""

    name: str
    values: Sequence[float | None]
    colour: str
    texts: Sequence[str | None] | None = None


def stacked(categories: Sequence[str], series: Sequence[Series], *, vertical: bool = False) -> Option:
    """Bars on top of (or after) one another: months and their parts, people and their calls."""
    names: Option = {"type": "category", "data": [_short(name) for name in categories], "axisTick": {"show": False}}
    piles = list(zip(*(one.values for one in series), strict=True))
    values = _number_axes(
        min((sum(value for value in pile if value and value < 0) for pile in piles), default=0),
        max((sum(value for value in pile if value and value > 0) for pile in piles), default=0),
        position="left" if vertical else "bottom",
        smallest_step=1,
    )
    axes: Option = (
        {"xAxis": names, "yAxis": values} if vertical else {"xAxis": values, "yAxis": {**names, "inverse": True}}
    )
    return {
        **BASE,
        **axes,
        "legend": {"top": 0, "left": 0, "itemWidth": 12, "itemHeight": 12, "type": "scroll"},
        "tooltip": TOOLTIP,
        "series": [
            {
                "name": one.name,
                "type": "bar",
                "stack": "all",
                "barMaxWidth": 44 if vertical else 20,
                "data": _items(one),
                "itemStyle": {"color": one.colour},
            }
            for one in series
        ],
    }


LEGEND_LINE_PX = 22


def side_by_side(categories: Sequence[str], series: Sequence[Series]) -> Option:
    """Horizontal bars of several measures for each category, with their texts."""
    highest = max((value for one in series for value in one.values if value), default=0)
    return {
        **BASE,
        # One below the other: side by side the names would wrap on a phone, onto the first bars.
        "legend": {"top": 0, "left": 0, "itemWidth": 12, "itemHeight": 12, "orient": "vertical"},
        "grid": {**BASE["grid"], "right": 74, "top": LEGEND_LINE_PX * len(series) + 10},
        "xAxis": _number_axes(0, highest, position="bottom"),
        "yAxis": {
            "type": "category",
            "inverse": True,
            "data": [_short(name) for name in categories],
            "axisTick": {"show": False},
        },
        "tooltip": TOOLTIP,
        "series": [
            {
                "name": one.name,
                "type": "bar",
                "barMaxWidth": 14,
                "data": _items(one),
                "itemStyle": {"color": one.colour},
                "label": {**LABEL, "show": one.texts is not None},
            }
            for one in series
        ],
    }


def ladder(categories: Sequence[str], values: Sequence[float], texts: Sequence[str], colours: Sequence[str]) -> Option:
    """A funnel as horizontal bars over a pale background, a text and a colour each."""
    items = [
        {"value": value, "itemStyle": {"color": colour}, "label": {"formatter": text}}
        for value, text, colour in zip(values, texts, colours, strict=True)
    ]
    return {
        **BASE,
        "grid": {**BASE["grid"], "top": 8, "right": 84},
        "xAxis": {"type": "value", "show": False, "max": max(values, default=1) or 1},
        "yAxis": {
            "type": "category",
            "inverse": True,
            "data": [_short(name) for name in categories],
            "axisTick": {"show": False},
            "axisLine": {"show": False},
        },
        "series": [
            {
                "type": "bar",
                "data": items,
                "barMaxWidth": 36,
                "barCategoryGap": "36%",
                "showBackground": True,
                "backgroundStyle": {"color": "rgba(128, 140, 160, 0.14)"},
                "label": {**LABEL, "show": True},
            }
        ],
    }


def up_and_down(categories: Sequence[str], up: Sequence[Series], down: Sequence[Series]) -> Option:
    """Came and went: columns above and below zero."""
    option = stacked(categories, [*up, *(_negative(one) for one in down)], vertical=True)
    for one in option["series"]:
        one["stack"] = "flow"
    return option


def _negative(one: Series) -> Series:
    return Series(one.name, [None if value is None else -value for value in one.values], one.colour, one.texts)


def height(n: int, *, bar_px: int = BAR_PX, extra_px: int = 46) -> int:
    return max(n, 1) * bar_px + extra_px


def _number_axes(low: float, high: float, *, position: str, smallest_step: float = 0) -> list[Option]:
    """The axis of the values, and one of texts on top of it.

    ECharts groups digits the English way (4,000), in its template `{value}` too, and takes no function from Python.
    """
    step = max(_step((high - low) / STEPS_SHOWN), smallest_step)
    first, last = math.floor(low / step), max(math.ceil(high / step), 1)
    digits = max(0, -math.floor(math.log10(step)))
    texts = [formats.number(n * step, digits).replace("-", "−") for n in range(first, last + 1)]
    hidden: Option = {"show": False}
    return [
        {"type": "value", "min": first * step, "max": last * step, "interval": step, "axisLabel": hidden},
        {
            "type": "category",
            "data": texts,
            "boundaryGap": False,
            "position": position,
            "axisLine": hidden,
            "axisTick": hidden,
            "splitLine": hidden,
            "axisPointer": hidden,
            "axisLabel": {"interval": 0},
        },
    ]


def _step(least: float) -> float:
    """The smallest of …, 1, 2, 3, 4, 5, 10, … not below `least`."""
    if least <= 0:
        return 1
    power = 10.0 ** math.floor(math.log10(least))
    return next((power * nice for nice in (1, 2, 3, 4, 5) if power * nice >= least), power * 10)


def _items(one: Series) -> list[Any]:
    if one.texts is None:
        return list(one.values)
    return [
        {"value": value, "label": {"formatter": text or ""}} for value, text in zip(one.values, one.texts, strict=True)
    ]


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_LABEL else name[: LONGEST_LABEL - 1] + "…"
