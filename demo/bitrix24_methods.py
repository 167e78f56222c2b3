"""All methods of the emulated Bitrix24; here those of the base, of telephony, users, departments, the catalogue."""

from fnmatch import fnmatch

from demo import bitrix24_php as php
from demo.bitrix24_calls import Answer, Call, Json, Page, Registry, controller_page, offset_page, old_page, order_of
from demo.bitrix24_chats import CHATS
from demo.bitrix24_crm import CRM
from demo.bitrix24_details import DETAILS
from demo.bitrix24_directories import DIRECTORIES
from demo.bitrix24_errors import RestError
from demo.bitrix24_events import EVENTS
from demo.bitrix24_filters import Condition, Dialect, Query
from demo.bitrix24_rows import filters_by, present, shuffled
from demo.bitrix24_tasks import TASKS
from demo.bitrix24_values import Row
from demo.bitrix24_wire import camel

METHODS = Registry()
USER_SCOPES = ("user", "user_basic", "user_brief")


# --- the base


@METHODS.method("profile")
def _profile(call: Call) -> Answer:
    user = _me(call)
    zone = call.switches.user_zone
    return Answer({
        "ID": str(call.caller.user_id), "ADMIN": call.switches.is_admin, "NAME": user.get("NAME", ""),
        "LAST_NAME": user.get("LAST_NAME", ""), "PERSONAL_GENDER": "", "TIME_ZONE": zone,
    })  # fmt: skip


def _me(call: Call) -> Row:
    users = call.table("user")
    return (users.get(call.caller.user_id) if users else None) or {}


@METHODS.method("server.time")
def _server_time(call: Call) -> Answer:
    return Answer(call.wire.instant(call.engine.portal.now))


@METHODS.method("scope")
def _scope(call: Call) -> Answer:
    return Answer(list(call.switches.scopes))


@METHODS.method("method.get")
def _method(call: Call) -> Answer:
    found = METHODS.get(str(call.param("name", "")).lower())
    if found is None or is_absent(call, found.name):
        return Answer({"isExisting": False, "isAvailable": False})
    is_open = not found.scopes or bool(set(found.scopes) & set(call.switches.scopes))
    return Answer({"isExisting": True, "isAvailable": is_open})


def is_absent(call: Call, name: str) -> bool:
    """Whether the portal lacks the module of a method."""
    return any(fnmatch(name.lower(), pattern.lower()) for pattern in call.switches.absent_methods)


@METHODS.method("feature.get")
def _feature(call: Call) -> Answer:
    has = call.param("CODE") == "rest_offline_extended" and call.switches.offline_extended
    return Answer({"value": "Y" if has else "N"})


@METHODS.method("app.info", is_for_apps=True)
def _app(call: Call) -> Answer:
    return Answer({"ID": 1, "CODE": call.caller.key, "VERSION": 1, "STATUS": "L", "INSTALLED": True,
                   "LANGUAGE_ID": "ru", "LICENSE": "ru_pro100"})  # fmt: skip


# --- telephony


CALL_FIELDS = (
    "ID", "PORTAL_USER_ID", "PORTAL_NUMBER", "PHONE_NUMBER", "CALL_ID", "CALL_CATEGORY", "CALL_DURATION",
    "CALL_START_DATE", "CALL_VOTE", "COST", "COST_CURRENCY", "CALL_FAILED_CODE", "CRM_ENTITY_TYPE", "CRM_ENTITY_ID",
    "CRM_ACTIVITY_ID", "SESSION_ID", "CALL_TYPE",
)  # fmt: skip


@METHODS.method("voximplant.statistic.get", "telephony")
def _calls(call: Call) -> Answer:
    """Without SORT in any order, another one each time."""
    if call.switches.telephony_rights == "none":
        raise RestError("ACCESS_DENIED", "Access denied!", status=403)
    names = {name: name for name in CALL_FIELDS}
    query = Query("call")
    query.conditions = Dialect(names).conditions(call.param("FILTER") or {})
    if call.switches.telephony_rights == "own":
        query.conditions = [one for one in query.conditions if getattr(one, "name", "") != "PORTAL_USER_ID"]
        query.conditions.append(Condition("PORTAL_USER_ID", "=", call.caller.user_id))
    query.order = _flat_order(call, {name: name for name in CALL_FIELDS if name != "CALL_TYPE"})
    shuffled(call, query)
    page = offset_page(call, call.select(query))
    return page.answer([
        call.wire.old(row, row, native={"RECORD_FILE_ID"}) for row in present(call, "call", page.ids)
    ])  # fmt: skip


