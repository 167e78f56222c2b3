"""What a page is. One file in `views/` with a module constant `PAGE`; found by scanning."""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from typing import Any, Literal

import polars as pl

from app import data, views
from app.rights import Role, Viewer

Filter = Literal["period", "manager", "pipeline"]
ROLES: tuple[Role, ...] = ("owner", "head", "analyst", "manager")
SECTIONS = ("Morning", "Work", "Overview", "System")
"""Order of the menu; names are message ids."""


@dataclass(frozen=True)
class Filters:
    """What the viewer chose in the row of filters. None: nothing, so everything."""

    period: tuple[date, date] | None = None
    managers: frozenset[str] | None = None
    pipeline_id: str | None = None


@dataclass(frozen=True)
class View:
    """What a page gets: the publication it shows, who looks, and the filters. The page asks metrics through it."""

    publication: data.Publication
    viewer: Viewer
    filters: Filters = field(default_factory=Filters)

    def run(self, metric_id: str, params: Mapping[str, Any] | None = None) -> data.Answer:
        """The metric's answer under the viewer's rights and filters."""
        return data.run(
            self.publication,
            self.viewer,
            metric_id,
            params,
            period=self.filters.period,
            users=self.filters.managers,
        )

    def run_before(self, metric_id: str) -> data.Answer:
        """The same question about as many days right before, asked as long after them as it is asked now."""
        period = self.filters.period or data.default_period(self.publication, data.metric(metric_id))
        earlier, then = data.before(self.publication, period)
        return data.run(
            self.publication, self.viewer, metric_id, period=earlier, as_of=then, users=self.filters.managers
        )

    @property
    def users(self) -> dict[str, str]:
        return data.user_names(self.publication)

    def dimension(self, table: str) -> pl.DataFrame:
        return data.dimension(self.publication, table)


@dataclass(frozen=True)
class Page:
    """A page of the menu. `title` and `lead` (one sentence: which question it answers) are message ids.

    render: None for a page that also works without a publication: then `render_bare` is called with what there is.
    metric_id: what the page is about: its default period is the filter's, its answer is computed before anybody asks.
    is_compared: and so is its answer about the days before.
    """

    url: str
    title: str
    lead: str
    icon: str
    section: str
    order: int
    render: Callable[[View], None] | None = None
    render_bare: Callable[[data.Publication | None, Viewer], None] | None = None
    filters: tuple[Filter, ...] = ()
    metric_id: str | None = None
    is_compared: bool = False
    roles: tuple[Role, ...] = ROLES
    is_default: bool = False


@cache
def find_pages() -> tuple[Page, ...]:
    """Every page of `views/`, in the order of the menu."""
    modules = [importlib.import_module(f"app.views.{module.name}") for module in pkgutil.iter_modules(views.__path__)]
    found = [module.PAGE for module in modules if hasattr(module, "PAGE")]
    return tuple(sorted(found, key=lambda page: (SECTIONS.index(page.section), page.order)))
