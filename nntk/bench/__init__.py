"""`nntk bench`: what the exact Newton step costs on this machine.

`run` fills the tables for the command. All else here measures, and imports torch, NumPy and nntk_accelerated alone:
`make gpu` calls it where the rest of the project cannot be imported.
"""

from nntk.bench import step  # registers its tables
from nntk.bench.tables import TABLES

__all__ = ["TABLES", "step"]
