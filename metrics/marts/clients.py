"""Who is one client: cards joined by merges (R-MERGE) and by company (R-CLIENT)."""

from collections.abc import Iterable

import polars as pl

from metrics.marts.facts import Facts


def merge_roots(links: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Every merged card and the card all of it ended in. A cycle is broken at its smallest id."""
    into = dict(links)
    return {card: _end_of(card, into) for card in into}


def _end_of(card: str, into: dict[str, str]) -> str:
    path = [card]
    while path[-1] in into:
        following = into[path[-1]]
        if following in path:
            return min(path[path.index(following) :])
        path.append(following)
    return path[-1]


def client_members(facts: Facts) -> pl.DataFrame:
    """One row per card visible at `as_of`.

    Returns:
        entity_id, entity_kind (contact, company, deal, lead), client_id (null where the grain leaves it without),
        responsible_user_id, created_at, is_deleted.
    """
    cards, roots = _cards(facts), _roots(facts)
    rooted = cards.join(roots, on="entity_id", how="left", maintain_order="left").with_columns(
        root_id=pl.coalesce("root_id", "entity_id")
    )
    companies = rooted.filter(pl.col("entity_kind") == "company", ~pl.col("is_ours"))
    alive = companies.filter(~pl.col("is_deleted")).select(company_root="root_id").unique()
    company_of = companies.select(company_id="entity_id", company_root="root_id").join(alive, on="company_root")
    own = rooted.join(company_of, on="company_id", how="left", maintain_order="left")
    contact_clients = _contact_clients(own.filter(pl.col("entity_kind") == "contact"), facts)
    return (
        own.join(contact_clients, left_on="main_contact_id", right_on="entity_id", how="left", maintain_order="left")
        .join(
            contact_clients.rename({"contact_client": "root_client"}),
            left_on="root_id",
            right_on="entity_id",
            how="left",
            maintain_order="left",
        )
        .with_columns(client_id=_client(facts))
        .select("entity_id", "entity_kind", "client_id", "responsible_user_id", "created_at", "is_deleted")
    )


def _client(facts: Facts) -> pl.Expr:
    """R-CLIENT of one card, from its company and its contact's client. A company of the account's own is nobody's."""
    is_contact, is_company = pl.col("entity_kind") == "contact", pl.col("entity_kind") == "company"
    firm = pl.when(~pl.col("is_ours")).then("root_id")
    self_if_company = pl.when(pl.col("root_id").str.starts_with("company:")).then("root_id")
    match facts.params.client_grain:
        case "company_else_contact":
            linked = pl.coalesce("company_root", "contact_client", "root_client", "root_id")
        case "contact":
            linked = pl.coalesce("contact_client", "root_client", "company_root", "root_id")
        case "company":
            linked = pl.coalesce("company_root", "contact_client", "root_client", self_if_company)
    return pl.when(is_contact).then("root_client").when(is_company).then(firm).otherwise(linked)


def _contact_clients(contacts: pl.DataFrame, facts: Facts) -> pl.DataFrame:
    """entity_id of a contact and contact_client: the company of the card it was merged into, else its own, else it."""
    by_root = contacts.filter(pl.col("entity_id") == pl.col("root_id")).select("root_id", root_company="company_root")
    company = pl.coalesce("root_company", "company_root")
    match facts.params.client_grain:
        case "company_else_contact":
            client = pl.coalesce(company, "root_id")
        case "contact":
            client = pl.col("root_id")
        case "company":
            client = company
    return contacts.join(by_root, on="root_id", how="left").select("entity_id", contact_client=client)


def _roots(facts: Facts) -> pl.DataFrame:
    links = facts.rows("merge_link", ["from_id", "into_id"], at="merged_at").sort("from_id", "into_id")
    roots = merge_roots(links.iter_rows()) if facts.params.merge_mode == "retro" else {}
    return pl.DataFrame(
        {"entity_id": list(roots), "root_id": list(roots.values())},
        schema={"entity_id": pl.String, "root_id": pl.String},
    )


CARD = ["responsible_user_id", "created_at", "deleted_at"]


def _cards(facts: Facts) -> pl.DataFrame:
    """Every card, those named by others but not on hand included.

    Returns:
        entity_id, entity_kind, company_id, main_contact_id, responsible_user_id, created_at, is_deleted, is_ours (a
        company that is the account's own).
    """
    companies = facts.rows("company", ["company_id", "is_my_company", *CARD], at="created_at").rename(
        {"company_id": "entity_id", "is_my_company": "is_ours"}
    )
    contacts = facts.rows("contact", ["contact_id", "company_id", *CARD], at="created_at").rename(
        {"contact_id": "entity_id"}
    )
    known = pl.concat(
        [
            companies.with_columns(entity_kind=pl.lit("company")),
            contacts.with_columns(entity_kind=pl.lit("contact")),
            _deals(facts),
        ],
        how="diagonal",
    )
    is_of_later = pl.col("company_id").is_in(_made_later(facts, "company"))
    linked = known.with_columns(company_id=pl.when(~is_of_later).then("company_id"))
    return (
        pl.concat([linked, _only_named(linked, facts)], how="diagonal")
        .unique("entity_id", keep="first", maintain_order=True)
        .with_columns(is_deleted=facts.is_deleted(), is_ours=pl.col("is_ours").fill_null(False))
        .drop("deleted_at")
    )


def _made_later(facts: Facts, kind: str) -> pl.Series:
    """Ids of contacts or companies that were made after `as_of`: no card was linked to them then."""
    made = facts.rows(kind, [f"{kind}_id", "created_at"])
    return made.filter(pl.col("created_at") > facts.as_of)[f"{kind}_id"].implode()


def _deals(facts: Facts) -> pl.DataFrame:
    """Deals as cards; the main contact is the one marked so, else the first of the list."""
    deals = facts.rows("deal", ["deal_id", "entity_kind", "company_id", "main_contact_id", *CARD], at="created_at")
    later = _made_later(facts, "contact")
    listed = (
        facts.rows("deal_contact", ["deal_id", "contact_id", "is_main", "position"])
        .filter(~pl.col("contact_id").is_in(later))
        .sort(pl.col("is_main").fill_null(False), "position", "contact_id", descending=[True, False, False])
        .group_by("deal_id", maintain_order=True)
        .agg(first_contact_id=pl.col("contact_id").first())
    )
    return (
        deals.join(listed, on="deal_id", how="left", maintain_order="left")
        .with_columns(main_contact_id=pl.when(~pl.col("main_contact_id").is_in(later)).then("main_contact_id"))
        .with_columns(main_contact_id=pl.coalesce("main_contact_id", "first_contact_id"))
        .drop("first_contact_id")
        .rename({"deal_id": "entity_id"})
    )


def _only_named(known: pl.DataFrame, facts: Facts) -> pl.DataFrame:
    """Contacts and companies that other cards or merges name but whose own rows are not on hand."""
    links = facts.rows("merge_link", ["from_id", "into_id"], at="merged_at")
    named = pl.concat(
        [
            known.select(entity_id="company_id", created_at="created_at"),
            known.select(entity_id="main_contact_id", created_at="created_at"),
            links.select(entity_id="from_id", created_at=pl.lit(None, known.schema["created_at"])),
            links.select(entity_id="into_id", created_at=pl.lit(None, known.schema["created_at"])),
        ]
    )
    return (
        named.filter(pl.col("entity_id").is_not_null())
        .join(known, on="entity_id", how="anti")
        .group_by("entity_id")
        .agg(pl.col("created_at").min())
        .with_columns(entity_kind=pl.col("entity_id").str.extract(r"^([a-z]+):").fill_null("unknown"))
        .sort("entity_id")
    )


def clients(members: pl.DataFrame) -> pl.DataFrame:
    """One row per client: client_id, kind, responsible_user_id (the root's), created_at (the earliest member's),
    is_deleted (all its cards are)."""
    is_root = pl.col("entity_id") == pl.col("client_id")
    return (
        members.filter(pl.col("client_id").is_not_null())
        .sort("created_at", "entity_id", nulls_last=True)
        .group_by("client_id")
        .agg(
            root_user_id=pl.col("responsible_user_id").filter(is_root).first(),
            first_user_id=pl.col("responsible_user_id").drop_nulls().first(),
            n_cards=pl.col("entity_id").filter(_is_card()).len(),
            is_card_alive=(~pl.col("is_deleted")).filter(_is_card()).any(),
            is_any_alive=(~pl.col("is_deleted")).any(),
            created_at=pl.col("created_at").min(),
        )
        .with_columns(
            kind=_kind(),
            responsible_user_id=pl.coalesce("root_user_id", "first_user_id"),
            is_deleted=~pl.when(pl.col("n_cards") > 0).then("is_card_alive").otherwise("is_any_alive"),
        )
        .select("client_id", "kind", "responsible_user_id", "created_at", "is_deleted")
        .sort("client_id")
    )


def _is_card() -> pl.Expr:
    """Contacts and companies; a deal is its own client only where it has neither."""
    return pl.col("entity_kind").is_in(["contact", "company"])


def _kind() -> pl.Expr:
    prefix = pl.col("client_id").str.extract(r"^([a-z]+):")
    return pl.when(prefix.is_in(["company", "contact"])).then(prefix).otherwise(pl.lit("lead"))
