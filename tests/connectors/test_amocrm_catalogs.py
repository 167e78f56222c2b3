"""Catalogs: products, invoices, which of them are on deals, and fields of their own."""

from collections import Counter
from datetime import date

import pytest
from amo_demo import DAY, Crm, rows
from amo_fake import (
    ACCOUNT_BODY,
    FIRST,
    LONG_LIVED,
    NOTHING,
    SEPTEMBER_S,
    amo,
    custom,
    lead,
    of,
    page,
    problem,
    read,
    rows_of,
)
from demo_crm import DemoCrm, look

from connectors.connector import Window
from connectors.records import (
    DealInvoice,
    DealItem,
    FieldDef,
    FieldEnum,
    FieldValue,
    Invoice,
    Listing,
    Notice,
    Product,
    RawRecord,
    Reread,
)
from demo import catalogs

CATALOGS, LEADS = "/api/v4/catalogs", "/api/v4/leads"
THREE = page(
    "catalogs", {"id": 5601, "type": "products"}, {"id": 5602, "type": "invoices"}, {"id": 5603, "type": "regular"}
)
PRICE = custom("price", {"value": "45000"}, code="PRICE", field_id=790002)


def elements(catalog_id: int) -> str:
    return f"{CATALOGS}/{catalog_id}/elements"


def element(native_id: int, *fields, **changes):
    return {
        "id": native_id,
        "name": "Окно",
        "created_at": SEPTEMBER_S - 3600,
        "updated_at": SEPTEMBER_S,
        "is_deleted": None,
        "custom_fields_values": list(fields) or None,
        **changes,
    }


def account_with(*products, invoices=(), others=(), leads=(), **more):
    """An API whose account has these elements and deals; empty lists are 204."""
    lists = {elements(5601): products, elements(5602): invoices, elements(5603): others}
    answers = {path: [page("elements", *rows), NOTHING] if rows else NOTHING for path, rows in lists.items()}
    return amo({CATALOGS: THREE, **answers, LEADS: page("leads", *leads), **more.pop("answers", {})}, **more)


def product(*fields, settings=LONG_LIVED, **changes) -> Product:
    api, _ = account_with(element(1, *fields, **changes), settings=settings)
    return of(Product, read(api, "catalogs"))[0]


def invoice(*fields, **changes) -> tuple[Invoice, list[Notice]]:
    api, _ = account_with(invoices=[element(1, *fields, **changes)])
    yielded = read(api, "catalogs")
    return of(Invoice, yielded)[0], of(Notice, yielded)


def on_deal(*linked, catalogs=True, **account) -> list:
    """What a deal with these elements yields: each is (element, catalog, quantity, price field)."""
    named = [
        {"id": n, "metadata": {"catalog_id": catalog, "quantity": quantity, "price_id": price}}
        for n, catalog, quantity, price in linked
    ]
    api, _ = account_with(element(1, PRICE), leads=[lead(7, _embedded={"catalog_elements": named})], **account)
    if catalogs:
        read(api, "catalogs")
    return read(api, "leads", FIRST)


def test_a_product_is_known_by_codes_of_its_fields_else_by_their_types():
    sku, unit = custom("text", {"value": "W-1"}, code="SKU"), custom("text", {"value": "шт"}, field_id=9)
    group = custom("category", {"value": "Окна", "enum_id": 1200}, field_id=790003)
    row = product(sku, group, unit, settings=LONG_LIVED.model_copy(update={"unit_field_id": 9}))
    assert (row.product_id, row.name, row.sku, row.category, row.unit) == ("element:1", "Окно", "W-1", "Окна", "шт")
    own = custom("text", {"value": "А-7"}, field_id=8)
    assert product(sku, own, settings=LONG_LIVED.model_copy(update={"sku_field_id": 8})).sku == "А-7"
    bare = product(name=None)
    assert (bare.name, bare.sku, bare.category, bare.unit, bare.cost_minor) == ("#1", None, None, None, None)


def test_elements_keep_their_custom_values_as_cards_do():
    api, _ = account_with(element(1, PRICE), invoices=[element(2, PRICE)])
    kept = [(row.entity_id, row.entity_kind, row.value_num) for row in rows_of(FieldValue, read(api, "catalogs"))]
    assert kept == [("element:1", "product", 45000), ("invoice:2", "invoice", 45000)]


def test_a_deleted_element_stays_marked():
    assert product(is_deleted=True).deleted_at is not None
    assert product(is_deleted=False).deleted_at is None


def test_elements_of_other_catalogs_are_kept_raw_only():
    api, _ = account_with(others=[element(3)])
    yielded = read(api, "catalogs")
    assert [raw.native_id for raw in of(RawRecord, yielded) if raw.entity == "catalogs/elements"] == ["3"]
    assert not of(Product, yielded)


