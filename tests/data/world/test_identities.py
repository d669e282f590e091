"""The pool of identities: looks are a function of the number, and numbers can be told apart."""

import pytest

from vidi.data.world.identities import IDENTITIES, identity
from vidi.data.world.names import CATEGORIES, COLOURS, PERSON


def test_looks_depend_on_the_number_alone():
    before = [identity(number) for number in range(IDENTITIES)]
    identity.cache_clear()
    assert [identity(number) for number in reversed(range(IDENTITIES))][::-1] == before


def test_identities_differ_and_fill_every_category_alike():
    members = [identity(number) for number in range(IDENTITIES)]
    assert len({(m.category, m.colour, m.second, m.pattern, m.half) for m in members}) == IDENTITIES
    assert [sum(m.category == c for m in members) for c in range(len(CATEGORIES))] == [50] * 5
    assert {m.colour for m in members} == set(COLOURS)
    assert {m.size for m in members if m.category != PERSON} == {"small", "medium", "large"}
    assert all(m.colour != m.second for m in members)


@pytest.mark.parametrize("number", [-1, IDENTITIES])
def test_a_number_outside_the_pool_is_refused(number):
    with pytest.raises(ValueError, match="choices are 0 to 249"):
        identity(number)
