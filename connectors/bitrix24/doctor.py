"""What can be wrong with a Bitrix24 portal before anything is read: rights, scopes, the address, limits."""

from collections.abc import Iterator, Mapping
from datetime import timezone

from connectors.bitrix24.api import NO_PLACE, BitrixApi, zone_of
from connectors.bitrix24.events import TO_BIND
from connectors.bitrix24.settings import BitrixSettings
from connectors.connector import Finding

WANTED = ("crm", "task", "telephony", "user", "department", "imopenlines", "im", "catalog", "userfieldconfig")
USERS = frozenset({"user", "user_basic", "user_brief"})
"""Each of them lists people, with more or fewer fields."""


def examine(api: BitrixApi, settings: BitrixSettings, *, env: Mapping[str, str]) -> Iterator[Finding]:
    """Findings about one account; the portal has answered already, and its clock is looked at by whoever asks."""
    yield rights(api)
    yield scopes(api)
    yield from address(api)
    yield from zone(api)
    yield from deletions(settings)
    yield limits(api, settings)


def rights(api: BitrixApi) -> Finding:
    """Whether the employee is an administrator: others see only some rows, without a word. Reference, 0.2."""
    is_admin = api.facts.is_admin
    return Finding(
        "rights",
        is_admin,
        "Доступ создан администратором: видны все карточки."
        if is_admin
        else "Доступ создан не администратором: видны не все карточки. Создайте вебхук под администратором.",
        "The access belongs to an administrator: all cards can be seen."
        if is_admin
        else "The access is not an administrator's: cards may be hidden. Create the webhook as an administrator.",
    )


def scopes(api: BitrixApi) -> Finding:
    """Which scopes are missing, for what is read with them stays empty. Reference, 1.6."""
    given = api.facts.scopes
    missing = [scope for scope in WANTED if scope not in given and not (scope == "user" and given & USERS)]
    named = ", ".join(missing)
    return Finding(
        "scopes",
        not missing,
        f"Не отмечены права: {named}. Этих данных не будет." if missing else "Все нужные права отмечены.",
        f"Scopes that are not ticked: {named}. What they give will be missing."
        if missing
        else "All scopes that are of use are ticked.",
    )


def address(api: BitrixApi) -> Iterator[Finding]:
    """Whether the portal was renamed: its old address will not lead to the new one for ever. Reference, 1.8."""
    if f"://{api.host}" not in api.base_url:
        yield Finding(
            "address",
            None,
            f"Портал переехал на {api.host}: укажите этот адрес.",
            f"The portal has moved to {api.host}: use that address.",
        )


def zone(api: BitrixApi) -> Iterator[Finding]:
    """Whether days are reckoned by an offset alone, for nobody has named the zone: summer time would shift them."""
    if str(zone_of(api)).startswith(NO_PLACE):
        offset = timezone(api.facts.offset)
        yield Finding(
            "zone",
            None,
            f"Часовой пояс портала неизвестен, дни считаются по {offset} без летнего времени: задайте timezone.",
            f"The portal's time zone is unknown; days are reckoned by {offset} without summer time: set timezone.",
        )


def deletions(settings: BitrixSettings) -> Iterator[Finding]:
    """What has to be bound for the queue of events to tell of deletions; binding writes, so that we do not."""
    if settings.webhook_env:
        return
    days, events = settings.sweep_every_days, ", ".join(TO_BIND)
    yield Finding(
        "deletions",
        None,
        f"Об удалениях сразу говорят офлайн-события, если их подписать: event.bind с event_type=offline для {events}; "
        "это делает администратор портала или установщик приложения. Иначе удаления находит сверка "
        f"(sweep_every_days: {days}).",
        f"Offline events tell of deletions at once if bound: event.bind with event_type=offline for {events}; "
        "an administrator of the portal or the application's installer does it. Otherwise sweeps find deletions "
        f"(sweep_every_days: {days}).",
    )


def limits(api: BitrixApi, settings: BitrixSettings) -> Finding:
    """How fast the portal may be read, and whether it says how much server time is left. Reference, 2.1 and 2.2."""
    told = api.tells_operating()
    pace = f"{settings.requests_per_second:g}"
    return Finding(
        "limits",
        None,
        f"Темп: {settings.burst} запросов сразу, затем {pace} в секунду. "
        + ("Портал сообщает о лимите времени методов." if told else "О лимите времени методов портал не сообщает."),
        f"Pace: {settings.burst} requests at once, then {pace} a second. "
        + ("The portal tells how much server time is used." if told else "The portal tells nothing of server time."),
    )
