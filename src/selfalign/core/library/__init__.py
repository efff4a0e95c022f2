"""The human's whole contribution as files, and what can be asked about it.

Library, open_library     where a file is looked for, and what it holds
check_library             schema and sense: findings a person can act on
count_library             the supervision ledger, by the paper's accounting
count_salmon              the same for SALMON
diff_libraries            what an edit changes, and which stages it renames
"""

from selfalign.core.library.check import GAPS, Window, check_library
from selfalign.core.library.diff import READERS, Change, diff_libraries, renamed_by
from selfalign.core.library.findings import Finding
from selfalign.core.library.folders import SHIPPED, Library, open_library, overlays
from selfalign.core.library.ledger import (
    PAPER_LIMIT,
    SYSTEMS,
    LedgerRow,
    System,
    count_library,
    count_salmon,
)
from selfalign.core.library.seeds import IdentityPair, QuestionType, SeedTask

__all__ = [
    "GAPS",
    "PAPER_LIMIT",
    "READERS",
    "SHIPPED",
    "SYSTEMS",
    "Change",
    "Finding",
    "IdentityPair",
    "LedgerRow",
    "Library",
    "QuestionType",
    "SeedTask",
    "System",
    "Window",
    "check_library",
    "count_library",
    "count_salmon",
    "diff_libraries",
    "open_library",
    "overlays",
    "renamed_by",
]
