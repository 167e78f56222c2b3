"""Users, who may be dismissed but never vanish from their list, and departments.

https://apidocs.bitrix24.ru/api-reference/user/user-get.html
https://apidocs.bitrix24.ru/api-reference/departments/department-get.html
"""

from collections.abc import Iterator
from datetime import datetime

from connectors.bitrix24.reading import Reading, prefixed
from connectors.bitrix24.values import flag, many, moment, ref, text
from connectors.paging import Json
from connectors.records import Department, OwnedSet, User, UserDepartment, Yield


def user_records(user: Json, reading: Reading, raw_hash: str, *, now: datetime) -> Iterator[Yield]:
    """A user and the departments he is in now. Which fields a row has depends on the scope: `user_brief` has no e-mail,
    and where a scope shows no departments, nothing changes."""
    user_id = f"user:{user['ID']}"
    name = " ".join(part for part in (text(user.get("NAME")), text(user.get("LAST_NAME"))) if part)
    yield User(
        account_id=reading.account_id,
        source_updated_at=moment(user.get("TIMESTAMP_X")),
        raw_hash=raw_hash,
        user_id=user_id,
        name=name or text(user.get("EMAIL")) or f"#{user['ID']}",
        email=text(user.get("EMAIL")),
        is_active=flag(user.get("ACTIVE")) is not False,
    )
    if user.get("UF_DEPARTMENT") is not None:
        departments = [number for value in many(user["UF_DEPARTMENT"]) if (number := ref(value))]
        memberships = [
            UserDepartment(
                account_id=reading.account_id,
                raw_hash=raw_hash,
                user_id=user_id,
                department_id=f"department:{number}",
                valid_from=now,
                is_main=position == 0,
            )
            for position, number in enumerate(dict.fromkeys(departments))
        ]
        yield OwnedSet(UserDepartment, reading.account_id, user_id, User, memberships)


def department_records(department: Json, reading: Reading, raw_hash: str) -> Iterator[Yield]:
    """The root has no `PARENT`; a department without a head no `UF_HEAD`."""
    yield Department(
        account_id=reading.account_id,
        raw_hash=raw_hash,
        department_id=f"department:{department['ID']}",
        name=text(department.get("NAME")) or f"#{department['ID']}",
        parent_id=prefixed("department", department.get("PARENT")),
        head_user_id=reading.responsible(department.get("UF_HEAD")),
    )
