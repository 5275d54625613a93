"""Salvage: what can be read of a damaged database, put into a new one, and a report on the rest.

SQLite itself gives up a whole table at the first damaged page that it meets on the way from the root. Here every page
is looked at by itself, and the rows of each whole one are kept, also of those to which no whole page leads any more.
"""

from .copying import damaged_tables as damaged_tables
from .copying import salvage as salvage
from .report import SalvageReport as SalvageReport