def test_an_invoice_is_dated_by_the_accounts_day_and_says_what_is_to_be_paid():
    lines = custom("items", {"value": {"total_sum": 7}}, code="ITEMS")
    evening = SEPTEMBER_S - 2 * 3600  # after midnight in Moscow
    row, notices = invoice(
        custom("numeric", {"value": "128250,50"}, code="BILL_PRICE"), lines, name="Счёт 5", created_at=evening
    )
    assert (row.invoice_id, row.number, row.issued_on) == ("invoice:1", "Счёт 5", date(2026, 9, 1))
    assert (row.amount_minor, row.currency, row.deal_id) == (12825050, "RUB", None)
    assert [notice.is_unknown for notice in notices] == [True]  # of its status, which it does not say


def test_the_lines_of_an_invoice_make_its_amount_where_it_says_none():
    lines = [{"total_sum": "128250"}, {"unit_price": 100.5, "quantity": 3}]
    row, _ = invoice(custom("items", *({"value": line} for line in lines), code="ITEMS"))
    assert row.amount_minor == 12825000 + 30150
    row, notices = invoice()
    assert row.amount_minor == 0
    assert any("without an amount" in notice.text for notice in notices)


@pytest.mark.parametrize(
    ("code", "status", "is_told"),
    [
        ("created", "issued", False),
        ("paid", "paid", False),
        ("partially_paid", "partially_paid", False),
        ("paid_in_advance", "paid", False),
        ("on_hold", "unknown", True),
    ],
)
def test_the_status_of_an_invoice_is_the_code_of_an_option(code, status, is_told):
    price = custom("numeric", {"value": 1}, code="BILL_PRICE")
    row, notices = invoice(price, custom("select", {"value": "…", "enum_id": 1, "enum_code": code}, code="BILL_STATUS"))
    assert row.status == status
    assert [notice.is_unknown for notice in notices] == [True] * is_told


@pytest.mark.parametrize(
    ("named", "cards"),
    [
        ({"entity_id": 5, "entity_type": "companies"}, (None, "company:5")),
        ({"entity_id": 5, "entity_type": "contacts"}, ("contact:5", None)),
        ({"name": "ООО Ромашка", "entity_id": None, "entity_type": "companies"}, (None, None)),
        ({"entity_id": 5, "entity_type": "leads"}, (None, None)),
        ("ООО Ромашка", (None, None)),
    ],
)
def test_the_payer_may_be_a_card(named, cards):
    row, _ = invoice(custom("payer", {"value": named}, code="PAYER"))
    assert (row.contact_id, row.company_id) == cards


def test_products_of_a_deal_have_the_price_of_today():
    line = rows_of(DealItem, on_deal((1, 5601, 2.5, None)))[0]
    assert (line.deal_id, line.product_id, line.qty) == ("lead:7", "element:1", 2.5)
    assert (line.price_minor, line.sum_minor, line.price_is_current) == (4500000, 11250000, True)
    assert rows_of(DealItem, on_deal((1, 5601, 1, 790002)))[0].price_minor == 4500000


@pytest.mark.parametrize("linked", [(1, 5601, 1, 777), (9, 5601, 1, None)])
def test_a_price_nobody_told_is_null(linked):
    line = rows_of(DealItem, on_deal(linked))[0]
    assert (line.price_minor, line.sum_minor, line.price_is_current) == (None, None, False)


def test_invoices_on_a_deal_are_no_products_and_elements_of_other_lists_neither():
    yielded = on_deal((1, 5601, 1, None), (2, 5602, 1, None), (3, 5603, 1, None))
    assert [row.product_id for row in rows_of(DealItem, yielded)] == ["element:1"]
    assert [(row.deal_id, row.invoice_id) for row in rows_of(DealInvoice, yielded)] == [("lead:7", "invoice:2")]


def test_without_catalogs_the_settings_of_the_account_tell_invoices_from_products():
    body = {**ACCOUNT_BODY, "invoices_settings": {"invoices_catalog_id": 5602}}
    yielded = on_deal((1, 5601, 1, None), (2, 5602, 1, None), catalogs=False, account_body=body)
    assert [(row.product_id, row.price_minor) for row in rows_of(DealItem, yielded)] == [("element:1", None)]
    assert [row.invoice_id for row in rows_of(DealInvoice, yielded)] == ["invoice:2"]


def waiting_deals(api) -> list[tuple[str, ...]]:
    """Deals that a reading of the catalogs wants to be read again."""
    return [asked.ids for asked in of(Reread, read(api, "catalogs"))]


