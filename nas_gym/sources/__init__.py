"""Sources: what answers for a child, wherever it runs."""

from nas_gym.sources.base import Source, checked, ship
from nas_gym.sources.function import FunctionSource
from nas_gym.sources.training import TrainingSource

__all__ = ["FunctionSource", "Source", "TrainingSource", "checked", "ship"]
