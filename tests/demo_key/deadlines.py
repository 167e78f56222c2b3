"""Deadlines for every stage: without one nothing is late, and metrics of deadlines have nothing to say."""

from dataclasses import replace

import polars as pl

from metrics.frames import FrameSet


def with_deadlines(frames: FrameSet) -> FrameSet:
    """`frames` with three days for every open stage."""
    stages = frames["stage"].collect("polars").to_native().filter(kind="open")
    key = stages.select("account_id", "pipeline_id", "stage_id")
    deadlines = key.with_columns(sla_s=pl.lit(3 * 86_400), sla_clock=pl.lit("wall"))
    return replace(frames, user_set={"stage": deadlines}, opened={})