def test_deals_read_before_their_products_are_read_again_once_these_are_known(tmp_path):
    linked = {"catalog_elements": [{"id": n, "metadata": {"catalog_id": 5601, "quantity": 1}} for n in (1, 9)]}
    answers = {"leads": [lead(7, _embedded=linked)], "state_dir": tmp_path}
    api, _ = account_with(**answers)
    read(api, "leads", FIRST)

    def later(*products):
        """Another run."""
        return account_with(*products, **answers)[0]

    assert waiting_deals(later(element(2, PRICE))) == []  # a catalog without them says nothing new
    api = later(element(1, PRICE))
    assert waiting_deals(api) == [("7",)]
    (line, _) = rows_of(DealItem, read(api, "leads", Window("ids", ids=("7",))))
    assert line.price_minor == 4500000
    assert waiting_deals(later(element(1, PRICE))) == []
    assert waiting_deals(later(element(1, PRICE), element(9, PRICE))) == [("7",)]


def test_prices_appear_on_deals_of_a_first_sync_without_catalogs(tmp_path):
    crm = Crm()
    priced = "SELECT count(*) > 0, bool_and(price_minor IS NOT NULL) FROM deal_item"
    assert crm.synced(tmp_path, resources=["leads"]).is_well
    assert rows(tmp_path, f"{priced} HAVING bool_or(price_minor IS NOT NULL)") == []
    crm.passes(DAY)
    assert crm.synced(tmp_path).is_well
    assert rows(tmp_path, priced) == [(True, True)]


@pytest.mark.parametrize("metadata", [[], None, {"quantity": None}, {"quantity": "много"}])
def test_a_product_without_a_quantity_is_one(metadata):
    embedded = {"catalog_elements": [{"id": 1, "metadata": metadata}]}
    api, _ = account_with(leads=[lead(7, _embedded=embedded)])
    yielded = read(api, "leads", FIRST)
    assert [row.qty for row in rows_of(DealItem, yielded)] == [1]
    assert "without a quantity" in of(Notice, yielded)[0].text


def test_catalogs_may_come_on_several_pages():
    kinds = ("products", "invoices", "regular")
    listed = [page("catalogs", {"id": 5601 + n, "type": kind}, has_next=n < 2) for n, kind in enumerate(kinds)]
    api, _ = account_with(
        element(1),
        invoices=[element(2)],
        answers={CATALOGS: listed},
        settings=LONG_LIVED.model_copy(update={"page_size": 1}),
    )
    yielded = read(api, "catalogs")
    assert [raw.native_id for raw in of(RawRecord, yielded) if raw.entity == "catalogs"] == ["5601", "5602", "5603"]
    assert (len(of(Product, yielded)), len(of(Invoice, yielded))) == (1, 1)


@pytest.mark.parametrize("catalogs_are_paged", [True, False])
def test_all_catalogs_of_the_demo_are_read_whether_they_come_in_pages_or_not(tmp_path, catalogs_are_paged):
    crm = Crm(catalogs_are_paged=catalogs_are_paged)
    listed = [
        raw.native_id for raw in of(RawRecord, crm.read(tmp_path, "catalogs", page_size=1)) if raw.entity == "catalogs"
    ]
    assert listed == [str(row.id) for row in catalogs.CATALOGS]


def test_what_a_whole_catalog_lacks_is_removed_and_an_empty_one_says_nothing():
    api, _ = account_with(element(1), element(2))
    listed = {listing.kind: listing.keys for listing in of(Listing, read(api, "catalogs"))}
    assert listed == {Product: {("element:1",), ("element:2",)}}


def test_of_a_catalog_that_is_refused_nothing_is_concluded():
    two = page("catalogs", {"id": 5601, "type": "products"}, {"id": 5604, "type": "products"})
    refused = {CATALOGS: two, elements(5604): problem(403, title="Forbidden")}
    api, _ = account_with(element(1), answers=refused)
    yielded = read(api, "catalogs")
    assert [row.product_id for row in of(Product, yielded)] == ["element:1"]
    assert "left out" in of(Notice, yielded)[0].text
    assert not of(Listing, yielded)


def test_a_list_that_shifts_while_it_is_walked_loses_no_element():
    api, _ = account_with(
        answers={
            elements(5601): [
                page("elements", element(1), element(2)),
                page("elements", element(4)),  # 1 was deleted meanwhile, so 3 has moved to the page before
                NOTHING,
                page("elements", element(2), element(3)),
                page("elements", element(4)),
                NOTHING,
            ]
        },
        settings=LONG_LIVED.model_copy(update={"page_size": 2}),
    )
    assert {row.product_id for row in of(Product, read(api, "catalogs"))} == {f"element:{n}" for n in (1, 2, 3, 4)}


@pytest.mark.parametrize("status", [402, 403, 404])
def test_catalogs_that_are_refused_stop_nothing_and_are_told(status):
    api, _ = account_with(answers={CATALOGS: problem(status, title="No")}, leads=[lead(7)])
    assert "left out" in of(Notice, read(api, "catalogs"))[0].text
    assert read(api, "leads", FIRST)


