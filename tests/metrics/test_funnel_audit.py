"""E16: a golden pipeline per rule fires exactly that rule; well-built companies fire none."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from engines import on_every_engine
from funnel_paths import START, answer, path

from metrics.audit_rules import RULES
from metrics.funnel_audit import JUDGES, METRIC, MISSING, Funnel, FunnelAuditParams, Stage, findings
from metrics.stage_names import is_parking, purpose, style

DAY = timedelta(days=1)


@pytest.mark.parametrize("name", ["Встреча назначена", "КП отправлено", "Оплата получена", "Вышли на ЛПР"])
def test_e16_outcomes(name: str) -> None:
    assert (style(name), is_parking(name)) == ("outcome", False)


@pytest.mark.parametrize(
    "name",
    ["Готовим предложение", "Отправляем КП", "Ожидание решения", "Получение предоплаты", "Отгрузка", "Переговоры"],
)
def test_e16_processes(name: str) -> None:
    assert (style(name), is_parking(name)) == ("process", False)


@pytest.mark.parametrize("name", ["Клиент думает", "Зависшие"])
def test_e16_parking(name: str) -> None:
    assert (style(name), is_parking(name)) == ("process", True)


@pytest.mark.parametrize("name", ["Звонок", "Первичный контакт"])
def test_e16_unclear(name: str) -> None:
    assert style(name) == "unclear"


LADDER = ("Контакт установлен", "Потребность выявлена", "Замер проведён", "КП отправлено", "Договор подписан")


def stage(name: str, number: int, **changes: Any) -> Stage:
    told = {"is_kev": "Замер" in name, "has_deadline": True, "stock": 5, "is_used": True}
    return Stage(**{"stage_id": f"s{number}", "name": name, "style": style(name), **told, **changes})


def pipeline(name: str, *stages: str, **changes: Any) -> Funnel:
    """A pipeline nothing is wrong with: `stages`, else a good ladder for what its name says it is for."""
    kind = purpose(name)
    usual = LADDER if kind in ("sales", "repeat") else LADDER[:3]
    rungs = tuple(stage(one, number) for number, one in enumerate(stages or usual))
    counts = {"n": 100, "n_back": 5, "n_lost": 40, "n_bare": 4, "n_repeat": 100 if kind == "repeat" else 5}
    told = {
        "account_id": "main",
        "pipeline_id": name,
        "name": name,
        "purpose": kind,
        "stages": rungs,
        "n_won_stages": 1,
    }
    return Funnel(**{**told, **counts, **changes})


GOOD = [pipeline(name) for name in ("Лиды", "Продажи", "Постоянные", "Прогрев", "Отказники")]


def fired(*funnels: Funnel) -> set[tuple[str, str | None]]:
    found = findings(funnels, FunnelAuditParams())
    return {(code, funnel.name if funnel else None) for _, code, funnel, _ in found}


def test_a_well_built_company_has_no_findings() -> None:
    assert fired(*GOOD) == set()


def with_stage(name: str, **changes: Any) -> Funnel:
    funnel = pipeline("Продажи", *LADDER[:4], name, LADDER[4])
    return replace(funnel, stages=tuple(replace(one, **changes) if one.name == name else one for one in funnel.stages))


def every_stage(**changes: Any) -> Funnel:
    funnel = pipeline("Продажи")
    return replace(funnel, stages=tuple(replace(one, **changes) for one in funnel.stages))


GOLDEN = {
    "TOO_MANY": pipeline("Продажи", *(f"Замер проведён {n}" for n in range(16))),
    "ONE_STAGE": pipeline("Продажи", "Замер проведён"),
    "TWO_STAGES": pipeline("Продажи", "Контакт установлен", "Замер проведён"),
    "LEADS_TOO_LONG": pipeline("Лиды", *LADDER),
    "NO_KEV": every_stage(is_kev=False),
    "NO_SLA": with_stage("Счёт выставлен", has_deadline=False),
    "PROCESS_NAME": with_stage("Готовим предложение"),
    "MIXED": pipeline("Продажи", "Замер проведён", "КП отправлено", "Готовим договор", "Отправляем счёт"),
    "PARKING": with_stage("Клиент думает"),
    "DEAD_STAGE": with_stage("Счёт выставлен", is_used=False, stock=0),
    "BULGE": with_stage("Счёт выставлен", stock=60),
    "WRONG_PROCESS": pipeline("Найм"),
    "FULFILMENT_AFTER_WON": pipeline("Продажи", *LADDER, "Оплачено", "Доставлено"),
    "WON_DUPLICATED": replace(pipeline("Продажи"), n_won_stages=2),
    "BACK_ALLOWED": replace(pipeline("Продажи"), n_back=11),
    "NO_REASONS": replace(pipeline("Продажи"), n_bare=9),
    "NEW_REPEAT_MIXED": replace(pipeline("Продажи"), n_repeat=20),
}


@pytest.mark.parametrize("code", JUDGES)
def test_a_golden_pipeline_fires_exactly_its_rule(code: str) -> None:
    golden = GOLDEN[code]
    others = [funnel for funnel in GOOD if funnel.name != golden.name]
    assert fired(golden, *others) == {(code, golden.name)}


@pytest.mark.parametrize("code", MISSING)
def test_a_company_without_a_pipeline_of_a_kind_fires_exactly_that_rule(code: str) -> None:
    assert fired(*(funnel for funnel in GOOD if funnel.purpose != MISSING[code])) == {(code, None)}


def test_every_rule_has_its_golden_pipeline_and_its_texts() -> None:
    assert set(RULES) == set(JUDGES) | set(MISSING)
    assert set(GOLDEN) == set(JUDGES)
    for rule in RULES.values():
        assert all((rule.ru, rule.en, rule.todo_ru, rule.todo_en, rule.severity in ("high", "medium", "low")))


@pytest.mark.parametrize(
    "names",
    [
        "Лиды; Розница мебель офис; Розница мебель магазин; Опт мебель новые; Опт мебель постоянные; Фасады новые; "
        "Фасады постоянные; Прогрев; Отказники",
        "Лиды; Септики; Запчасти; Системы водоочистки; Дренаж; Техническое обслуживание; Прогрев; Отказники",
        "Квалификация; Новые; Телемаркетинг; Активная база; Тендеры; Утепление; Отказники",
    ],
    ids=["furniture", "septic tanks", "flooring"],
)
def test_the_example_companies_pass(names: str) -> None:
    assert fired(*(pipeline(name) for name in names.split("; "))) == set()


def test_shares_of_few_deals_are_not_judged() -> None:
    few = replace(pipeline("Продажи"), n=19, n_back=19, n_lost=19, n_bare=19, n_repeat=9)
    assert fired(few, *(funnel for funnel in GOOD if funnel.name != "Продажи")) == set()


def rung(name: str, number: int) -> dict[str, Any]:
    return {"pipeline_id": "p", "stage_id": str(number), "name": name, "sort": 10 * number, "kind": "open"}


@on_every_engine
def test_facts_come_from_stages_and_deals(engine: Any) -> None:
    """22 lost without a reason and sent back once; the third stage is parking and nobody has been there."""
    ladder = [rung("КП отправлено", 1), rung("Договор подписан", 2), rung("Клиент думает", 3)]
    ends = [{"pipeline_id": "p", "stage_id": "L", "name": "Отказ", "sort": 11_000, "kind": "lost"}]
    rows = [path(f"d{n}", "121L", start=START + n * DAY) for n in range(22)]
    period = {"name": "Продажи", "sort": 1, "pipeline_id": "p"}
    result = answer(METRIC, engine, *rows, path("o", "1"), ladder=[*ladder, *ends], more={"pipeline": [period]})
    table = result.tables["findings"]
    of_pipeline = table.filter(pipeline_id="p")
    assert set(of_pipeline["code"]) == {
        "PARKING",
        "NO_REASONS",
        "NO_KEV",
        "NO_SLA",
        "MIXED",
        "BACK_ALLOWED",
        "DEAD_STAGE",
    }
    row = of_pipeline.filter(code="NO_REASONS").row(0, named=True)
    assert (row["num"], row["den"], row["severity"]) == (22, 22, "high")
    assert of_pipeline.filter(code="PARKING")["names"].to_list() == ["Клиент думает"]
    assert set(table.filter(table["pipeline_id"].is_null())["code"]) == set(MISSING)
    assert table["severity"].to_list() == sorted(table["severity"], key=["high", "medium", "low"].index)
    assert [notice.code for notice in result.warnings] == ["purpose_by_name"]


def test_people_overrule_names(polars_engine: Any) -> None:
    said = [
        {"account_id": "main", "pipeline_id": "p", "stage_id": "1", "funnel_style": "outcome", "is_technical": None}
    ]
    kinds = [{"account_id": "main", "pipeline_id": "p", "purpose": "qualification"}]
    ladder = [rung("Готовим предложение", 1), rung("Готовим договор", 2)]
    result = answer(METRIC, polars_engine, path("o", "1"), ladder=ladder, user_set={"stage": said, "pipeline": kinds})
    found = result.tables["findings"].filter(pipeline_id="p")
    assert found.filter(code="MIXED")["names"].to_list() == ["Готовим договор"]
    assert "TWO_STAGES" not in found["code"], "two are right for qualification"
    assert "NO_QUALIFICATION" not in result.tables["findings"]["code"]


@pytest.mark.parametrize(("kind", "is_judged"), [("deal", True), ("lead", True), (None, True), ("unknown", False)])
def test_only_pipelines_of_deals_and_leads_are_funnels(polars_engine: Any, kind: str | None, is_judged: bool) -> None:
    """Bitrix24 has stages of invoices and of smart processes too."""
    ladder = [rung("КП отправлено", 1), rung("Договор подписан", 2)]
    told = {"name": "Общая", "sort": 1, "pipeline_id": "p", "entity_kind": kind}
    result = answer(METRIC, polars_engine, path("o", "1"), ladder=ladder, more={"pipeline": [told]})
    assert ("p" in result.tables["findings"]["pipeline_id"]) == is_judged
