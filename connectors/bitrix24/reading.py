"""What mapping needs to know of the account, and what it notices on the way through one window."""

import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Mapping, Set
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Any, TypeVar

from connectors.bitrix24.settings import BitrixSettings
from connectors.bitrix24.values import ref
from connectors.errors import ConnectorError, Phrase
from connectors.paging import Json
from connectors.records import Pipeline, Source, Stage, User
from connectors.walk import Walk

LEAD, DEAL, CONTACT, COMPANY, INVOICE = 1, 2, 3, 4, 31
FIRST_PROCESS = 128
"""Entity types from here on are smart processes."""
KINDS = {LEAD: "lead", DEAL: "deal", CONTACT: "contact", COMPANY: "company", INVOICE: "invoice"}
"""Entity type to the prefix of our ids, which is also `entity_kind`."""
ROBOT = "user:0"
Place = tuple[str, str]
"""Ids of a pipeline and of a stage of it."""
SEMANTICS = {"S": "won", "F": "lost"}
"""Kind of a stage by its semantics. In process comes as P, as "" and as null."""
CLOSED = ("won", "lost")
Result = TypeVar("Result")


@dataclass(frozen=True)
class FieldInfo:
    """A custom field as `crm.item.fields` has it. options: names by id, of a list field."""

    upper_name: str
    type: str
    is_multiple: bool
    title: str | None
    options: Mapping[str, str]


@dataclass
class Book:
    """What one run has read of the account, shared by its threads: each thing once, and nobody waits but for what he
    needs.

    employees: users that are listed; None: the list was not read. processes: titles of smart processes by entity type.
    """

    employees: Set[str] | None = None
    processes: Mapping[int, str] | None = None
    _read: dict[Hashable, Any] = field(default_factory=dict)
    _locks: defaultdict[Hashable, threading.RLock] = field(default_factory=lambda: defaultdict(threading.RLock))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def fields(self, type_id: int, read: Callable[[], Mapping[str, FieldInfo]]) -> Mapping[str, FieldInfo]:
        """Custom fields of an entity type, by their names in rows."""
        return self._once(("fields", type_id), read)

    def directories(self, read: Callable[[], list[Json]]) -> list[Json]:
        """Entries of all directories."""
        return self._once("directories", read)

    def stages(self, read: Callable[[], Mapping[Place, str]]) -> Mapping[Place, str]:
        """Kinds of stages."""
        return self._once("stages", read)

    def titles(self, read: Callable[[], Mapping[int, str]]) -> Mapping[int, str]:
        """`processes`."""
        self.processes = self._once("titles", read)
        return self.processes

    def refusals(self, ask: Callable[[], Mapping[str, ConnectorError]]) -> Mapping[str, ConnectorError]:
        """Methods that this portal refuses, and why."""
        return self._once("refusals", ask)

    def _once(self, what: Hashable, read: Callable[[], Result]) -> Result:
        with self._lock:
            lock = self._locks[what]
        with lock:
            if what not in self._read:
                self._read[what] = read()
            found: Result = self._read[what]
            return found


@dataclass(kw_only=True)
class Reading(Walk):
    """One walk over one window of one resource.

    zone: the account's. currency: its base one. region: country for phones. fields: of the entity type being read.
    stages: gives the kinds of those that are listed. closed: gives the methods that this portal refuses.
    task_zone: in which dates of tasks are told, where that is known.
    is_again: rows are read because they have changed, or are asked for by id: they may have been something else before.
    refused: ids of rows some of which there was no right to: they are to be asked for again.
    """

    zone: tzinfo
    currency: str
    region: str
    settings: BitrixSettings
    task_zone: tzinfo | None = None
    is_again: bool = False
    refused: set[str] = field(default_factory=set)
    book: Book = field(default_factory=Book)
    fields: Mapping[str, FieldInfo] = field(default_factory=dict)
    stages: Callable[[], Mapping[Place, str]] = dict
    closed: Callable[[], Collection[str]] = frozenset

    def author(self, native_id: Any) -> str | None:
        """`user:<n>` of who did something; 0 is a robot."""
        if native_id is None or native_id == "":
            return None
        number = ref(native_id) or 0
        user_id = f"user:{number}"
        self.mention(User, number, lambda: self._unlisted(number))
        return user_id

    def _unlisted(self, number: int) -> User:
        """Where users are not listed, nobody says that they have left."""
        return mentioned_user(self.account_id, number, is_active=not self.reads("user.get"))

    def reads(self, method: str) -> bool:
        """Whether a list is read in this run."""
        return method not in self.closed()

    def responsible(self, native_id: Any) -> str | None:
        """`user:<n>` of who owns something; 0 is nobody."""
        return self.author(native_id) if ref(native_id) else None

    def stage(self, type_id: int, category: Any, code: Any, semantics: Any) -> Place:
        """Ids of pipeline and stage. A stage that is in no directory any more gets a row that says so."""
        place = pipeline_id(type_id, category), f"stage:{code}"
        if place not in self.stages():
            self.mention(Stage, place, lambda: unknown_stage(self.account_id, *place, semantics))
            self.mention(Pipeline, place[0], lambda: unknown_pipeline(self.account_id, type_id, place[0]))
        return place

    def kind(self, place: Place, semantics: Any) -> str:
        """What a stage means; rows of smart processes and invoices do not say it."""
        return SEMANTICS.get(str(semantics)) or self.stages().get(place, "open")

    def source(self, code: Any) -> str | None:
        if not code:
            return None
        source_id = f"source:{code}"
        self.mention(
            Source, source_id, lambda: Source(account_id=self.account_id, source_id=source_id, name=f"#{code}")
        )
        return source_id

    def unknown(self, text: Phrase) -> None:
        self.notice(text, is_unknown=True)


def pipeline_id(type_id: int, category: Any) -> str:
    """Leads have no pipelines: all of them are in `pipeline:1:0`."""
    return f"pipeline:{type_id}:{ref(category) or 0}"


def kind_of_stage(semantics: Any) -> Any:
    return SEMANTICS.get(str(semantics), "open")


def card_id(type_id: Any, native_id: Any) -> str | None:
    """Our id of what an entity type and an id name; ids repeat across types. None where no table has such things."""
    kind_number, number = ref(type_id), ref(native_id)
    if not (kind_number and number):
        return None
    if kind_number in KINDS:
        return f"{KINDS[kind_number]}:{number}"
    return f"item:{kind_number}:{number}" if kind_number >= FIRST_PROCESS else None


def prefixed(kind: str, native_id: Any) -> str | None:
    number = ref(native_id)
    return f"{kind}:{number}" if number else None


def mentioned_user(account_id: str, number: int, *, is_active: bool) -> User:
    """Somebody the list of users lacks: a leaver, a guest, a robot."""
    if number == 0:
        return User(account_id=account_id, user_id=ROBOT, name="Robot", is_active=True, is_robot=True)
    return User(account_id=account_id, user_id=f"user:{number}", name=f"#{number}", is_active=is_active)


def unknown_stage(account_id: str, pipeline: str, stage: str, semantics: Any) -> Stage:
    return Stage(
        account_id=account_id,
        pipeline_id=pipeline,
        stage_id=stage,
        name=f"#{stage.partition(':')[2]}",
        sort=0,
        kind=kind_of_stage(semantics),
    )


def unknown_pipeline(account_id: str, type_id: int, pipeline: str) -> Pipeline:
    kind: Any = KINDS[type_id] if type_id in (LEAD, DEAL) else "unknown"
    return Pipeline(account_id=account_id, pipeline_id=pipeline, name=f"#{pipeline}", entity_kind=kind, sort=0)
