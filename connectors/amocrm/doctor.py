"""What can be wrong with an amoCRM account before anything is read: the token, its owner's rights, filters, events."""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime

from connectors.amocrm.api import WARN_BEFORE, AmoApi
from connectors.amocrm.settings import AmoSettings
from connectors.auth import expiry
from connectors.connector import Finding
from connectors.errors import ForbiddenError
from connectors.paging import as_list, as_object

Clock = Callable[[], datetime]


def examine(
    api: AmoApi, settings: AmoSettings, *, env: Mapping[str, str], now: Clock = lambda: datetime.now(UTC)
) -> Iterator[Finding]:
    """Findings about one account; the account itself has answered already."""
    if settings.token_env:
        yield from token_end(expiry(env.get(settings.token_env, "")), now())
    yield rights(api)
    yield filters(api)
    yield events(api)


def token_end(expires_at: float | None, now: datetime) -> Iterator[Finding]:
    """When the long-lived token ends, where it says so (it is a JWT). Reference, 1.4 and 1.6."""
    if expires_at is None:
        return
    end = datetime.fromtimestamp(expires_at, UTC)
    yield Finding(
        "token_end",
        end - now > WARN_BEFORE,
        f"Токен действует до {end:%d.%m.%Y}.",
        f"The token is valid until {end:%Y-%m-%d}.",
    )


def rights(api: AmoApi) -> Finding:
    """Whether the token's owner is an administrator: others see only some cards, and no users. Reference, 1.8."""
    me = api.facts.body.get("current_user_id")
    try:
        page = as_object(api.get("/api/v4/users", {"limit": 250}) or {})
    except ForbiddenError:
        page = {}
    users = [as_object(user) for user in as_list(as_object(page.get("_embedded")).get("users"))]
    mine = next((as_object(user.get("rights")) for user in users if user.get("id") == me), None)
    is_admin = bool(users) and (mine is None or bool(mine.get("is_admin")))
    return Finding(
        "rights",
        is_admin,
        "Токен создан администратором: видны все карточки и сотрудники."
        if is_admin
        else "Токен создан не администратором: видны не все карточки и люди. Создайте токен под администратором.",
        "The token belongs to an administrator: all cards and users can be seen."
        if is_admin
        else "The token's owner is no administrator: cards and users may be hidden. Create one as an administrator.",
    )


def filters(api: AmoApi) -> Finding:
    """Whether lists can be filtered by time; without it every sync reads them whole. Reference, 2.5."""
    has = api.facts.has_filters
    return Finding(
        "filters",
        True if has else None,
        "Фильтры API включены." if has else "Фильтры API выключены: каждая загрузка читает списки целиком.",
        "Filters of the API are on." if has else "Filters of the API are off: every sync reads the lists whole.",
    )


def events(api: AmoApi) -> Finding:
    """Whether the log of events can be read: without it there is no history of stages. Reference, 3.14."""
    try:
        has_any = api.get("/api/v4/events", {"limit": 1}) is not None
    except ForbiddenError:
        return Finding(
            "events",
            False,
            "Журнал событий закрыт: истории этапов не будет. Нужны права администратора.",
            "The log of events is closed: there will be no stage history. Administrator rights are needed.",
        )
    return Finding(
        "events",
        True if has_any else None,
        "Журнал событий читается." if has_any else "Журнал событий пуст.",
        "The log of events can be read." if has_any else "The log of events is empty.",
    )