def _flat_order(call: Call, names: dict[str, str]) -> list[tuple[str, bool]]:
    """`SORT` and `ORDER` as two texts."""
    sort, direction = call.param("SORT"), call.param("ORDER", "ASC")
    return order_of({sort: direction}, names) if isinstance(sort, str) else []


# --- users, departments


WITHOUT_CONTACTS = {"EMAIL", "PERSONAL_MOBILE", "PERSONAL_PHONE", "WORK_PHONE"}


def _users(call: Call) -> Answer:
    names = {name: name for row in call.rows("user")[:1] for name in row}
    wanted = {key: value for key, value in call.params.items() if key.lstrip("!<>=@%") in names and key != "SORT"}
    query = Query("user")
    query.conditions = Dialect(names).conditions({**wanted, **dict(php.items(call.param("FILTER") or {}))})
    query.order = _flat_order(call, names) or [("ID", False)]
    page = offset_page(call, call.select(query))
    if not page.ids and page.is_counted:
        page = page._replace(total=None)
    return page.answer([_user(call, row) for row in present(call, "user", page.ids)])


def _user(call: Call, row: Row) -> Json:
    scopes = set(call.switches.scopes)
    names = [name for name in row if name != "IS_ADMIN" and not (row[name] is None and name == "SECOND_NAME")]
    if not scopes & {"user", "user_basic"}:
        names = [name for name in names if name not in WITHOUT_CONTACTS]
    if "user" not in scopes:
        names = [name for name in names if not name.startswith("UF_USR_")]
    return {**call.wire.old(row, names, native={"ACTIVE", "UF_DEPARTMENT"}), "TIMESTAMP_X": {}}


METHODS.add("user.get", USER_SCOPES, _users)
METHODS.add("user.search", USER_SCOPES, _users)


@METHODS.method("department.get", "department")
def _departments(call: Call) -> Answer:
    """Exact filters only; whatever else is asked for is passed over."""
    names = {name: name for name in ("ID", "NAME", "SORT", "PARENT", "UF_HEAD")}
    wanted = {key: value for key, value in call.params.items() if key in names and key != "SORT"}
    query = Query("department", conditions=Dialect(names).conditions(wanted), order=_flat_order(call, names))
    page = old_page(call, call.select(query))
    rows = present(call, "department", page.ids)
    found = [call.wire.old(row, [n for n in names if row.get(n) is not None], native={"SORT"}) for row in rows]
    return page.answer(found)


# --- catalogue


IBLOCK_ID = 24
PRODUCT_FIELDS = ("ID", "IBLOCK_ID", "NAME", "ACTIVE", "CODE", "XML_ID", "SORT", "TYPE", "TIMESTAMP_X", "DATE_CREATE")


@METHODS.method("catalog.catalog.list", "catalog")
def _catalogs(_: Call) -> Answer:
    found = [{"iblockId": IBLOCK_ID, "id": IBLOCK_ID, "iblockTypeId": "CRM_PRODUCT_CATALOG", "name": "CRM",
              "productIblockId": None}]  # fmt: skip
    return Answer({"catalogs": found}, len(found))


@METHODS.method("catalog.product.list", "catalog")
def _products(call: Call) -> Answer:
    select = [str(name) for name in php.values(call.param("select") or [])]
    wanted = dict(php.items(call.param("filter") or {}))
    if not {"id", "iblockId"} <= set(select) or not filters_by(wanted, "iblockId"):
        raise RestError("0", "Required select fields: id, iblockId")
    names = {camel(name): name for name in PRODUCT_FIELDS}
    query = Query("product", conditions=Dialect(names, is_strict=True).conditions(wanted))
    query.order = order_of(call.param("order"), names)
    page: Page = controller_page(call, call.select(query))
    rows = present(call, "product", page.ids)
    return page.answer({
        "products": [call.wire.item(row, [name for name in row if camel(name) in select]) for row in rows]
    })  # fmt: skip


for _methods in (CRM, DETAILS, DIRECTORIES, TASKS, CHATS, EVENTS):
    METHODS.update(_methods)
