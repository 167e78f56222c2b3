"""Sales on every basis that has rows: deals won, payments, invoices paid, shipments."""

import polars as pl

from metrics.marts.facts import Facts, value_at
from metrics.marts.money import in_base
from metrics.marts.stages import amount_changes, owner_changes

COLUMNS = {
    "sale_id": pl.String(),
    "basis": pl.String(),
    "client_id": pl.String(),
    "deal_id": pl.String(),
    "user_id": pl.String(),
    "sold_at": pl.Datetime("us", "UTC"),
    "amount_minor": pl.Int64(),
    "valid_from": pl.Datetime("us", "UTC"),
    "valid_until": pl.Datetime("us", "UTC"),
}
LINKS = ["deal_id", "contact_id", "company_id"]


def sales(facts: Facts, won: pl.DataFrame, deals: pl.DataFrame, members: pl.DataFrame) -> pl.DataFrame:
    """`sale` without account and wall times. A sale nobody dated is left out: it belongs to no period.

    Args:
        won: `sales_won` of all deals. deals: deal_id, client_id, responsible_user_id.
    """
    documents = [_payments(facts), _invoices(facts), _shipments(facts)]
    linked = _linked(pl.concat(documents, how="diagonal_relaxed"), deals, members)
    found = pl.concat([won, linked], how="diagonal_relaxed").filter(pl.col("sold_at").is_not_null())
    dated = found.with_columns(day=pl.col("sold_at").dt.convert_time_zone(facts.tz).dt.date())
    return (
        in_base(dated, facts, day="day")
        .with_columns(valid_from=pl.coalesce("valid_from", "sold_at"))
        .select(pl.col(name).cast(kind) for name, kind in COLUMNS.items())
        .sort("sold_at", "sale_id")
    )


def sales_won(facts: Facts, deals: pl.DataFrame, run: pl.DataFrame) -> pl.DataFrame:
    """Each run of won stages of a deal; one that was left again was a sale until then."""
    sold = run.filter(pl.col("outcome") == "won").join(
        deals.filter(pl.col("entity_kind") == "deal").select(
            "deal_id", "client_id", "currency", "amount_minor", user_id="responsible_user_id"
        ),
        on="deal_id",
    )
    return sold.select(
        "deal_id",
        "client_id",
        "currency",
        pl.format("{}#{}", "deal_id", "first_n").alias("sale_id"),
        value_at(sold, amount_changes(facts), instant="entered_at", was="from_minor", now="amount_minor"),
        value_at(sold, owner_changes(facts), instant="entered_at", was="from_user_id", now="user_id"),
        basis=pl.lit("won_deal"),
        sold_at="entered_at",
        valid_from="begun_at",
        valid_until="left_at",
    )


def _payments(facts: Facts) -> pl.DataFrame:
    """Money that came in; refunds are negative. What a customer bought, the cards of that customer bought."""
    rows = facts.alive(
        "payment",
        ["payment_id", "paid_at", "amount_minor", "currency", "direction", "is_planned", "customer_id", *LINKS],
        at="paid_at",
    )
    customers = facts.rows("customer", ["customer_id", "contact_id", "company_id"])
    named = rows.join(customers, on="customer_id", how="left", suffix="_of_customer").with_columns(
        pl.coalesce(card, f"{card}_of_customer") for card in ("contact_id", "company_id")
    )
    return named.filter(pl.col("direction") == "income", ~pl.col("is_planned").fill_null(False)).select(
        *LINKS, "amount_minor", "currency", sale_id="payment_id", sold_at="paid_at", basis=pl.lit("payment")
    )


def _invoices(facts: Facts) -> pl.DataFrame:
    """Paid invoices, on the day of their last payment, else at the midnight of the day they were issued.

    One on several deals is a sale of the first of them: money must not be counted twice.
    """
    invoices = facts.alive(
        "invoice",
        ["invoice_id", "issued_on", "amount_minor", "currency", "status", *LINKS],
        at="issued_on",
    )
    named = facts.rows("deal_invoice", ["deal_id", "invoice_id"])
    of_deals = named.group_by("invoice_id").agg(linked_id=pl.col("deal_id").min())
    invoices = invoices.join(of_deals, on="invoice_id", how="left").with_columns(
        deal_id=pl.coalesce("deal_id", "linked_id")
    )
    payments = facts.rows("payment", ["invoice_id", "paid_at", "deleted_at"]).filter(~facts.is_deleted())
    paid = payments.group_by("invoice_id").agg(paid_at=pl.col("paid_at").max())
    issued_at = (
        pl.col("issued_on")
        .cast(pl.Datetime("us"))
        .dt.replace_time_zone(facts.tz, ambiguous="earliest", non_existent="null")
        .dt.convert_time_zone("UTC")
    )
    return (
        invoices.filter(pl.col("status") == "paid")
        .join(paid, on="invoice_id", how="left")
        .filter((pl.col("paid_at") <= facts.as_of).fill_null(True))  # it was not paid yet
        .select(
            *LINKS,
            "amount_minor",
            "currency",
            sale_id="invoice_id",
            sold_at=pl.coalesce("paid_at", issued_at),
            basis=pl.lit("invoice_paid"),
        )
    )


def _shipments(facts: Facts) -> pl.DataFrame:
    """Shipments, and returns as negative ones."""
    rows = facts.alive(
        "sales_doc", ["doc_id", "kind", "doc_at", "amount_minor", "currency", "user_id", *LINKS], at="doc_at"
    )
    is_return = pl.col("kind") == "return"
    return rows.filter(pl.col("kind").is_in(["shipment", "return"])).select(
        *LINKS,
        "currency",
        "user_id",
        amount_minor=pl.when(is_return).then(-pl.col("amount_minor").abs()).otherwise("amount_minor"),
        sale_id="doc_id",
        sold_at="doc_at",
        basis=pl.lit("shipment"),
    )


def _linked(documents: pl.DataFrame, deals: pl.DataFrame, members: pl.DataFrame) -> pl.DataFrame:
    """Documents with client (of the deal, else of the card named) and user (of the document, else of the deal)."""
    of_deal = deals.select("deal_id", deal_client="client_id", deal_user="responsible_user_id", alive_id="deal_id")
    cards = members.select("entity_id", "client_id")
    return (
        documents.join(of_deal, on="deal_id", how="left")
        .join(cards.rename({"client_id": "company_client"}), left_on="company_id", right_on="entity_id", how="left")
        .join(cards.rename({"client_id": "contact_client"}), left_on="contact_id", right_on="entity_id", how="left")
        .with_columns(
            client_id=pl.coalesce("deal_client", "company_client", "contact_client"),
            user_id=pl.coalesce("user_id", "deal_user"),
            deal_id="alive_id",
        )
    )
