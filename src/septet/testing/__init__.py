"""The contract suite: what every task, method, metric and augmenter must keep, as checks that anyone can run on theirs.

    from septet.testing import check_augmenter, check_method, check_metric, check_task

    check_task("classify", {"text": "body", "label": "team"}, rows)

Each check runs on a tiny model built in code, in seconds. The first promise that is broken raises a `ContractError` that says what was
expected and what was received. They say that a part is right, not that it is good: that is what `septet evaluate` is for.
"""

from __future__ import annotations

from septet.testing.augmenter import check_augmenter
from septet.testing.contract import ContractError
from septet.testing.method import check_method
from septet.testing.metric import check_metric
from septet.testing.task import check_task
from septet.testing.tiny import checkpoint

__all__ = ["ContractError", "check_augmenter", "check_method", "check_metric", "check_task", "checkpoint"]
