"""Clients: who is one (R-CLIENT, R-MERGE), since when, whose; several accounts; the planted truths of the demo."""

from datetime import UTC, datetime, timedelta

import pytest
from demo_tables import demo_tables
from published import canonical

from demo.company import answer_key
from demo.company import build as demo_company
from demo.compare import metrics as compared
from metrics.frames import frames_from
from metrics.marts import MartParams, build
from metrics.marts.clients import merge_roots

BORN = datetime(2026, 4, 1, 9, 0, tzinfo=UTC)
AS_OF = BORN + timedelta(days=30)
ANNA, BORIS = "user:1", "user:2"


def day(n):
    return BORN + timedelta(days=n)


def contact(number, **changes):
    return {"contact_id": f"contact:{number}", "created_at": BORN, "responsible_user_id": ANNA, **changes}


def company(number, **changes):
    return {"company_id": f"company:{number}", "created_at": BORN, "responsible_user_id": BORIS, **changes}


def deal(number=1, **changes):
    known = {"deal_id": f"lead:{number}", "entity_kind": "deal", "created_at": BORN, "currency": "RUB"}
    return {**known, "pipeline_id": "p", "stage_id": "s", "responsible_user_id": ANNA, **changes}


def merged(source, target, at=BORN):
    return {"kind": source.split(":")[0], "from_id": source, "into_id": target, "merged_at": at}


def marts(as_of=AS_OF, params=None, **tables):
    return build(canonical(tables), as_of, params or MartParams())


def owners(as_of=AS_OF, params=None, **tables):
    """Card → client."""
    return dict(marts(as_of, params, **tables)["client_member"].select("entity_id", "client_id").iter_rows())


def test_a_deal_belongs_to_its_company_else_to_its_main_contact_else_to_itself():
    deals = [
        deal(1, company_id="company:1", main_contact_id="contact:1"),
        deal(2, main_contact_id="contact:1"),
        deal(3),
        deal(4),
    ]
    listed = [
        {"deal_id": "lead:4", "contact_id": "contact:2", "is_main": False, "position": 0},
        {"deal_id": "lead:4", "contact_id": "contact:1", "is_main": True, "position": 1},
    ]
    found = owners(company=[company(1)], contact=[contact(1), contact(2)], deal=deals, deal_contact=listed)
    assert found == {
        "company:1": "company:1",
        "contact:1": "contact:1",
        "contact:2": "contact:2",
        "lead:1": "company:1",
        "lead:2": "contact:1",
        "lead:3": "lead:3",
        "lead:4": "contact:1",
    }


def test_a_contact_of_a_company_is_the_company():
    found = owners(
        company=[company(1)], contact=[contact(1, company_id="company:1")], deal=[deal(main_contact_id="contact:1")]
    )
    assert set(found.values()) == {"company:1"}


def test_the_grain_can_be_the_contact_or_the_company():
    tables = {
        "company": [company(1)],
        "contact": [contact(1, company_id="company:1"), contact(2)],
        "deal": [deal(company_id="company:1", main_contact_id="contact:1")],
    }
    by_contact = owners(params=MartParams(client_grain="contact"), **tables)
    assert (by_contact["lead:1"], by_contact["contact:1"]) == ("contact:1", "contact:1")
    by_company = owners(params=MartParams(client_grain="company"), **tables)
    assert (by_company["lead:1"], by_company["contact:1"]) == ("company:1", "company:1")
    assert "contact:2" not in by_company


def test_a_company_that_is_ours_or_gone_is_nobodys_client():
    tables = {"contact": [contact(1, company_id="company:1")]}
    ours = owners(company=[company(1, is_my_company=True)], **tables)
    assert ours == {"contact:1": "contact:1"}
    assert owners(company=[company(1, deleted_at=day(1))], **tables)["contact:1"] == "contact:1"


def test_merges_are_followed_to_the_end_and_back_through_history():
    links = [merged("contact:1", "contact:2", day(5)), merged("contact:2", "contact:3", day(9))]
    tables = {"contact": [contact(2), contact(3)], "deal": [deal(main_contact_id="contact:1")], "merge_link": links}
    assert set(owners(**tables).values()) == {"contact:3"}
    assert owners(as_of=day(6), **tables)["lead:1"] == "contact:2"
    assert owners(params=MartParams(merge_mode="none"), **tables)["lead:1"] == "contact:1"


def test_a_cycle_of_merges_breaks_at_its_smallest_id():
    assert merge_roots([("b", "c"), ("c", "a"), ("a", "b"), ("d", "b")]) == dict.fromkeys("abcd", "a")
    assert merge_roots([("a", "a")]) == {"a": "a"}


def test_a_merged_contact_takes_the_company_of_the_card_it_became():
    contacts = [contact(1, company_id="company:1"), contact(2, company_id="company:2")]
    found = owners(company=[company(1), company(2)], contact=contacts, merge_link=[merged("contact:1", "contact:2")])
    assert found["contact:1"] == "company:2"


def test_a_client_is_as_old_as_his_oldest_card_and_belongs_to_whom_the_root_does():
    contacts = [contact(1, created_at=day(-9), company_id="company:1")]
    client = marts(company=[company(1)], contact=contacts)["client"].row(0, named=True)
    assert (client["created_at"], client["responsible_user_id"], client["kind"]) == (day(-9), BORIS, "company")


