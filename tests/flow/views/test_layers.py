"""Places of nodes: none overlap, lines run downwards, crossings are few."""

from __future__ import annotations

from itertools import combinations, pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from twisted_evproc.flow.views._layers import Layout, Size, lay_out

SIZE = Size(80, 30)


def boxes_overlap(layout: Layout, sizes: list[Size]) -> bool:
    for (a, (ax, ay)), (b, (bx, by)) in combinations(enumerate(layout.places), 2):
        near_x = (sizes[a].width + sizes[b].width) / 2 - 0.01
        if abs(ax - bx) < near_x and abs(ay - by) < (sizes[a].height + sizes[b].height) / 2 - 0.01:
            return True
    return False


def test_nothing() -> None:
    assert lay_out([], []) == Layout([], [], 0, 0)


def test_a_chain_is_a_straight_line_downwards() -> None:
    layout = lay_out([SIZE] * 5, [(number, number + 1) for number in range(4)])

    assert len({round(x, 3) for x, _ in layout.places}) == 1
    assert all(upper[1] < lower[1] for upper, lower in pairwise(layout.places))


def test_a_parent_is_amid_its_children() -> None:
    layout = lay_out([SIZE] * 3, [(0, 1), (0, 2)])

    assert abs(layout.places[0][0] - (layout.places[1][0] + layout.places[2][0]) / 2) < 0.01


def test_lines_do_not_cross_where_they_need_not() -> None:
    # Two chains whose nodes come in turns, and in the opposite order.
    layout = lay_out([SIZE] * 6, [(0, 3), (3, 4), (1, 2), (2, 5)])
    first, second = layout.places[0][0], layout.places[1][0]

    assert (layout.places[3][0] - layout.places[2][0]) * (first - second) > 0
    assert (layout.places[4][0] - layout.places[5][0]) * (first - second) > 0


def test_a_late_beginning_is_close_to_what_follows_from_it() -> None:
    layout = lay_out([SIZE] * 5, [(0, 1), (1, 2), (2, 3), (4, 3)])

    assert layout.places[4][1] == layout.places[2][1]


def test_a_circle_has_one_line_upwards() -> None:
    layout = lay_out([SIZE] * 3, [(0, 1), (1, 2), (2, 0)])

    assert [route.turned for route in layout.routes] == [False, False, True]
    assert (layout.routes[2].source, layout.routes[2].target) == (2, 0)


def test_a_node_that_leads_to_itself() -> None:
    layout = lay_out([SIZE], [(0, 0)])

    assert layout.places == [(40, 15)]


def test_a_chain_of_thousands_needs_no_recursion() -> None:
    layout = lay_out([SIZE] * 3000, [(number, number + 1) for number in range(2999)])

    assert layout.height > 3000 * 30


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_graph_makes_nodes_overlap_or_leave_the_picture(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.builds(Size, st.floats(20, 300), st.floats(10, 60)), min_size=1, max_size=14))
    node = st.integers(0, len(sizes) - 1)
    edges = data.draw(st.lists(st.tuples(node, node), max_size=30))

    layout = lay_out(sizes, edges)

    assert not boxes_overlap(layout, sizes)
    assert len(layout.routes) == len(edges)
    for (x, y), size in zip(layout.places, sizes, strict=True):
        assert size.width / 2 - 0.01 <= x <= layout.width - size.width / 2 + 0.01
        assert size.height / 2 - 0.01 <= y <= layout.height - size.height / 2 + 0.01
    for route in layout.routes:
        heights = [y for _, y in route.points]
        assert heights == sorted(heights) or route.source == route.target
