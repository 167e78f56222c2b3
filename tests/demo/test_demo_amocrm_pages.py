"""The cards as pages: where the links of the dashboard lead."""

import pytest


def page(client, path):
    answer = client.http.get(path)
    assert answer.headers["content-type"].startswith("text/html")
    return answer


@pytest.fixture
def lead(client):
    """An open deal with a contact of its own."""
    contact = client.mutate(op="create", entity="contacts", name="Мария <b>Ким</b>", phones=["+7 916 000-00-01"])["id"]
    order = {"op": "create", "entity": "leads", "name": "Окна & двери", "price": 120_000, "contact_ids": [contact]}
    return client.mutate(**order)["id"], contact


def test_a_deal_says_its_stage_price_and_owner_and_leads_to_its_contact(client, company, lead):
    deal, contact = lead
    text = page(client, f"/leads/detail/{deal}").text
    owner = company.users[0].name
    facts = ("Окна &amp; двери", "Первичный контакт", "120\u00a0000 ₽", owner)
    for word in (*facts, f'href="/contacts/detail/{contact}"'):
        assert word in text


def test_a_contact_says_its_phones_and_what_was_said_last(client, lead):
    deal, contact = lead
    client.mutate(op="call", entity="contacts", id=contact, duration=125)
    text = page(client, f"/contacts/detail/{contact}").text
    for word in ("+7 916 000-00-01", "разговор 2:05", f'href="/leads/detail/{deal}"'):
        assert word in text
    assert "разговор 2:05" in page(client, f"/leads/detail/{deal}").text


def test_names_are_text_never_markup(client, lead):
    answer = page(client, f"/contacts/detail/{lead[1]}")
    assert "&lt;b&gt;Ким" in answer.text
    assert "<b>" not in answer.text
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")


def test_every_card_of_the_company_has_a_page(client, company):
    cards = {"leads": company.deals, "contacts": company.contacts, "companies": company.firms}
    for entity, rows in cards.items():
        for row in rows[:20]:
            assert page(client, f"/{entity}/detail/{row.id}").status_code == (404 if row.deleted_at else 200)


@pytest.mark.parametrize("path", ["/leads/detail/1", "/customers/detail/1"])
def test_a_card_that_is_no_more_is_a_sentence(client, path):
    answer = page(client, path)
    assert answer.status_code == 404
    assert "Карточки нет" in answer.text
