"""What mapping needs to know of the account, and what it notices on the way through one window."""

import threading
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Any

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
    """What one run has read of the account, shared by its threads.

    employees: users that are listed; None: the list was not read. processes: titles of smart processes by entity type.
    """

    employees: Set[str] | None = None
    processes: Mapping[int, str] | None = None
    _fields: dict[int, Mapping[str, FieldInfo]] = field(default_factory=dict)
    _directories: list[Json] | None = None
    _stages: Mapping[Place, str] | None = None
    _refusals: Mapping[str, ConnectorError] | None = None
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def fields(self, type_id: int, read: Callable[[], Mapping[str, FieldInfo]]) -> Mapping[str, FieldInfo]:
        """Custom fields of an entity type, by their names in rows; read once a run."""
        with self._lock:
            if type_id not in self._fields:
                self._fields[type_id] = read()
            return self._fields[type_id]

    def directories(self, read: Callable[[], list[Json]]) -> list[Json]:
        """Entries of all directories, read once a run."""
        with self._lock:
            if self._directories is None:
                self._directories = read()
            return self._directories

    def stages(self, read: Callable[[], Mapping[Place, str]]) -> Mapping[Place, str]:
        """Kinds of stages, read once a run."""
        with self._lock:
            if self._stages is None:
                self._stages = read()
            return self._stages

    def titles(self, read: Callable[[], Mapping[int, str]]) -> Mapping[int, str]:
        """`processes`, read once a run."""
        with self._lock:
            if self.processes is None:
                self.processes = read()
            return self.processes

    def refusals(self, ask: Callable[[], Mapping[str, ConnectorError]]) -> Mapping[str, ConnectorError]:
        """Methods that this portal refuses, and why; asked once a run."""
        with self._lock:
            if self._refusals is None:
                self._refusals = ask()
            return self._refusals

    def reads(self, method: str) -> bool:
        """Whether a list is read in this run, as far as was asked."""
        return method not in (self._refusals or {})


@dataclass(kw_only=True)
class Reading(Walk):
    """One walk over one window of one resource.

    zone: the account's. currency: its base one. region: country for phones. fields: of the entity type being read.
    stages: gives the kinds of those that are listed.
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

    def author(self, native_id: Any) -> str | None:
        """`user:<n>` of who did something; 0 is a robot."""
        if native_id is None or native_id == "":
            return None
        number = ref(native_id) or 0
        user_id = f"user:{number}"
        is_active = not self.book.reads("user.get")
        self.mention(User, number, lambda: mentioned_user(self.account_id, number, is_active=is_active))
        return user_id

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
