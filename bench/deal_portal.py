"""The demo Bitrix24 with as many deals as one likes.

    python bench/deal_portal.py N [--switches JSON] [--limit]      prints `READY http://127.0.0.1:<port>` and serves

Deals are made like those of a small company when they are asked for, and each has been on one stage only, so that a
million of them cost next to nothing; everything else is the small company's.
"""

import argparse
import json
import sys
from array import array
from typing import Any

from apparatus import AS_OF, HOUSE

sys.path.insert(0, str(HOUSE))

from demo.bitrix24 import Switches, create_app
from demo.bitrix24_past import FIRST_DEAL, turn_row
from demo.bitrix24_portal import Portal, Table
from demo.bitrix24_setup import PLACES
from demo.bitrix24_values import Row
from demo.company import build
from demo.gate import serve
from demo.run import SECRET

STEP_S = 40


class Deals(Portal):
    """A portal with `n` deals, the last of which was made just now."""

    n = 0

    def _cards(self) -> dict[str, Table]:
        company, painter = self.company, self._painter
        likes = [deal for deal in company.deals if not deal.deleted_at]
        numbers = array("q", range(FIRST_DEAL, FIRST_DEAL + self.n))
        made = array("q", (company.now - (self.n - place) * STEP_S for place in range(self.n)))

        def deal(number: int) -> Row:
            at = made[number - FIRST_DEAL]
            like = likes[number % len(likes)]._replace(created_at=at, updated_at=at, closed_at=at)
            return painter.deal(like) | {"ID": number, "LEAD_ID": None}

        def turn(row_id: int) -> Row:
            like = likes[(row_id - 1 + FIRST_DEAL) % len(likes)]
            return turn_row(row_id, row_id - 1 + FIRST_DEAL, made[row_id - 1], PLACES[like.pipeline_id, like.stage_id])

        rows = array("q", range(1, self.n + 1))
        return {
            **super()._cards(),
            "deal": Table(numbers, deal, stamp="DATE_MODIFY", changed=made),
            "stagehistory:2": Table(rows, turn, stamp="CREATED_TIME", changed=made),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("deals", type=int)
    parser.add_argument("--switches", type=json.loads, default={})
    parser.add_argument("--limit", action="store_true")
    chosen = parser.parse_args()
    Deals.n = chosen.deals
    known: dict[str, Any] = {"limiter": chosen.limit, "clock_runs": chosen.limit, **chosen.switches}
    serve(create_app(build(20260101, 0.01, AS_OF), Switches(**known), secret=SECRET, portal=Deals), 0)


if __name__ == "__main__":
    main()