def test_an_account_without_catalogs_has_nothing_to_tell():
    api, _ = amo()
    assert not read(api, "catalogs")


def test_fields_belong_to_what_they_are_fields_of():
    words = ("leads", "customers", "customers/segments", "catalogs/5601", "catalogs/5602", "catalogs/5603")
    definitions = {
        f"/api/v4/{word}/custom_fields": page("custom_fields", {"id": n, "name": word, "type": "text"})
        for n, word in enumerate(words, 1)
    }
    group = {"id": 4, "name": "Группа", "type": "category", "nested": [{"id": 1200, "value": "Окна", "sort": 0}]}
    definitions["/api/v4/catalogs/5601/custom_fields"] = page("custom_fields", group)
    api, _ = account_with(answers=definitions, account_body={**ACCOUNT_BODY, "customers_mode": "segments"})
    read(api, "catalogs")
    yielded = read(api, "fields")
    kinds = {row.field_id: row.entity_kind for row in of(FieldDef, yielded)}
    assert list(kinds.values()) == ["deal", "customer", "unknown", "product", "invoice", "unknown"]
    assert [row.name for row in rows_of(FieldEnum, yielded)] == ["Окна"]
    among = {listing.among[1] for listing in of(Listing, yielded)}
    assert among == {"deal", "customer", "product", "invoice"}


def test_fields_of_customers_are_asked_for_where_there_are_customers():
    api, server = amo()
    read(api, "fields")
    assert not [request for request in server.requests if "customers" in request.url.path]


def test_roles_and_tags_are_kept_raw():
    api, _ = amo({"/api/v4/roles": page("roles", {"id": 1}), "/api/v4/leads/tags": page("tags", {"id": 2})})
    kept = [(raw.entity, raw.native_id) for name in ("roles", "tags") for raw in read(api, name)]
    assert kept == [("roles", "1"), ("leads/tags", "2")]


def test_types_of_events_are_kept_raw_by_their_names():
    api, _ = amo(
        {"/api/v4/events/types": page("events_types", {"key": "lead_added", "type": 1, "lang": "Новая сделка"})}
    )
    kept = [(raw.entity, raw.native_id) for raw in of(RawRecord, read(api, "event_types"))]
    assert kept == [("events/types", "lead_added")]


@pytest.mark.parametrize("name", ["roles", "tags", "event_types"])
def test_dictionaries_that_may_not_be_read_are_told(name):
    refused = problem(403, title="Forbidden")
    paths = ("roles", "leads/tags", "contacts/tags", "companies/tags", "events/types")
    api, _ = amo({f"/api/v4/{path}": refused for path in paths})
    assert {type(thing) for thing in read(api, name)} == {Notice}


def test_a_whole_sync_finds_the_planted_lines_invoices_and_links(small_company, data_dir):
    crm = DemoCrm(small_company)
    assert crm.sync(data_dir).is_well
    living = {deal.id: deal for deal in small_company.deals if not deal.deleted_at}
    prices = {product.id: product.price for product in small_company.products}
    worth = sum(prices[product_id] * n for deal in living.values() for product_id, n in deal.items)
    assert look(data_dir, "SELECT sum(sum_minor), bool_and(price_is_current) FROM deal_item") == [(worth * 100, True)]
    states = Counter(dict(row.values)[catalogs.BILL_STATUS][0] for row in small_company.invoices)
    found = dict(look(data_dir, "SELECT status, count(*) FROM invoice GROUP BY ALL"))
    paid = states[catalogs.PAID] + states[catalogs.IN_ADVANCE]
    assert found == {"issued": states[catalogs.CREATED], "paid": paid, "partially_paid": states[catalogs.PARTLY]}
    billed = sum(amount_of(row) for row in small_company.invoices)
    assert look(data_dir, "SELECT sum(amount_minor) FROM invoice") == [(billed * 100,)]
    of_payers = (
        "SELECT count(*) FROM deal_invoice l JOIN invoice i ON i.invoice_id = l.invoice_id JOIN deal d "
        "ON d.deal_id = l.deal_id WHERE i.company_id = d.company_id OR i.contact_id = d.main_contact_id"
    )
    cards = [row for row in small_company.invoices if row.deal_id in living and names_card(row)]
    assert look(data_dir, of_payers) == [(len(cards),)]


def amount_of(row) -> int:
    values = dict(row.values)
    if catalogs.BILL_PRICE in values:
        return int(values[catalogs.BILL_PRICE][0])
    return sum(line["total_sum"] for line in values[catalogs.ITEMS])


def names_card(row) -> bool:
    payer = dict(row.values).get(catalogs.PAYER)
    return bool(payer and payer[0]["entity_id"])
