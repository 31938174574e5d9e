"""What gjson 1.19 finds, oddities and all, is found here.

Each expectation was also put to gjson itself; only in a text that is not JSON (`bad.@fromstr`) it finds what is none.
"""

from __future__ import annotations

from typing import Any

import pytest

from edgeagent.lang.gjson.path import MISSING, compile_path, lookup

PLANT: dict[str, Any] = {
    "site": {"name": "north", "floor": 2},
    "pumps": [
        {"id": "p1", "flow": 12.5, "on": True, "parts": ["seal", "rotor"]},
        {"id": "p2", "flow": 30, "on": False, "parts": ["seal"]},
        {"id": "p3", "flow": "12", "parts": []},
        {"id": "q1", "flow": None, "on": True},
    ],
    "mixed": [1, "2", None, True, False, {"": 7}, [3, [4, [5]]], 45, "abc"],
    "names": ["anna", "bob", "x*y", "Zoë"],
    "a.b": {"c|d": 1},
    "#": {"in": "hash"},
    "columns": {"t": [1, 2], "v": [3], "note": "x"},
    "json": '{"q": [1, 2]}',
    "bad": "{",
    "nil": None,
}
IDS = "pumps.#({})#.id"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("pumps.#", 4),
        ("site.#", MISSING),
        ("#", {"in": "hash"}),
        ("#.in", "hash"),
        ("pumps.#.id", ["p1", "p2", "p3", "q1"]),
        ("pumps.#.parts.#", [2, 1, 0]),
        ("pumps.#.parts.0", ["seal", "seal"]),
        ("pumps.#.parts|0", ["seal", "rotor"]),
        ("pumps.#.parts|0.1", "rotor"),
        ("pumps.#.nothing", []),
        ("pumps.#.nothing|0", MISSING),
        ("pumps.#.nothing.@keys", [[], [], [], []]),
        ("mixed.#.@values.0", [1, "2", None, True, False, 7, 3, 45, "abc"]),
        ("site.#.name", MISSING),
        ("site.#.[name]", []),
        ("nil.#", MISSING),
        ("mixed.6.#", 2),
    ],
)
def test_a_hash_counts_and_collects_in_arrays_and_is_a_name_in_objects(path: str, value: object) -> None:
    assert lookup(compile_path(path), PLANT) == value


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ('id=="p2"', ["p2"]),
        ("id=p2", ["p2"]),
        (' id == "p2" ', ["p2"]),
        ('id!="p2"', ["p1", "p3", "q1"]),
        ('id>"p2"', ["p3", "q1"]),
        ('id<="p2"', ["p1", "p2"]),
        ('id%"p*"', ["p1", "p2", "p3"]),
        ('id%"?1"', ["p1", "q1"]),
        ('id!%"p?"', ["q1"]),
        ("flow>12", ["p1", "p2"]),
        ("flow>=12", ["p1", "p2", "p3"]),  # "12" is a text, compared with the text "12"
        ('flow=="30"', ["p2"]),
        ("flow==3e1", ["p2"]),
        ("flow!=30", ["p1", "p3"]),  # null fits nothing
        ("flow>much", ["p1", "p2"]),  # numbers are compared with 0, which "much" is
        ("flow<inf", ["p1", "p2", "p3"]),
        ("flow", ["p1", "p2", "p3", "q1"]),
        ("flow%1*", ["p3"]),
        ("on==true", ["p1", "q1"]),
        ("on!=true", ["p2"]),
        ('on==""', []),
        ("on!=0", ["p1", "p2", "q1"]),
        ("on>false", ["p1", "q1"]),
        ("on<true", ["p2"]),
        ("on<=true", ["p2"]),  # and not those that are true
        ("on>=true", ["p1", "q1"]),
        ("on>=1", ["p1", "q1"]),
        ("parts", ["p1", "p2", "p3"]),
        ("parts!=1", []),
        ("parts.#>=1", ["p1", "p2"]),
        ("parts.0==seal", ["p1", "p2"]),
        ('parts.#(=="rotor")', ["p1"]),
        ('parts.#(%"s*")#|#>0', ["p1", "p2"]),
        (r'i\d=="p1"', ["p1"]),
        ("nothing", []),
    ],
)
def test_a_query_compares_as_gjson_does(query: str, ids: list[str]) -> None:
    assert lookup(compile_path(IDS.format(query)), PLANT) == ids
    first = lookup(compile_path(f"pumps.#({query}).id"), PLANT)
    assert first == (ids[0] if ids else MISSING)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("mixed.#(>2)#", [{"": 7}, 45, "abc"]),  # gjson reads the empty path as the member ""
        ("mixed.#(!=1)#", ["2", True, False, {"": 7}, 45, "abc"]),
        ("mixed.#(==true)", True),
        ("mixed.#(==true)#", [True]),
        ('mixed.#(%"*")#', ["2", "abc"]),
        (r'names.#(%"x\\*y")', "x*y"),
        ('names.#(%"Zo?")', "Zoë"),
        ('names.#(=="Zo\\u00eb")', "Zoë"),
        ("pumps.#(flow>12)#|#", 2),
        ("pumps.#(flow>99)#|#", 0),
        ("pumps.#(flow>99)#.id|#", []),  # without a match, gjson forgets this pipe
        ("pumps.#(flow>12)#.id|#", 2),
        ("pumps.#(flow>12)#.parts.#", [2, 1]),
        ("pumps.#(flow>12)#.nothing", []),
        ("pumps.#(flow>12)#.[id,on]", [["p1", True], ["p2", False]]),
        ("pumps.#(flow>99).id|@keys", MISSING),
        ("pumps.#(flow>99)|@keys", []),
        ("site.#(name=1)", MISSING),
        ("site.#(name=1)|@keys", []),
        ("nil.#(a=1)#", MISSING),
        ("*.#(id=p2).flow", 30),
        ("*.#(id=p2).nothing", MISSING),
    ],
)
def test_a_querys_oddities_are_gjsons(path: str, value: object) -> None:
    assert lookup(compile_path(path), PLANT) == value


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("si*.name", "north"),
        ("s?te.fl*r", 2),
        ("*.floor", 2),
        ("*.*.0.id", MISSING),
        ("*s.0.id", "p1"),
        ("mixed.*", MISSING),
        (r"a\.*.c\|d", 1),
        (r"*\.?.c\|d", 1),
        ("colum*.?", [1, 2]),
        ("**.name", "north"),
        ("*z*", MISSING),
    ],
)
def test_a_pattern_finds_the_first_member_that_leads_on(path: str, value: object) -> None:
    assert lookup(compile_path(path), PLANT) == value


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("site|name", "north"),
        ("pumps|1|id", "p2"),
        ("nothing|name", MISSING),
        ("nothing.@keys", []),
        ("nothing.more.@keys", MISSING),
        ("nothing.@this", MISSING),
        ("nothing.[a]", []),
        ("nothing|{a}", {}),
        ('nothing|!"x"', "x"),
        ("pumps.9.@values", []),
        ("pumps.x.@values", []),
        (r"pumps.x\.y.@values", MISSING),
        ("[site.name,nothing,nil]", ["north", None]),
        ("{site.name,nothing,nil}", {"name": "north", "nil": None}),
        ('{"n":site.name,f:site.floor,pumps.#}', {"n": "north", "f": 2, "_": 4}),
        (r"{a\.b}", {r"a\.b": {"c|d": 1}}),
        ("{pumps.#(on=true).id,site.@keys}", {"id": "p1", "@keys": ["name", "floor"]}),
        ("pumps.#.{id,flow}|1", {"id": "p2", "flow": 30}),
        ("[pumps.0.id,[site.floor,{site.name}]].1.1.name", "north"),
        ("[site.name,,site.floor,]", ["north", 2]),
        ("site.[name,,floor]|1", 2),
        ('{"n":site.name,,"f":,site.floor}', {"n": "north", "floor": 2}),
        ('{"a":mixed.6.@flatten:{"deep":true},"b":!"x"}', {"a": [3, 4, 5], "b": "x"}),
        ('[mixed.6.@flatten:{"deep":true},site.floor]', [[3, 4, 5], 2]),
        ('{mixed.6.@flatten:{"deep":true}}', {"_": [3, 4, 5]}),
        ('!"x"', "x"),
        ("!5", 5),
        ("!-1.5e2", -150.0),
        ("!null", None),
        ("!true.@tostr", "true"),
        ('!{"a":[1,{"b":2}]}.a.1.b', 2),
        ('site|!"flow (m3/h)"', "flow (m3/h)"),
    ],
)
def test_pipes_multipaths_and_literals(path: str, value: object) -> None:
    found = lookup(compile_path(path), PLANT)
    assert found == value
    assert repr(found) == repr(value)  # the order of members, and the types of numbers


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("@this.site.floor", 2),
        ("site.@valid", {"name": "north", "floor": 2}),
        ("site.@ugly.floor", 2),
        ("names.@reverse.0", "Zoë"),
        ("site.@reverse", {"floor": 2, "name": "north"}),
        ("site.floor.@reverse", 2),
        ("mixed.6.@flatten", [3, 4, [5]]),
        ('mixed.6.@flatten:{"deep":true}', [3, 4, 5]),
        ('mixed.6.@flatten:{"deep":false}.#', 3),
        ("site.@flatten", {"name": "north", "floor": 2}),
        ("pumps.@join.id", "q1"),
        ("pumps.@join.parts", []),
        ('pumps.@join:{"preserve":false}.id', "q1"),
        ("names.@join", {}),
        ("site.name.@join", "north"),
        ("site.@keys", ["name", "floor"]),
        ("names.@keys", [None, None, None, None]),
        ("nil.@keys", [None]),
        ("site.@values", ["north", 2]),
        ("names.@values.1", "bob"),
        ("site.floor.@values", [2]),
        ("site.floor.@tostr", "2"),
        ("site.name.@tostr", '"north"'),
        ("site.@tostr", '{"name":"north","floor":2}'),
        ("nothing.@tostr", ""),
        ("json.@fromstr.q.1", 2),
        ("bad.@fromstr", MISSING),
        ("nil.@fromstr", MISSING),
        ("nothing.@fromstr", MISSING),
        ("site.@fromstr.floor", 2),
        ("site.@tostr.@fromstr.name", "north"),
        ("columns.@group", [{"t": 1, "v": 3}, {"t": 2}]),
        ("names.@group", MISSING),
    ],
)
def test_modifiers(path: str, value: object) -> None:
    found = lookup(compile_path(path), PLANT)
    assert found == value
    assert repr(found) == repr(value)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("..#", "JSON lines"),
        ("a[0]", r"write \\\["),
        ("a#", "'#' is not supported in a name"),
        ("a.{b", "'{' is not closed"),
        ("a.]", "']' is not supported in a name"),
        ("a\\", "backslash"),
        ('#(a="b', "not closed"),
        ("#(a=1", r"'\)' is missing"),
        ("#()", "asks nothing"),
        ("#(.a=1)", "empty part"),
        ("#(a=)", "no value"),
        ("#(a==)", "no value"),
        ("#(a!b)", "no operator"),
        ("#(a=b=c)", "double quotes"),
        ('#(a="b"c)', "not text in JSON"),
        (r'#(a="\x")', "not text in JSON"),
        ("#(a==~true)", "~true is not supported"),
        ('#(a=="~true")', "~true is not supported"),
        ("#(a==0x10)", "decimal"),
        (r'#(a%"\\")', "escapes nothing"),
        ("#(a=1)x", "'x' behind"),
        ("#(a=1)##", "'#' behind"),
        ("#[a=1]", r"'\[' behind #"),
        ("#a", "'a' behind #"),
        ("a.#.[b|c]", "would split"),
        ('a.#.#(b="x|y")', "would split"),
        ("@pretty", "leave it out"),
        ("a.@dig:b", "not supported"),
        ("@keys:x", "takes no argument"),
        ("@keys:{}", "takes no argument"),
        ("@flatten:", "can only be"),
        ("@flatten:{deep}", "deep"),
        ('@flatten:{"deep":1}', "deep"),
        ('@flatten:{"deep":true}x', "misplaced"),
        ('@join:{"preserve":true}', "same name"),
        ("[a]b", "misplaced"),
        ("[a, b]", "blanks"),
        ("[n:a]", "only members of"),
        ('{@flatten:{"deep":true}}', "only members of"),
        ('{"n:a}', "not closed"),
        ('{"\\x":a}', "not text in JSON"),
        ("{:a}", "double quotes"),
        ("{a.x,b.x}", "two members of one name"),
        ("{a.#,b.#}", "two members of one name"),
        (r"a\*b*", "cannot tell"),
        ("!x", "behind ! stands JSON"),
        ("! null", "behind ! stands JSON"),
        ("!5|@tostr", "nothing can follow"),
        ('!"a"|@tostr', "nothing can follow"),
        ('!"a) b"', "takes the bracket"),
        (".".join("a" * 65), "more than 64 parts"),
        ("[" + ",".join("a" * 64) + "]", "more than 64 parts"),
        ("a" * 1025, "1025 characters"),
    ],
)
def test_what_is_not_supported_is_refused_with_its_reason(path: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        compile_path(path)


def test_the_deepest_path_that_is_taken_does_not_exhaust_the_stack() -> None:
    data: Any = "found"
    for _ in range(40):
        data = [{"a": data}]
    assert lookup(compile_path(".".join(["0.a"] * 31 + ["#.a"])), data) is not MISSING
    assert lookup(compile_path("|".join(["@this"] * 64)), data) == data
    nested = "a"
    for _ in range(62):
        nested = f"[{nested}]"
    assert lookup(compile_path(nested), {"a": 1}) is not MISSING


@pytest.mark.parametrize(
    ("pattern", "fitting"),
    [
        ("a*a", ["aa", "aba"]),
        ("*a*", ["a", "aa", "ab", "aba", "ba\n"]),
        ("*b*a*", ["aba", "ba\n"]),
        ("*a*a", ["aa", "aba"]),
        ("*a*b*a", ["aba"]),
        ("a*", ["a", "aa", "ab", "aba"]),
        ("*a", ["a", "aa", "aba"]),
        ("?", ["a"]),
        ("?*?", ["aa", "ab", "aba", "ba\n"]),
        ("??", ["aa", "ab"]),
        ("ba?", ["ba\n"]),
        ("***", ["", "a", "aa", "ab", "aba", "ba\n"]),
        ("", [""]),
    ],
)
def test_a_pattern_fits_the_whole_text(pattern: str, fitting: list[str]) -> None:
    texts = ["", "a", "aa", "ab", "aba", "ba\n"]
    assert lookup(compile_path(f'#(%"{pattern}")#'), texts) == fitting


@pytest.mark.parametrize("pattern", ["*a*a*a*a*a*a*b", "*?a?*?a?*?a?*b", "*" + "a" * 200 + "?*b"])
def test_no_text_can_hang_a_pattern(pattern: str) -> None:
    path = compile_path(f'body.#(%"{pattern}")#')
    assert lookup(path, {"body": ["a" * 250_000]}) == []
