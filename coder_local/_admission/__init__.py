"""Who may call what: tokens and scopes, limits, confirmation, and the doors of HTTP.

What a door cannot prove it refuses, before anything is looked up for the caller; a refusal names the rule and the cure.
"""

from .admission import Admission as Admission
