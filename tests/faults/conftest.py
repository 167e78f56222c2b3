"""Being here makes this folder's helpers importable, and those of the demo servers as real syncs read them."""

import sys
from pathlib import Path

CONNECTORS = Path(__file__).parents[1] / "connectors"
sys.path[:0] = [str(CONNECTORS), str(CONNECTORS / "suite")]  # `demo_crm`, `amo_demo`, `bitrix_demo`; `sources`
