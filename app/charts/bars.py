"""Bar charts as ECharts options. Pure: rows in, a dictionary out, so that they are tested without a browser."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Option = dict[str, Any]

BAR_PX = 34
BASE: Option = {"animation": False, "grid": {"left": 8, "right": 24, "top": 34, "bottom": 8, "containLabel": True}}
LONGEST_LABEL = 26
# ECharts groups digits the English way (4,000); plain ones read the same in every language.
VALUES: Option = {"type": "value", "splitNumber": 4, "axisLabel": {"formatter": "{value}"}}


@dataclass(frozen=True)
class Series:
    """A named row of bars. texts: what is written on each bar, as ready text; None: nothing."""

    name: str
    values: Sequence[float | None]
    colour: str
    texts: Sequence[str | None] | None = None


def stacked(categories: Sequence[str], series: Sequence[Series], *, vertical: bool = False) -> Option:
    """Bars on top of (or after) one another: months and their parts, people and their calls."""
    names = {"type": "category", "data": [_short(name) for name in categories], "axisTick": {"show": False}}
    values = {**VALUES, "minInterval": 1}
    axes = {"xAxis": names, "yAxis": values} if vertical else {"xAxis": values, "yAxis": {**names, "inverse": True}}
    return {
        **BASE,
        **axes,
        "legend": {"top": 0, "left": 0, "itemWidth": 12, "itemHeight": 12, "type": "scroll"},
        "tooltip": {"trigger": "axis", "axisPointer": {"type": "shadow"}, "confine": True},
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


def side_by_side(categories: Sequence[str], series: Sequence[Series]) -> Option:
    """Horizontal bars of several measures for each category, with their texts."""
    return {
        **BASE,
        "grid": {**BASE["grid"], "right": 74},
        "xAxis": VALUES,
        "yAxis": {
            "type": "category",
            "inverse": True,
            "data": [_short(name) for name in categories],
            "axisTick": {"show": False},
        },
        "legend": {"top": 0, "left": 0, "itemWidth": 12, "itemHeight": 12},
        "tooltip": {"trigger": "axis", "axisPointer": {"type": "shadow"}, "confine": True},
        "series": [
            {
                "name": one.name,
                "type": "bar",
                "barMaxWidth": 14,
                "data": _items(one),
                "itemStyle": {"color": one.colour},
                "label": {"show": one.texts is not None, "position": "right", "textBorderWidth": 0},
            }
            for one in series
        ],
    }


def ladder(
    categories: Sequence[str],
    values: Sequence[float],
    texts: Sequence[str],
    *,
    colour: str,
    marked: int | None,
    mark: str,
) -> Option:
    """A funnel as horizontal bars over a pale background; one bar may be marked with another colour."""
    items = [
        {"value": value, "itemStyle": {"color": mark if number == marked else colour}, "label": {"formatter": text}}
        for number, (value, text) in enumerate(zip(values, texts, strict=True))
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
                "barMaxWidth": 24,
                "showBackground": True,
                "backgroundStyle": {"color": "rgba(128, 140, 160, 0.14)"},
                "label": {"show": True, "position": "right", "textBorderWidth": 0},
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


def _items(one: Series) -> list[Any]:
    if one.texts is None:
        return list(one.values)
    return [
        {"value": value, "label": {"formatter": text or ""}} for value, text in zip(one.values, one.texts, strict=True)
    ]


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_LABEL else name[: LONGEST_LABEL - 1] + "…"
