"""Exports with something wrong in them: parts that are missing, of another kind, or somewhere else."""

import copy
import json

from hypothesis import strategies as st

from importing import exports

ODD = st.sampled_from([
    None, "", "x", 0, -1, 7, 1.5, True, [], {}, [None], ["a", 1], {"type": "x"}, "9" * 40, 10**30, "1e400", "'\"\\",
    "\n",
])  # fmt: skip


def places(data, at=()):
    """The places in data, each as the keys that lead there."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    found = []
    for key, value in items:
        found.append((*at, key))
        found += places(value, (*at, key))
    return found


def at(data, place):
    for key in place:
        data = data[key]
    return data


@st.composite
def mutated(draw, system):
    """An export of a system with up to three changes."""
    files = [path for path in exports(system) if path.suffix == ".json"]
    data = json.loads(draw(st.sampled_from(files)).read_text(encoding="utf-8"))
    for _ in range(draw(st.integers(1, 3))):
        found = places(data)
        if not found:
            break
        *around, key = draw(st.sampled_from(found))
        inside, change = at(data, around), draw(st.sampled_from(["away", "odd", "other", "id"]))
        if change == "away":
            del inside[key]
        elif change == "odd":
            inside[key] = copy.deepcopy(draw(ODD))
        elif change == "id":
            inside[key] = draw(st.sampled_from(["1", "2", "3", "4", "99"]))
        else:
            inside[key] = copy.deepcopy(at(data, draw(st.sampled_from(found))))
    return data
