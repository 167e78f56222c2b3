"""Comments people write on cards. They are listed card by card only.

https://apidocs.bitrix24.ru/api-reference/crm/timeline/comments/crm-timeline-comment-list.html
"""

from collections.abc import Iterator

from connectors.bitrix24.calls import card_columns
from connectors.bitrix24.reading import Reading, card_id
from connectors.bitrix24.values import moment, text
from connectors.paging import Json, as_object
from connectors.records import Activity, Yield


def comment_records(card: Json, reading: Reading, raw_hash: str) -> Iterator[Yield]:
    """All `comments` of a card, as they were asked for it."""
    owner = card_id(card["entityTypeId"], card["id"])
    columns = card_columns([owner] if owner else [])
    links = {name: columns[name] for name in ("contact_id", "company_id", "deal_id")}
    for comment in map(as_object, card["comments"]):
        written_at = moment(comment.get("CREATED"))
        if written_at is not None:
            yield Activity(
                account_id=reading.account_id,
                raw_hash=raw_hash,
                activity_id=f"comment:{comment['ID']}",
                kind="note",
                done_at=written_at,
                user_id=reading.author(comment.get("AUTHOR_ID")),
                text=text(comment.get("COMMENT")),
                **links,
            )
