"""Being here makes this folder's helpers importable, and those of the demo servers as real syncs read them."""

import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
# `demo_crm`, `amo_demo`, `bitrix_demo`; `sources`; `warehouse_words`
sys.path[:0] = [str(TESTS / one) for one in ("connectors", "connectors/suite", "warehouse")]
