"""The read-only REST API of the emulated account: paths, filters, orders, pages (`amocrm.md`, sections 2 and 3)."""

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from demo import amocrm_catalogs, amocrm_customers, office
from demo.amocrm_account import Account
from demo.amocrm_cards import Json
from demo.amocrm_events import CODES, KINDS, MAIL, NAMES, TYPES, fields_of
from demo.amocrm_query import Node, bounds, integer, numbers, parse, scalars
from demo.amocrm_store import Query, Table, Test
from demo.catalogs import CATALOGS, INVOICES_ID
from demo.model import COMPANY, CONTACT, CUSTOMER, DAY, LEAD, Pipeline, Stage, TextNote

MAX_LIMIT, DEFAULT_LIMIT = 250, 50
KIND_OF = {"leads": LEAD, "contacts": CONTACT, "companies": COMPANY, "customers": CUSTOMER}
ATTRIBUTES = {"responsible_user_id": "user_id", "status_id": "stage_id", "complete_till": "due_at"}
ORDERS = {
    "leads": ("created_at", "updated_at", "id"),
    "contacts": ("updated_at", "id"),
    "companies": ("updated_at", "id"),
    "customers": ("updated_at", "id"),
    "tasks": ("created_at", "complete_till", "id"),
    "notes": ("updated_at", "id"),
}
CHATS = {CODES["incoming_chat_message"], CODES["outgoing_chat_message"]}
LEAD_CODES = {CODES[name] for name in TYPES if name.startswith("lead_") and name in CODES} | {
    CODES["sale_field_changed"]
}
OF_FIELD = re.compile("custom_field_([0-9]+)_value_changed")
TASK_CODES = {CODES[name] for name in TYPES if name.startswith("task_")}


class Reply(NamedTuple):
    """Status and JSON body; no body with 204."""

    status: int
    body: Json | None = None


NOTHING = Reply(204)


class RefusedError(Exception):
    """The request is wrong: carries the answer."""

    def __init__(self, status: int, title: str, detail: str, errors: list[Json] | None = None) -> None:
        super().__init__(detail)
        body: Json = {"title": title, "type": f"https://httpstatus.es/{status}", "status": status, "detail": detail}
        if errors:
            body["validation-errors"] = [{"request_id": "0", "errors": errors}]
        self.reply = Reply(status, body)


def _invalid(path: str) -> RefusedError:
    error = {"code": "NotSupportedChoice", "path": path, "detail": "The value you selected is not a valid choice."}
    return RefusedError(400, "Bad Request", "Request validation failed", [error])


