"""How charts are put on a page: as SVG, so that their text is text, with the finding in words for screen readers."""

import streamlit as st

from app.charts.bars import Option


def show(option: Option, *, key: str, alt: str, height: int) -> None:
    st.echarts_chart(option, height=height, renderer="svg", key=key, alt=alt)
