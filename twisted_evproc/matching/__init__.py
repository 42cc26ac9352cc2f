"""
Does this event concern this handler?

Match-specs over the details of an event, matchers for single values, filters over the event itself, and the index that finds the
handlers of an event without asking all of them.
"""

from ._at_path import Eq, Exists, Glob, In, Matches, Regex
from ._combinations import Accept, And, Not, Or, as_filter
from ._comparisons import Geq, Gt, Leq, Lt, NumCmp
from ._content_filter import ContentFilter
from ._functions import Dyn, Predicate
from ._index import EqualityIndex
from ._matchers import ANY, Matcher, between, glob, none_of, one_of, present, regex, satisfies
from ._paths import MISSING, follow, look_up, parse_path, path_notation
from ._spec import MatchSpec, detail
from ._values import is_hashable, same

__all__ = [
    "ANY",
    "MISSING",
    "Accept",
    "And",
    "ContentFilter",
    "Dyn",
    "Eq",
    "EqualityIndex",
    "Exists",
    "Geq",
    "Glob",
    "Gt",
    "In",
    "Leq",
    "Lt",
    "MatchSpec",
    "Matcher",
    "Matches",
    "Not",
    "NumCmp",
    "Or",
    "Predicate",
    "Regex",
    "as_filter",
    "between",
    "detail",
    "follow",
    "glob",
    "is_hashable",
    "look_up",
    "none_of",
    "one_of",
    "parse_path",
    "path_notation",
    "present",
    "regex",
    "same",
    "satisfies",
]
