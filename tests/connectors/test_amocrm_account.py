"""The account: who we are, its settings, and what the doctor learns of it."""

import base64
from datetime import timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from amo_demo import Crm, rows
from amo_fake import (
    ACCOUNT_BODY,
    ENV,
    FIRST,
    FROM_THE_BEGINNING,
    LONG_LIVED,
    NOTHING,
    OAUTH,
    SEPTEMBER,
    SEPTEMBER_S,
    amo,
    event,
    lead,
    of,
    page,
    problem,
    read,
    task,
)
from pydantic import ValidationError

from connectors.amocrm.api import account, open_api
from connectors.amocrm.doctor import examine
from connectors.amocrm.settings import AmoSettings
from connectors.connector import find_connectors
from connectors.errors import CredentialsError, PayloadError
from connectors.records import Deal, Department, Listing, Notice, Pipeline, Task, TaskType

USERS, EVENTS = "/api/v4/users", "/api/v4/events"


def test_the_account_is_who_it_says():
    api, _ = amo()
    me = account(api, LONG_LIVED)
    assert (me.account_id, me.connector, me.external_id, me.base_url) == (
        "main",
        "amocrm",
        "31004410",
        "https://volga.amocrm.ru",
    )
    assert (me.tz, me.base_currency, me.default_region) == ("Europe/Moscow", "RUB", "RU")


def test_zone_and_reporting_currency_of_the_config_win():
    settings = LONG_LIVED.model_copy(update={"timezone": "Asia/Omsk", "currency": "USD"})
    api, _ = amo({"/api/v4/leads": page("leads", lead(1))}, settings=settings)
    me = account(api, settings)
    assert (me.tz, me.base_currency) == ("Asia/Omsk", "USD")
    assert of(Deal, read(api, "leads", FIRST))[0].currency == "RUB"  # what the source counts in


ODD_PARTS = {
    "users_groups": [None, 7, {"name": "of no number"}, {"id": "x"}, {"id": 512001, "name": 17}],
    "task_types": {"0": None, "2": {"id": "call-back"}, "3": {"id": [1]}, "5": {"id": "2740010", "code": "CALL"}},
}


def test_odd_groups_and_kinds_of_tasks_are_left_out_counted_and_bury_nothing():
    body = {**ACCOUNT_BODY, "_embedded": {**ACCOUNT_BODY["_embedded"], **ODD_PARTS}}
    api, _ = amo({"/api/v4/tasks": page("tasks", task(1, task_type_id=2740010))}, account_body=body)
    yielded = read(api, "account")
    assert [(row.department_id, row.name) for row in of(Department, yielded)] == [("department:512001", "17")]
    assert [row.task_type_id for row in of(TaskType, yielded)] == ["task_type:2740010"]
    assert sum(notice.n for notice in of(Notice, yielded)) == 6
    assert not of(Listing, yielded)
    assert [row.kind for row in of(Task, read(api, "tasks", FROM_THE_BEGINNING))] == ["call"]


@pytest.mark.parametrize("odd", [None, {"id": None}, {"id": 2, "_embedded": {"statuses": [None]}}])
def test_a_pipeline_that_cannot_be_read_is_not_taken_as_removed(odd):
    good = {"id": 1, "_embedded": {"statuses": [{"id": 142}]}}
    api, _ = amo({"/api/v4/leads/pipelines": page("pipelines", good, odd)})
    yielded = read(api, "pipelines")
    assert [row.pipeline_id for row in of(Pipeline, yielded)] == ["pipeline:1"]
    assert len(of(Notice, yielded)) == 1
    assert not of(Listing, yielded)


def test_groups_and_kinds_of_tasks_that_are_all_well_are_listed_whole():
    api, _ = amo()
    assert [listing.kind for listing in of(Listing, read(api, "account"))] == [Department, TaskType]


def test_the_account_is_asked_for_once_a_run():
    api, server = amo()
    for _ in range(3):
        read(api, "users")
    assert len(server.asked("/api/v4/account")) == 1


@pytest.mark.parametrize("answer", [NOTHING, problem(404)])
def test_an_address_without_an_account_is_told(answer):
    api, _ = amo({"/api/v4/account": answer})
    with pytest.raises(PayloadError, match="check base_url"):
        account(api, LONG_LIVED)


def test_an_unknown_zone_asks_for_a_setting():
    body = {**ACCOUNT_BODY, "_embedded": {"datetime_settings": {"timezone": "Mars/Olympus"}}}
    api, _ = amo(account_body=body)
    with pytest.raises(PayloadError, match="set timezone of main"):
        account(api, LONG_LIVED)