def test_a_client_is_gone_when_all_his_cards_are():
    def gone(*contacts):
        return marts(contact=list(contacts), merge_link=[merged("contact:1", "contact:2")])["client"][
            "is_deleted"
        ].item()

    assert not gone(contact(1, deleted_at=day(1)), contact(2))
    assert gone(contact(1, deleted_at=day(1)), contact(2, deleted_at=day(2)))


def test_cards_created_later_are_not_there_yet():
    assert owners(as_of=day(-1), contact=[contact(1)]) == {}


def test_a_company_that_is_named_but_not_on_hand_is_a_client_all_the_same():
    built = marts(deal=[deal(company_id="company:9")])
    assert built["client"].select("client_id", "created_at").rows() == [("company:9", BORN)]


def test_accounts_are_built_apart_each_in_its_own_zone_and_at_its_own_instant():
    accounts = [
        {"account_id": name, "tz": tz, "base_currency": "RUB"}
        for name, tz in (("main", "Europe/Moscow"), ("far", "Asia/Vladivostok"), ("silent", "UTC"))
    ]
    contacts = [{**contact(1), "account_id": one["account_id"]} for one in accounts]
    tables = canonical({"contact": contacts}, accounts=accounts)
    built = build(tables, {"main": AS_OF, "far": BORN - timedelta(1)}, MartParams())
    assert built["client"].select("account_id", "created_local").rows() == [
        ("main", datetime(2026, 4, 1, 12, 0))  # noqa: DTZ001
    ]
    assert set(built["calendar_day"]["account_id"]) == {"main", "far"}


def test_payments_invoices_and_shipments_are_sales_of_their_own_basis():
    money = {"amount_minor": 100, "currency": "RUB"}
    built = marts(
        contact=[contact(1)],
        deal=[deal(main_contact_id="contact:1")],
        payment=[
            {
                "payment_id": "1",
                "deal_id": "lead:1",
                "paid_at": day(1),
                "direction": "income",
                **money,
                "invoice_id": "i",
            },
            {
                "payment_id": "2",
                "contact_id": "contact:1",
                "paid_at": day(2),
                "direction": "income",
                **money,
                "amount_minor": -30,
            },
            {"payment_id": "3", "paid_at": day(3), "direction": "expense", **money},
            {"payment_id": "4", "paid_at": day(3), "direction": "income", "is_planned": True, **money},
        ],
        invoice=[{"invoice_id": "i", "issued_on": day(0).date(), "status": "paid", "contact_id": "contact:1", **money}],
        sales_doc=[
            {"doc_id": f"d:{kind}", "kind": kind, "doc_at": day(4), "contact_id": "contact:1", **money}
            for kind in ("order", "shipment", "return")
        ],
    )
    rows = built["sale"].sort("sale_id").select("sale_id", "basis", "client_id", "sold_at", "amount_minor").rows()
    assert rows == [
        ("1", "payment", "contact:1", day(1), 100),
        ("2", "payment", "contact:1", day(2), -30),
        ("d:return", "shipment", "contact:1", day(4), -100),
        ("d:shipment", "shipment", "contact:1", day(4), 100),
        ("i", "invoice_paid", "contact:1", day(1), 100),
    ]


def test_what_a_customer_bought_its_cards_bought():
    paid = {"paid_at": day(1), "direction": "income", "amount_minor": 100, "currency": "RUB"}
    built = marts(
        contact=[contact(1), contact(2)],
        customer=[{"customer_id": "customer:1", "contact_id": "contact:2", "created_at": BORN}],
        payment=[
            {"payment_id": "1", "customer_id": "customer:1", **paid},
            {"payment_id": "2", "customer_id": "customer:9", **paid},
        ],
    )
    assert built["sale"].sort("sale_id").select("sale_id", "client_id").rows() == [("1", "contact:2"), ("2", None)]


def test_an_invoice_is_a_sale_of_the_first_deal_that_names_it():
    bill = {"issued_on": day(0).date(), "status": "paid", "amount_minor": 100, "currency": "RUB"}
    built = marts(
        contact=[contact(1)],
        deal=[deal(n, main_contact_id="contact:1", responsible_user_id=f"user:{n}") for n in (1, 2)],
        invoice=[{"invoice_id": "i", **bill}],
        deal_invoice=[{"deal_id": f"lead:{n}", "invoice_id": "i"} for n in (1, 2)],
    )
    rows = built["sale"].select("sale_id", "deal_id", "client_id", "user_id").rows()
    assert rows == [("i", "lead:1", "contact:1", "user:1")]


@pytest.mark.parametrize("engine_name", ["polars", "duckdb"])
def test_marts_and_metrics_find_what_was_planted_in_the_demo(engine_name):
    demo = demo_company(scale=0.1)
    tables = {name: frame.collect() for name, frame in demo_tables(demo).items()}
    built = build({name: frame.lazy() for name, frame in tables.items()}, demo.as_of, MartParams())
    account = {"account_id": "main", "tz": demo.tz, "connector": "amocrm", "as_of": demo.as_of}
    frames = frames_from({**tables, **built}, engine_name, [account])
    wrong = {one.what: (one.expected, one.found) for one in compared(answer_key(demo), frames) if not one.is_equal}
    assert wrong == {}
