"""As of, along the whole straight line: a company synced and published on a day, and again thirty days later."""

from datetime import UTC, datetime, timedelta

import pytest
from deadlines import with_deadlines
from polars.testing import assert_frame_equal

from demo.earlier import served_then
from metrics.evaluate import evaluate
from metrics.frames import generations, open_frames
from metrics.metric import Period, find_metrics

THEN = datetime(2026, 10, 21, 21, tzinfo=UTC)  # midnight in Moscow


@pytest.fixture(scope="module")
def published(company, straight_line, tmp_path_factory):
    """The publications of that day and of thirty days later."""
    data_dir = tmp_path_factory.mktemp("earlier") / "data"
    straight_line(served_then(company, THEN), data_dir, THEN)
    publication = straight_line(company, data_dir, THEN + timedelta(days=30))
    opened = [open_frames(publication, generation=name) for name in generations(publication)]
    return [with_deadlines(frames) for frames in opened]


@pytest.mark.parametrize("metric", find_metrics().values(), ids=lambda metric: metric.id)
def test_a_metric_as_of_a_day_is_what_was_published_on_that_day(metric, published):
    earlier, later = published
    period = Period(THEN, *metric.default_period(datetime(2026, 10, 22, tzinfo=UTC)))
    then, now = (evaluate(metric, frames, None, period) for frames in (earlier, later))
    assert then.drilldown.height > 0
    for name, table in then.tables.items():
        assert_frame_equal(now.tables[name], table, check_exact=True)
    assert_frame_equal(now.drilldown, then.drilldown, check_exact=True)
