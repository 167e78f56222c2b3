"""As of, along the whole straight line: a company synced and published on a day, and again thirty days later."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from conftest import AS_OF, SETTINGS, InProcess
from polars.testing import assert_frame_equal

from connectors.amocrm import CONNECTOR
from connectors.amocrm.api import open_api
from connectors.http import Pace
from demo.amocrm import create_app
from demo.amocrm_switches import Switches
from demo.earlier import served_then
from metrics.evaluate import evaluate
from metrics.frames import generations, open_frames
from metrics.metric import Period, find_metrics
from sync import SyncAccount, publish_all, sync

THEN = AS_OF - timedelta(days=30)


@pytest.fixture(scope="module")
def published(company, tmp_path_factory):
    """The publications of that day and of thirty days later."""
    data_dir = tmp_path_factory.mktemp("earlier") / "data"
    for of_then, at in ((served_then(company, THEN), THEN), (company, AS_OF)):
        transport = InProcess(create_app(of_then, Switches()))
        opened = partial(open_api, transport=transport, pace=Pace(float("inf")))
        account = SyncAccount("main", replace(CONNECTOR, open=opened), SETTINGS, {"TOKEN": "demo-token"})
        run = sync(data_dir, [account], now=lambda at=at: at)
        assert run.is_well
        publish_all(data_dir, now=at)
    publication = data_dir / "publication"
    return [open_frames(publication, generation=name) for name in generations(publication)]


@pytest.mark.parametrize("metric", find_metrics().values(), ids=lambda metric: metric.id)
def test_a_metric_as_of_a_day_is_what_was_published_on_that_day(metric, published):
    earlier, later = published
    period = Period(THEN, *metric.default_period(datetime(2026, 10, 22, tzinfo=UTC)))
    then, now = (evaluate(metric, frames, None, period) for frames in (earlier, later))
    assert then.drilldown.height > 0
    for name, table in then.tables.items():
        assert_frame_equal(now.tables[name], table, check_exact=True)
    assert_frame_equal(now.drilldown, then.drilldown, check_exact=True)