class Api:
    """Answers GET requests about one account."""

    def __init__(self, account: Account) -> None:
        self.account = account

    def get(self, path: str, query: str) -> Reply:
        """`path` without `/api/v4/`."""
        parts = [part for part in path.split("/") if part]
        try:
            return self._route(parts, parse(query), query)
        except RefusedError as refused:
            return refused.reply

    def _route(self, parts: list[str], params: Json, query: str) -> Reply:  # noqa: PLR0911, PLR0912 - a table of paths
        call = _Call(self.account, "/".join(parts), params)
        match parts:
            case ["account"]:
                return self._account(call)
            case ["users" | "roles" as what, *rest]:
                return self._people(call, what, rest)
            case ["leads", "pipelines", *rest]:
                return self._pipelines(call, rest)
            case ["leads", "loss_reasons", *rest]:
                return self._loss_reasons(call, rest)
            case ["leads", "unsorted", *rest]:
                return self._unsorted(call, rest)
            case ["contacts", "chats"]:
                return self._contact_chats(call)
            case ["events", *rest]:
                return Events(self.account).answer(call, rest)
            case ["talks", *rest]:
                return self._talks(call, rest)
            case ["catalogs", *rest]:
                return self._catalogs(call, rest)
            case ["tasks"]:
                return self._list(call, "tasks", self.account.tasks, self.account.painter.task)
            case ["tasks", number]:
                return self._one(self.account.tasks, number, self.account.painter.task)
            case ["customers", "segments", "custom_fields"]:
                return NOTHING
            case ["customers", "statuses" | "segments" | "transactions"] | ["customers", _, "transactions"]:
                return amocrm_customers.answer(self.account, call, parts[1:])
            case [("leads" | "contacts" | "companies" | "customers") as entity, *rest]:
                return self._entity(call, entity, rest)
            case ["currencies"]:
                currency = {"code": "RUB", "precision": 2, "symbol": "₽", "name": "Российский рубль"}
                return Reply(200, {"_total_items": 1, "_embedded": {"currencies": [currency]}})
            case ["sources" | "webhooks", *_]:
                return NOTHING  # only those of the calling integration are shown, and it has none
        raise RefusedError(404, "Not Found", "Not Found")

    # --- account and dictionaries

    def _account(self, call: "_Call") -> Reply:
        company, switches = self.account.company, self.account.switches
        groups = [
            {
                "id": group.id,
                "name": group.name,
                "uuid": f"00000000-0000-4000-c000-{group.id:012d}" if group.id else None,
            }
            for group in company.groups
        ]
        types = [
            {"id": kind.id, "name": kind.name, "color": None, "icon_id": None, "code": kind.code or None}
            for kind in company.task_types
        ]
        card: Json = {
            "id": company.account_id,
            "name": company.name,
            "subdomain": company.subdomain,
            "current_user_id": office.HEAD,
            "country": "RU",
            "currency": "RUB",
            "currency_symbol": "₽",
            "created_at": company.started_at - 720 * DAY,
            "created_by": 0,
            "updated_at": company.started_at,
            "updated_by": office.HEAD,
            "customers_mode": switches.customers_mode,
            "is_unsorted_on": switches.is_unsorted_on,
            "is_loss_reason_enabled": True,
            "is_helpbot_enabled": False,
            "is_technical_account": False,
            "contact_name_display_order": 1,
            "mobile_feature_version": 0,
            "_links": self.account.painter.link("account"),
        }
        extras: Json = {
            "amojo_id": "2b9a7c0e-5d0b-4b7e-8a54-6d9a1f8f4e01",
            "uuid": "b7d1b3e8-0b9a-4a0a-9f0a-3b6e1c9a7f10",
            "version": 12,
            "drive_url": f"https://drive-b.{switches.domain}",
            "is_api_filter_enabled": switches.filters_enabled == "true",
            "entity_names": {"leads": {"ru": {"singular_form": {"default": "Сделка"}}}},
            "invoices_settings": {"lang": "ru", "invoices_catalog_id": INVOICES_ID},
        }
        embedded: Json = {
            "amojo_rights": {"can_direct": True, "can_create_groups": True},
            "users_groups": groups,
            "task_types": types,
            "datetime_settings": {
                "date_pattern": "d.m.Y H:i",
                "short_date_pattern": "d.m.Y",
                "short_time_pattern": "H:i",
                "date_formant": "d.m.Y",
                "time_format": "H:i:s",
                "timezone": company.tz,
                "timezone_offset": "+03:00",
            },
        }
        card |= {name: value for name, value in extras.items() if name in call.with_}
        card["_embedded"] = {name: value for name, value in embedded.items() if name in call.with_}
        return Reply(200, card)

    def _people(self, call: "_Call", what: str, rest: list[str]) -> Reply:
        company, painter = self.account.company, self.account.painter
        if what == "users":
            rows: list[Any] = company.users
            paint: Callable[[Any], Json] = lambda row: painter.user(row, call.with_)  # noqa: E731
        else:
            rows = [(80_110, "Менеджер")]
            members = [{"id": user.id} for user in company.users if not user.is_admin]
            paint = lambda row: {  # noqa: E731
                "id": row[0],
                "name": row[1],
                "rights": painter.user(company.users[1], frozenset())["rights"],
                "_embedded": {"users": members} if "users" in call.with_ else {},
            }
        if rest:
            return next((Reply(200, paint(row)) for row in rows if str(row[0]) == rest[0]), self._missing())
        return call.page(what, len(rows), lambda first, last: [paint(row) for row in rows[first:last]], totals=True)

    def _pipelines(self, call: "_Call", rest: list[str]) -> Reply:
        is_shown = self.account.switches.archived_pipelines_in_list
        pipelines = self.account.company.pipelines
        if not rest:
            shown = [self._pipeline(call, row) for row in pipelines if is_shown or not row.is_archived]
            return call.whole("pipelines", shown)
        pipeline = next((row for row in pipelines if str(row.id) == rest[0]), None)
        match (pipeline, rest[1:]):
            case (None, _):
                return self._missing()
            case (Pipeline() as found, []):
                return Reply(200, self._pipeline(call, found))
            case (Pipeline() as found, ["statuses"]):
                return call.whole("statuses", [self._status(call, stage) for stage in found.stages])
            case (Pipeline() as found, ["statuses", number]):
                stages = (Reply(200, self._status(call, stage)) for stage in found.stages if str(stage.id) == number)
                return next(stages, self._missing())
        return self._missing()

    def _pipeline(self, call: "_Call", row: Pipeline) -> Json:
        return {
            "id": row.id,
            "name": row.name,
            "sort": row.sort,
            "is_main": row.is_main,
            "is_unsorted_on": True,
            "is_archive": row.is_archived,
            "account_id": self.account.company.account_id,
            "_links": self.account.painter.link(f"leads/pipelines/{row.id}"),
            "_embedded": {"statuses": [self._status(call, stage) for stage in row.stages]},
        }

    def _status(self, call: "_Call", row: Stage) -> Json:
        status: Json = {
            "id": row.id,
            "name": row.name,
            "sort": row.sort,
            "is_editable": row.kind == "open",
            "pipeline_id": row.pipeline_id,
            "color": row.color,
            "type": 1 if row.kind == "unsorted" else 0,
            "account_id": self.account.company.account_id,
            "_links": self.account.painter.link(f"leads/pipelines/{row.pipeline_id}/statuses/{row.id}"),
        }
        if "descriptions" in call.with_:
            status["descriptions"] = []
        return status

    def _loss_reasons(self, call: "_Call", rest: list[str]) -> Reply:
        since = self.account.company.started_at
        shown = [
            {"id": row.id, "name": row.name, "sort": 1000 * i, "created_at": since, "updated_at": since,
             "_links": self.account.painter.link(f"leads/loss_reasons/{row.id}")}
            for i, row in enumerate(self.account.company.loss_reasons, 1)
        ]  # fmt: skip
        if rest:
            return next((Reply(200, row) for row in shown if str(row["id"]) == rest[0]), self._missing())
        return call.page("loss_reasons", len(shown), lambda first, last: shown[first:last])

    def _catalogs(self, call: "_Call", rest: list[str]) -> Reply:
        catalogs = {str(row.id): row for row in CATALOGS}
        match rest:
            case []:
                return amocrm_catalogs.listed(self.account, call)
            case [number, *_] if number not in catalogs:
                return self._missing()
            case [number]:
                return Reply(200, amocrm_catalogs.catalog(self.account, catalogs[number]))
            case [number, "elements"]:
                return amocrm_catalogs.elements_of(self.account, call, int(number))
            case [number, "elements", element_id]:
                rows = amocrm_catalogs.elements(self.account, int(number))
                found = (amocrm_catalogs.element(self.account, row) for row in rows if str(row.id) == element_id)
                return next((Reply(200, element) for element in found), self._missing())
            case [number, "custom_fields", *more]:
                return self._fields(call, f"catalogs/{number}", more)
        raise RefusedError(404, "Not Found", "Not Found")

    def _unsorted(self, call: "_Call", rest: list[str]) -> Reply:
        painter, rows = self.account.painter, [*self.account.requests.values()]
        if rest == ["summary"]:
            kinds = ("sip", "mail", "forms", "chats")
            categories = {kind: {"total": sum(row.category == kind for row in rows)} for kind in kinds}
            summary = {
                "total": len(rows),
                "accepted": 0,
                "declined": 0,
                "average_sort_time": 0,
                "categories": categories,
            }
            return Reply(200, summary)
        if rest:
            return next((Reply(200, painter.request(row)) for row in rows if row.uid == rest[0]), self._missing())
        wanted, pipelines = scalars(call.filters.get("category")), numbers(call.filters.get("pipeline_id"))
        uids = scalars(call.filters.get("uid"))
        shown = [
            row
            for row in rows
            if (not wanted or row.category in wanted)
            and (not uids or row.uid in uids)
            and (pipelines is None or row.pipeline_id in pipelines)
        ]
        if call.params.get("order", {}).get("created_at") == "desc":
            shown.reverse()
        return call.page("unsorted", len(shown), lambda first, last: [painter.request(r) for r in shown[first:last]])

    def _talks(self, call: "_Call", rest: list[str]) -> Reply:
        talks, painter = self.account.talks, self.account.painter
        if rest:
            if row := talks.get(integer(rest[0], -1)):
                return Reply(200, painter.talk(row))
            raise RefusedError(404, "Not Found", "Talk not found")
        if self.account.switches.talks_list == "404":
            raise RefusedError(404, "Not Found", "Not Found")
        filters = call.filters
        ids, contacts = numbers(filters.get("talk_id")), numbers(filters.get("contact_id"))
        entities = numbers(filters.get("entity_id"))
        is_only_open = filters.get("only_in_work") == "1"

        def found() -> list[int]:
            return [
                row.id
                for row in map(talks.get, talks.ids)
                if row
                and (not ids or row.id in ids)
                and (not contacts or row.contact_id in contacts)
                and (not entities or row.deal_id in entities)
                and (not is_only_open or row.is_in_work)
            ]

        shown = self.account.cache.ids(call.key, talks.version, found)
        return call.page("talks", len(shown), lambda a, b: [painter.talk(talks.get(i)) for i in shown[a:b]])  # type: ignore[arg-type]

    def _contact_chats(self, call: "_Call") -> Reply:
        contacts = numbers(call.params.get("contact_id")) or set()
        chats = [
            {"chat_id": self.account.painter.talk(row)["chat_id"], "contact_id": row.contact_id, "id": row.id}
            for row in self.account.company.talks
            if row.contact_id in contacts
        ]
        return call.whole("chats", chats)

    # --- cards

    def _entity(self, call: "_Call", entity: str, rest: list[str]) -> Reply:  # noqa: PLR0911 - a table of paths
        table = self.account.card_table(entity)
        match rest:
            case ["custom_fields", *more]:
                return self._fields(call, entity, more)
            case ["tags"]:
                return self._tags(call, entity)
            case _ if table is None:
                return NOTHING  # customers are switched off in this account
            case []:
                return self._cards(call, entity, table)
            case ["notes"]:
                return self._notes(call, entity, None)
            case ["notes", number] | [_, "notes", number]:
                return self._one(self.account.notes[KIND_OF[entity]], number, self._note, kind=KIND_OF[entity])
            case [number, "notes"]:
                return self._notes(call, entity, integer(number, -1))
            case ["links"]:
                ids = numbers(call.filters.get("entity_id"))
                if ids is None:
                    raise _invalid("filter.entity_id")
                return call.whole(
                    "links", [link for number in sorted(ids) for link in self._links(call, entity, number)]
                )
            case [number, "links"]:
                return call.whole("links", self._links(call, entity, integer(number, -1)))
            case [_, "subscriptions" | "files"]:
                return NOTHING
            case [number]:
                return self._one(table, number, lambda row: self._card(call, entity, row))
        raise RefusedError(404, "Not Found", "Not Found")

    def _card(self, call: "_Call", entity: str, row: Any) -> Json:
        painter = self.account.painter
        if entity == "leads":
            return painter.lead(row, call.with_)
        if entity == "contacts":
            return painter.contact(row, call.with_, self.account.linked)
        if entity == "customers":
            return amocrm_customers.customer(self.account, row, call.with_)
        return painter.company_card(row, call.with_, self.account.linked)

    def _cards(self, call: "_Call", entity: str, table: Table) -> Reply:
        if "only_deleted" in call.with_:
            trash = self.account.cache.ids(f"{call.key}&only_deleted", table.version, lambda: self._trash(call, table))
            shown = lambda a, b: [self.account.painter.trashed(table.get(i)) for i in trash[a:b]]  # type: ignore[arg-type]  # noqa: E731
            return call.page(entity, len(trash), shown)
        return self._list(call, entity, table, lambda row: self._card(call, entity, row))

    def _trash(self, call: "_Call", table: Table) -> Sequence[int]:
        """Ids of what lies in the trash; what it shows as changed is when that was thrown away."""
        rows = [row for row in table.unlisted() if not row.purged]
        switches = self.account.switches
        if switches.filters_enabled == "error" and call.filters:
            raise _invalid("filter")
        if switches.filters_enabled == "true" and switches.trash_is_filtered:
            if (ids := numbers(call.filters.get("id"))) is not None:
                rows = [row for row in rows if row.id in ids]
            if window := call.range_of(call.filters.get("updated_at")):
                rows = list(filter(_is_within("deleted_at", window), rows))
        return [row.id for row in rows]

    def _list(self, call: "_Call", entity: str, table: Table, paint: Callable[[Any], Json]) -> Reply:
        ids = self.account.cache.ids(call.key, table.version, lambda: call.query(entity).run(table))
        get = table.get
        return call.page(entity, len(ids), lambda first, last: [paint(get(number)) for number in ids[first:last]])

    def _notes(self, call: "_Call", entity: str, entity_id: int | None) -> Reply:
        kind = KIND_OF[entity]
        table = self.account.notes[kind]

        def compute() -> Sequence[int]:
            query = call.query("notes")
            if entity_id is not None:
                query.tests.append(lambda row: row.entity_id == entity_id)
            return query.run(table)

        ids = self.account.cache.ids(call.key, table.version, compute)
        return call.page("notes", len(ids), lambda a, b: [self._note(table.get(i)) for i in ids[a:b]])

    def _note(self, row: Any) -> Json:
        painter = self.account.painter
        if not isinstance(row, TextNote):
            return painter.call_note(row)
        return {
            "id": row.id,
            "entity_id": row.entity_id,
            "created_by": row.created_by,
            "updated_by": row.created_by,
            "created_at": row.created_at,
            "updated_at": row.updated_at,
            "responsible_user_id": row.responsible_id,
            "group_id": painter.group(row.responsible_id),
            "note_type": row.note_type,
            "params": row.params or painter.empty_object(),
            "account_id": self.account.company.account_id,
        }

    def _one(self, table: Table, number: str, paint: Callable[[Any], Json], *, kind: int = 0) -> Reply:
        row = table.get(integer(number, -1))
        if row is None or getattr(row, "deleted_at", False) or (kind and row.entity_kind != kind):
            return self._missing()
        return Reply(200, paint(row))

    def _missing(self) -> Reply:
        if self.account.switches.missing_by_id == 204:
            return NOTHING
        return Reply(
            404, {"title": "Not Found", "type": "https://httpstatus.es/404", "status": 404, "detail": "Not Found"}
        )

    def _links(self, call: "_Call", entity: str, number: int) -> list[Json]:
        table = self.account.card_table(entity)
        row = table.get(number) if table else None
        found: list[tuple[str, int, Json | None]] = []
        if row is None or row.deleted_at:
            return []
        if entity == "leads":
            main = row.main_contact_id
            found += [("contacts", i, {"main_contact": i == main}) for i in row.contact_ids]
            found += [("companies", row.company_id, None)] if row.company_id else []
            found += [("catalog_elements", *linked) for linked in self.account.painter.elements(row)]
        elif entity == "contacts" and row.company_id:
            found.append(("companies", row.company_id, None))
        wanted = scalars(call.filters.get("to_entity_type"))
        return [
            {
                "entity_id": number,
                "entity_type": entity,
                "to_entity_id": to_id,
                "to_entity_type": kind,
                "metadata": data,
            }
            for kind, to_id, data in found
            if not wanted or kind in wanted
        ]

    def _fields(self, call: "_Call", entity: str, rest: list[str]) -> Reply:
        painter = self.account.painter
        rows = [(sort, row) for sort, row in enumerate(self.account.company.fields, 500) if row.entity == entity]
        if rest == ["groups"]:
            return NOTHING
        if rest:
            found = (Reply(200, painter.field(row, sort)) for sort, row in rows if str(row.id) == rest[0])
            return next(found, self._missing())
        ids, types = numbers(call.filters.get("id")), scalars(call.filters.get("type"))
        rows = [(s, r) for s, r in rows if (ids is None or r.id in ids) and (not types or r.type in types)]
        shown = lambda first, last: [painter.field(row, sort) for sort, row in rows[first:last]]  # noqa: E731
        return call.page("custom_fields", len(rows), shown, totals=True)

    def _tags(self, call: "_Call", entity: str) -> Reply:
        rows = self.account.company.tags.get(KIND_OF.get(entity, 0), [])
        ids, names = numbers(call.filters.get("id")), scalars(call.filters.get("name"))
        tags = [
            {"id": row.id, "name": row.name, "color": None}
            for row in rows
            if (ids is None or row.id in ids) and (not names or row.name in names)
        ]
        return call.page("tags", len(tags), lambda first, last: tags[first:last])


