"""The logger that aiodiskqueue's users configure."""

from __future__ import annotations

import logging

logger = logging.getLogger("aiodiskqueue")
