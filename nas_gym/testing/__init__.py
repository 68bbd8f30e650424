"""Checks for parts of one's own: what this package's own parts are held to.

Each raises an `AssertionError` that says what is wrong, and gives nothing::

    from nas_gym.testing import check_search_space

    def test_my_space() -> None:
        check_search_space(MySpace((1, 8, 8), 10))
"""

from __future__ import annotations

from nas_gym.testing.agents import check_agent
from nas_gym.testing.search_spaces import check_search_space
from nas_gym.testing.sources import check_evaluator, check_reward, check_source
from nas_gym.testing.tasks import check_task

__all__ = ["check_agent", "check_evaluator", "check_reward", "check_search_space"]
__all__ += ["check_source", "check_task"]