class _Call:
    """One request: its parameters, and the shape of its answer."""

    def __init__(self, account: Account, path: str, params: Json) -> None:
        self.account, self.path, self.params = account, path, params
        self.with_ = frozenset(part.strip() for part in scalars(params.get("with")))
        filters = params.get("filter")
        self.filters: Json = filters if isinstance(filters, dict) else {}
        self.key = f"{path}?{self.filters}&{params.get('order')}&{params.get('query')}"

    def limits(self, highest: int) -> tuple[int, int]:
        """Page number and limit, as the server takes them."""
        page = max(integer(self.params.get("page"), 1), 1)
        limit = integer(self.params.get("limit"), DEFAULT_LIMIT)
        if limit > highest:
            how = self.account.switches.limit_over_max
            if how == "400":
                raise _invalid("limit")
            if how == "422":
                raise RefusedError(422, "Unprocessable Entity", f"Limit {highest} per page")
        return page, min(limit, highest) if limit > 0 else DEFAULT_LIMIT

    def page(
        self,
        name: str,
        n: int,
        shown: Callable[[int, int], list[Json]],
        *,
        totals: bool = False,
        highest: int = MAX_LIMIT,
    ) -> Reply:
        """A page of a list of `n`; `shown(first, last)` paints its rows. 204 where there are none."""
        page, limit = self.limits(highest)
        first = (page - 1) * limit
        items = shown(first, min(first + limit, n)) if first < n else []
        if not items:
            return NOTHING
        body: Json = {"_page": page, "_links": self._paging(page, limit, n, len(items)), "_embedded": {name: items}}
        if totals:
            body |= {"_total_items": n, "_page_count": -(-n // limit)}
        return Reply(200, body)

    def whole(self, name: str, items: list[Json]) -> Reply:
        """A list that has no pages."""
        if not items:
            return NOTHING
        links = self.account.painter.link(self.path)
        return Reply(200, {"_total_items": len(items), "_links": links, "_embedded": {name: items}})

    def _paging(self, page: int, limit: int, n: int, n_items: int) -> Json:
        def href(number: int) -> Json:
            return {"href": f"{self.account.painter.base}/api/v4/{self.path}?page={number}&limit={limit}"}

        links: Json = {"self": href(page)}
        switches = self.account.switches
        has_more = page * limit < n
        may_have_more = n_items == limit and switches.next_on_last_full_page
        if (has_more or may_have_more) and not any(self.path.startswith(path) for path in switches.next_missing_on):
            links["next"] = href(page + 1)
        if page > 1:
            links |= {"first": href(1), "prev": href(page - 1)}
        return links

    def range_of(self, node: Node | None) -> tuple[int | None, int | None] | None:
        """The bounds of a range filter, both inclusive."""
        found = bounds(node)
        if found and found[1] is not None and not self.account.switches.range_to_inclusive:
            return found[0], found[1] - 1
        return found

    def query(self, entity: str) -> Query:
        """What the filters and the order of this request ask of a table; what is unknown or misshapen is ignored."""
        query = Query(self.key)
        order = self.params.get("order")
        if isinstance(order, dict):
            for name, way in order.items():
                if name in ORDERS[entity] and way in {"asc", "desc"}:
                    query.order = (ATTRIBUTES.get(name, str(name)), bool(way == "desc"))
                    break
        if entity in KIND_OF:
            how = self.account.switches.filters_enabled
            if how == "error" and self.filters:
                raise _invalid("filter")
            if how == "true":
                self._card_filters(entity, query)
            self._search(query)
        elif entity == "tasks":
            self._task_filters(query)
        else:
            self._note_filters(query)
        return query

    def _card_filters(self, entity: str, query: Query) -> None:
        filters = self.filters
        query.ids = numbers(filters.get("id"))
        names = ["created_by", "updated_by", "responsible_user_id"]
        if entity == "leads":
            names.append("pipeline_id")
        for name in names:
            if (wanted := numbers(filters.get(name))) is not None:
                query.tests.append(
                    _is_one_of(ATTRIBUTES.get(name, "user_id" if name == "updated_by" else name), wanted)
                )
        for name in ("created_at", "updated_at"):
            window = self.range_of(filters.get(name))
            if window is None and (moment := integer(filters.get(name), -1)) >= 0:
                window = (moment, moment)  # a bare number means exactly that second
            if window:
                setattr(query, name.removesuffix("_at"), window)
        if texts := scalars(filters.get("name")):
            query.tests.append(lambda row: getattr(row, "name", None) in texts)
        if entity == "leads":
            self._lead_filters(query)
        if entity == "customers":
            self._customer_filters(query)
        fields = filters.get("custom_fields_values")
        if isinstance(fields, dict):
            query.tests += [_has_value(int(number), node) for number, node in fields.items() if number.isdigit()]

    def _lead_filters(self, query: Query) -> None:
        filters = self.filters
        for name in ("price", "closed_at"):
            if window := self.range_of(filters.get(name)):
                query.tests.append(_is_within(name, window))
        statuses = filters.get("statuses")
        if isinstance(statuses, dict):
            pairs = {
                (integer(item.get("pipeline_id"), 0), integer(item.get("status_id"), 0))
                for item in statuses.values()
                if isinstance(item, dict)
            }
            if pairs:
                query.tests.append(lambda row: (row.pipeline_id, row.stage_id) in pairs)

    def _customer_filters(self, query: Query) -> None:
        for name in ("next_price", "next_date"):
            if window := self.range_of(self.filters.get(name)):
                query.tests.append(_is_within(name, window))
        if (wanted := numbers(self.filters.get("status_id"))) is not None:
            query.tests.append(_is_one_of("status_id", wanted))

    def _search(self, query: Query) -> None:
        text = self.params.get("query")
        if isinstance(text, str) and text:
            wanted = text.lower()
            digits = "".join(filter(str.isdigit, text))
            query.tests.append(lambda row: wanted in _searchable(row) or (len(digits) > 4 and digits in _digits(row)))

    def _task_filters(self, query: Query) -> None:
        filters = self.filters
        query.ids = numbers(filters.get("id"))
        query.updated = self._since(filters.get("updated_at"))
        for name, attribute in (
            ("responsible_user_id", "user_id"),
            ("created_by", "created_by"),
            ("task_type", "type_id"),
            ("task_type_id", "type_id"),
        ):
            if (wanted := numbers(filters.get(name))) is not None:
                query.tests.append(_is_one_of(attribute, wanted))
        if (done := filters.get("is_completed")) in {"0", "1"}:
            query.tests.append(lambda row: bool(row.completed_at) == (done == "1"))
        kinds = {KIND_OF[name] for name in scalars(filters.get("entity_type")) if name in KIND_OF}
        if kinds:
            query.tests.append(lambda row: row.entity_kind in kinds)
            if (entities := numbers(filters.get("entity_id"))) is not None:
                query.tests.append(_is_one_of("entity_id", entities))

    def _note_filters(self, query: Query) -> None:
        filters = self.filters
        query.ids = numbers(filters.get("id"))
        query.updated = self._since(filters.get("updated_at"))
        if (entities := numbers(filters.get("entity_id"))) is not None:
            query.tests.append(_is_one_of("entity_id", entities))
        types = set(scalars(filters.get("note_type")))
        if types and not {"call_in", "call_out"} <= types:
            query.tests.append(lambda row: note_type(row) in types)
        elif types:
            query.tests.append(lambda row: not isinstance(row, TextNote) or row.note_type in types)

    def _since(self, node: Node | None) -> tuple[int | None, int | None] | None:
        """A range, or a bare number that means "since"."""
        window = self.range_of(node)
        if window is None and (moment := integer(node, -1)) >= 0:
            return moment, None
        return window


def note_type(row: Any) -> str:
    if isinstance(row, TextNote):
        return row.note_type
    return "call_in" if row.is_in else "call_out"


def _is_one_of(attribute: str, wanted: set[int]) -> Test:
    return lambda row: getattr(row, attribute) in wanted


def _is_within(attribute: str, window: tuple[int | None, int | None]) -> Test:
    low, high = window

    def test(row: Any) -> bool:
        value = getattr(row, attribute)
        return value is not None and (low is None or value >= low) and (high is None or value <= high)

    return test


def _has_value(field_id: int, node: Node) -> Test:
    wanted = set(scalars(node))

    def test(row: Any) -> bool:
        return any(number == field_id and wanted & {str(item) for item in items} for number, items in row.values)

    return test


def _searchable(row: Any) -> str:
    name = getattr(row, "name", None) or f"{getattr(row, 'first_name', '')} {getattr(row, 'last_name', '')}"
    return f"{name} {' '.join(getattr(row, 'emails', ()))}".lower()


def _digits(row: Any) -> str:
    return " ".join("".join(filter(str.isdigit, phone)) for phone in getattr(row, "phones", ()))


class Events:
    """`/events`: the log, newest first, without an order parameter."""

    def __init__(self, account: Account) -> None:
        self._account, self._log = account, account.events

    def answer(self, call: _Call, rest: list[str]) -> Reply:
        if rest == ["types"]:
            lang = str(call.params.get("language_code", "ru"))
            types = [{"key": name, "type": code + 1, "lang": name} for name, code in CODES.items()]
            return Reply(200, {"_total_items": len(types), "_embedded": {"events_types": types}, "language_code": lang})
        if rest:
            place = self._log.find(rest[0])
            return NOTHING if place is None else Reply(200, self._paint(call, [place])[0])
        places = self._account.cache.ids(call.key, self._log.version, lambda: self._places(call))
        return call.page(
            "events",
            len(places),
            lambda first, last: self._paint(call, places[first:last]),
            highest=self._account.switches.events_max_limit,
        )

    def _paint(self, call: _Call, places: Sequence[int]) -> list[Json]:
        base = self._account.painter.base
        named = {name.removesuffix("_name") for name in call.with_ if name.endswith("_name")}
        name_of = (lambda kind, number: self._name(kind, number) if kind in named else None) if named else None
        return [self._log.event(place, base, name_of) for place in places]

    def _name(self, entity: str, number: int) -> str | None:
        table = self._account.card_table(
            {"lead": "leads", "contact": "contacts", "company": "companies"}.get(entity, "")
        )
        row = table.get(number) if table else None
        if row is None or row.deleted_at:
            return None
        name: str = row.name if hasattr(row, "name") else f"{row.first_name} {row.last_name}".strip()
        return name

    def _places(self, call: _Call) -> Sequence[int]:
        filters = call.filters
        codes = self._codes(scalars(filters.get("type")))
        ids = scalars(filters.get("id"))
        if ids:
            found = (self._log.find(number) for number in ids)
            places: Sequence[int] = sorted((place for place in found if place is not None), reverse=True)
        else:
            places = self._log.newest_first(self._log.window(*self._window(call)), codes)
            if (field_id := _field_of(scalars(filters.get("type")))) is not None:
                places = [place for place in places if field_id in fields_of(self._log.body(place))]
        by = numbers(filters.get("created_by"))
        if by is not None:
            places = [place for place in places if self._log.body(place)["created_by"] in by]
        places = self._of_entities(filters, places)
        for name in ("value_after", "value_before"):
            if name in filters:
                test = _value_test(name, filters[name])
                places = [place for place in places if test(self._log.body(place))]
        return places

    def _codes(self, types: list[str]) -> set[int] | None:
        if not types:
            return set(CODES.values()) - MAIL if self._account.switches.events_default_excludes_mail else None
        if _field_of(types) is not None:
            return {CODES["custom_field_value_changed"]}
        return {CODES[name] for name in types if name in CODES}

    def _window(self, call: _Call) -> tuple[int | None, int | None]:
        node = call.filters.get("created_at")
        if window := call.range_of(node):
            return window
        moments = [int(part) for part in scalars(node) if part.isdigit()]
        if len(moments) > 1:
            return moments[0], moments[1]
        return (moments[0], None) if moments else (None, None)

    def _of_entities(self, filters: Json, places: Sequence[int]) -> Sequence[int]:
        entities, ids = scalars(filters.get("entity")), numbers(filters.get("entity_id"))
        if "entity_id" in filters and (len(entities) != 1 or ids is None or len(ids) > 10):
            raise _invalid("filter.entity_id")
        if not entities:
            return places
        kinds = {name for name in entities if name in KINDS or name.startswith("catalog_")}
        if len(kinds) < len(entities):
            raise _invalid("filter.entity")
        found = [place for place in places if self._kind(place) in kinds]
        if ids is not None:
            found = [place for place in found if self._owner(place) in ids]
        return found

    def _kind(self, place: int) -> str:
        """Under which entity an event is found: chats under the contact, though they come back as the deal's."""
        code = self._log.code[place]
        if code in CHATS:
            return NAMES[CONTACT]
        if code in LEAD_CODES:
            return NAMES[LEAD]
        if code in TASK_CODES:
            return "task"
        kind: str = self._log.body(place)["entity_type"]
        return kind

    def _owner(self, place: int) -> int:
        body = self._log.body(place)
        number: int = body.get("linked_talk_contact_id") or body["entity_id"]
        return number


def _field_of(types: list[str]) -> int | None:
    """The custom field whose changes are asked for; those cannot be asked for together with other types."""
    found = [match[1] for name in types if (match := OF_FIELD.fullmatch(name))]
    if found and len(types) > 1:
        raise _invalid("filter.type")
    return int(found[0]) if found else None


def _value_test(name: str, node: Any) -> Callable[[Json], bool]:
    """The test behind `filter[value_after]` and `filter[value_before]`; another shape is an error."""
    if not isinstance(node, dict):
        raise _invalid(f"filter.{name}")
    if isinstance(statuses := node.get("leads_statuses"), dict):
        pairs = {
            (integer(item.get("pipeline_id"), 0), integer(item.get("status_id"), 0))
            for item in statuses.values()
            if isinstance(item, dict)
        }
        return lambda body: any(
            (value["lead_status"]["pipeline_id"], value["lead_status"]["id"]) in pairs
            for value in body[name]
            if "lead_status" in value
        )
    if (users := numbers(node.get("responsible_user_id"))) is not None:
        return lambda body: any(value.get("responsible_user", {}).get("id") in users for value in body[name])
    if isinstance(value := node.get("value"), str):
        return lambda body: any(value in {str(leaf) for leaf in _leaves(item)} for item in body[name])
    raise _invalid(f"filter.{name}")


def _leaves(node: Any) -> list[Any]:
    return [leaf for inner in node.values() for leaf in _leaves(inner)] if isinstance(node, dict) else [node]
