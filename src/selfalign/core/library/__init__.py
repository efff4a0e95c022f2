"""The human's whole contribution as files, and what can be asked about it.

Library, open_library     where a file is looked for, and what it holds
check_library             schema and sense: findings a person can act on
count_library             the supervision ledger, by the paper's accounting
diff_libraries            what an edit changes, and which stages it renames
"""

from selfalign.core.library.folders import SHIPPED, Library, open_library
from selfalign.core.library.seeds import IdentityPair, QuestionType, SeedTask

__all__ = [
    "SHIPPED",
    "IdentityPair",
    "Library",
    "QuestionType",
    "SeedTask",
    "open_library",
]
