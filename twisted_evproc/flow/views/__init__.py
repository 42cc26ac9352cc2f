"""
What does a run look like, and why does it stand where it stands?

Pure functions over the rows of a store and the description of a flow: answers in words, graphs and timelines as SVG and HTML.
"""

from .._description import describe_program
from .._errors import summary
from .._fsck import broken_invariants
from ._declared import Declared, DeclaredStep, Follows, expression_in_words, infer, read_description
from ._graph import Edge, Graph, Node, graph_of
from ._graph_picture import graph_svg
from ._page import graph_page, timeline_page
from ._sight import OPEN, SHOWN, Sight, standing
from ._timeline import Timeline, timeline_of
from ._timeline_picture import timeline_svg
from ._why import Reason, why
from ._words import ago, counted, moment, shortened, span

__all__ = [
    # a flow and a run
    "OPEN",
    "SHOWN",
    "Declared",
    "DeclaredStep",
    "Follows",
    "Sight",
    "broken_invariants",
    "describe_program",
    "expression_in_words",
    "infer",
    "read_description",
    "standing",
    # answers
    "Reason",
    "why",
    # pictures
    "Edge",
    "Graph",
    "Node",
    "Timeline",
    "graph_of",
    "graph_page",
    "graph_svg",
    "timeline_of",
    "timeline_page",
    "timeline_svg",
    # words
    "ago",
    "counted",
    "moment",
    "shortened",
    "span",
    "summary",
]
