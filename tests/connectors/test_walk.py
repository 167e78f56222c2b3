"""What becomes of an object of a list, whatever the source."""

import pytest

from connectors.records import Notice, RawRecord, User
from connectors.walk import Walk, mapped


def user(item, walk, raw_hash):
    yield User(
        account_id=walk.account_id, raw_hash=raw_hash, user_id=f"user:{item['id']}", name=item["name"], is_active=True
    )


@pytest.mark.parametrize("item", [{"name": "Ivan"}, {"id": None, "name": "Ivan"}], ids=["absent", "null"])
def test_an_object_without_an_id_is_kept_raw_and_told(item):
    walk = Walk(account_id="main")
    raw, *records = mapped(item, "users", user, walk)
    assert isinstance(raw, RawRecord)
    assert records == []
    (notice,) = walk.conclusions()
    assert (type(notice), notice.n, notice.is_unknown) == (Notice, 1, True)
    assert "no id" in str(notice.text)


def test_an_object_with_an_id_is_kept_raw_and_mapped():
    walk = Walk(account_id="main")
    raw, record = mapped({"id": 0, "name": "Ivan"}, "users", user, walk)
    assert (raw.native_id, record.user_id) == ("0", "user:0")
    assert list(walk.conclusions()) == []