def test_kommo_is_the_same_connector_with_another_consent_page():
    kommo = {"base_url": "https://volga.kommo.com", "client_id_env": "A", "client_secret_env": "B", "redirect_uri": "x"}
    settings = AmoSettings(id="main", connector="amocrm", **kommo)
    assert settings.consent_page == "https://www.kommo.com/oauth"
    assert OAUTH.consent_page == "https://www.amocrm.ru/oauth"


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({}, "token_env"),
        ({"client_id_env": "A", "client_secret_env": "B"}, "redirect_uri"),
        ({"token_env": "T", "client_id_env": "A"}, "not both"),
        ({"token_env": "T", "base_url": "volga.amocrm.ru"}, "https://"),
        ({"token_env": "T", "requests_per_second": 0}, "greater than 0"),
        ({"token_env": "T", "page_size": 500}, "250"),
    ],
)
def test_settings_that_cannot_work_are_refused(keys, said):
    with pytest.raises(ValidationError, match=said):
        AmoSettings(**{"id": "main", "connector": "amocrm", "base_url": "https://volga.amocrm.ru"} | keys)


def test_an_address_with_a_path_is_the_address_of_its_host():
    settings = AmoSettings(id="a", connector="amocrm", base_url="https://volga.amocrm.ru/leads/", token_env="T")
    assert settings.base_url == "https://volga.amocrm.ru"


def test_the_connector_is_found():
    connector = find_connectors()["amocrm"]
    assert connector.settings is AmoSettings
    names = [resource.name for resource in connector.resources]
    assert all(names.index(before) < names.index(r.name) for r in connector.resources for before in r.after)


def found(answers, **body) -> dict[str, bool | None]:
    api, _ = amo(answers, account_body={**ACCOUNT_BODY, "current_user_id": 1, **body})
    return {finding.code: finding.is_ok for finding in examine(api, LONG_LIVED, env=ENV)}


def test_the_doctor_is_content_with_an_administrator_filters_and_history():
    users = page("users", {"id": 1, "rights": {"is_admin": True}})
    answers = {USERS: users, EVENTS: page("events", event("lead_status_changed", 1))}
    assert found(answers) == {"rights": True, "filters": True, "events": True}


def test_the_doctor_tells_what_will_be_missing():
    answers = {USERS: problem(403, title="Forbidden"), EVENTS: problem(403, title="Forbidden")}
    assert found(answers, is_api_filter_enabled=False) == {"rights": False, "filters": None, "events": False}
    manager = page("users", {"id": 1, "rights": {"is_admin": False}})
    assert found({USERS: manager})["rights"] is False


def test_a_secret_that_is_no_token_is_refused_before_it_is_sent():
    api_env = {**ENV, "AMO_TOKEN": "Bearer abc"}
    with pytest.raises(CredentialsError, match="does not hold a token"):
        open_api(LONG_LIVED, env=api_env, ordinals=lambda: 1, state_dir="")


def token_until(days: int) -> str:
    """A long-lived token as amoCRM makes them, that ends so many days after September began."""
    claims = base64.urlsafe_b64encode(orjson.dumps({"exp": SEPTEMBER_S + days * 86_400})).decode().rstrip("=")
    return f"x.{claims}.y"


@pytest.mark.parametrize(("days", "is_told"), [(31, False), (29, True), (-1, True)])
def test_the_end_of_the_token_is_told_a_month_ahead(days, is_told):
    body = httpx.Response(200, json=ACCOUNT_BODY, headers={"Date": format_datetime(SEPTEMBER, usegmt=True)})
    api, _ = amo({"/api/v4/account": body}, env={**ENV, "AMO_TOKEN": token_until(days)})
    texts = [notice.text for notice in of(Notice, read(api, "account"))]
    assert any("token ends on 2026-" in text for text in texts) == is_told


def test_of_a_token_that_does_not_say_when_it_ends_nothing_is_told():
    api, _ = amo()
    assert not of(Notice, read(api, "account"))


def test_a_group_that_the_account_has_no_more_is_deleted(tmp_path: Path):
    """What comes with the account is read by a thread that has asked for nothing: it is no mere mention."""
    crm = Crm()
    crm.synced(tmp_path)
    assert rows(tmp_path, "SELECT count(*) FROM department WHERE read_seq = 0 OR deleted_at IS NOT NULL") == [(0,)]
    crm.repaint = without_a_group
    crm.passes(timedelta(days=1))
    crm.synced(tmp_path)
    assert rows(tmp_path, "SELECT count(*) FROM department WHERE deleted_at IS NOT NULL") == [(1,)]


def without_a_group(_: Any, body: Any) -> Any:
    if "users_groups" in body.get("_embedded", {}):
        del body["_embedded"]["users_groups"][-1]
    return body
