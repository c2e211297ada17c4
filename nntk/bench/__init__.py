"""`nntk bench`: what the exact Newton step costs on this machine."""

from nntk.bench import step  # registers its tables
from nntk.bench.run import bench
from nntk.bench.tables import TABLES

__all__ = ["TABLES", "bench", "step"]
