"""C-MAP: stems in their order, whatever the case; what people set wins."""

import polars as pl
import pytest
from engines import on_every_engine

from metrics.evaluate import collect
from metrics.loss_categories import loss_categories


@on_every_engine
@pytest.mark.parametrize(
    ("name", "category"),
    [
        ("Слишком ДОРОГО", "price"),
        ("Купили у конкурента", "competitor"),
        ("Позже вернутся", "timing"),
        ("Недозвон", "no_contact"),
        ("Ошиблись номером", "spam_invalid"),
        ("Дубль", "duplicate"),
        ("Неактуально", "no_need"),
        ("Нет бюджета, купил у других", "price"),  # the first match in the order
        ("Не дозвонились", "no_contact"),
        ("Клиент пропал", "no_contact"),
        ("Пропала потребность", "no_need"),
        ("Выбрали других", "competitor"),
        ("Не устроили условия", "other"),
        ("Прочее", "other"),
    ],
)
def test_a_name_tells_the_category(engine, name, category):
    frames = engine.frames({"loss_reason": [{"loss_reason_id": "r", "name": name}]})
    assert collect({"r": loss_categories(frames)})["r"]["category"].to_list() == [category]


@on_every_engine
def test_what_people_set_wins(engine):
    meant = pl.DataFrame({"account_id": ["main"], "loss_reason_id": ["r"], "category": ["service"]})
    frames = engine.frames(
        {"loss_reason": [{"loss_reason_id": "r", "name": "Дорого"}]}, user_set={"loss_reason": meant}
    )
    assert collect({"r": loss_categories(frames)})["r"]["category"].to_list() == ["service"]
