"""The documents as a reader walks through them: the index names each, and every link leads somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.architecture.source import ROOT, modules

DOCS = ROOT / "docs"
INDEX = DOCS / "README.md"
RECORDS = sorted((DOCS / "adr").glob("*.md"))
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted(DOCS.glob("*.md")),
    *RECORDS,
    *sorted((ROOT / ".github").rglob("*.md")),
]
# These two say where things are, in words that age with the tree.
GUIDES = [ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]

_FENCE = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"`[^`\n]*`")
_HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
_PATH = re.compile(
    r"`((?:\.ci|\.github|benchmarks|deploy|docs|edgeagent|requirements|systemd|tests)/[\w./-]*)(?:::(\w+))?`"
)
_MODULE = re.compile(r"`((?:\w+/)?\w+\.py)`")
_TARGET = re.compile(r"(?:^|`)make ([a-z-]+)", re.MULTILINE)
# A hook that is called when something happens in another part.
_CONNECTED = re.compile(
    r"^ +\w+(?:\.notices)?\.(?:listen|observe|accompany)\(|^ +(?!self\.)\w+\.on_change = ", re.MULTILINE
)
# What looks like a name of the code, with an underscore or a capital letter in it.
_NAME = re.compile(r"`([a-z]*[A-Z_]\w*)`")


@cache
def text_of(page: Path) -> str:
    """A page without its examples, in which nothing is a heading or a link."""
    return _FENCE.sub("", page.read_text("utf-8"))


@cache
def anchors_of(page: Path) -> frozenset[str]:
    """The names by which the headings of a page can be linked to, as the hosts of Markdown make them."""
    names = (re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in _headings(page))
    return frozenset(names)


def _headings(page: Path) -> list[str]:
    return [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in _HEADING.findall(text_of(page))]


def links_of(page: Path) -> Iterator[tuple[str, Path, str]]:
    """Every link of a page into the project: as it is written, the file, and the heading there or ""."""
    for link in _LINK.findall(_CODE.sub("", text_of(page))):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        yield link, (page.parent / path).resolve() if path else page, anchor


def test_the_index_names_every_document() -> None:
    linked = {target for _, target, _ in links_of(INDEX)}
    missing = [page.relative_to(ROOT).as_posix() for page in PAGES if page.parent in {DOCS, DOCS / "adr"}]
    missing = [name for name in missing if ROOT / name not in linked | {INDEX}]
    assert missing == [], f"docs/README.md is the index; say there what these are about: {missing}"


def test_every_link_leads_to_a_file_and_to_a_heading_of_it() -> None:
    lost = []
    for page in PAGES:
        for link, target, anchor in links_of(page):
            there = target.exists() and (not anchor or anchor in anchors_of(target))
            if not there:
                lost.append(f"{page.relative_to(ROOT).as_posix()}: {link}")
    assert lost == []


@pytest.mark.slow
def test_the_documents_make_a_site(tmp_path: Path) -> None:
    places = [f"BUILD={tmp_path}", f"BIN={Path(sys.executable).parent}"]
    # Everything it needs is installed: this process runs with it.
    made = ["make", "--old-file", ".venv/.dev", "docs", *places]
    done = subprocess.run(made, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "overheat" in (tmp_path / "site" / "index.html").read_text("utf-8")


def test_decisions_are_numbered_without_a_gap_and_have_one_form() -> None:
    assert [int(page.name[:4]) for page in RECORDS] == list(range(1, len(RECORDS) + 1))
    for page in RECORDS:
        text = text_of(page)
        assert text.startswith(f"# {int(page.name[:4])}. "), page.name
        assert re.search(r"^Date: \d{4}-\d\d-\d\d · Status: (accepted|replaced by \S+)$", text, re.MULTILINE), page.name
        headings = [heading for heading in _headings(page)[1:] if heading != "Measured"]
        assert headings in (["Question", "Outcome"], ["Question", "Considered", "Outcome"]), page.name


def test_what_the_guides_name_is_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    lost = []
    for guide in GUIDES:
        text = guide.read_text("utf-8")
        for path, test in _PATH.findall(text):
            file = ROOT / path
            if not file.exists() or (test and f"def {test}(" not in file.read_text("utf-8")):
                lost.append(f"{guide.name}: {path}{'::' if test else ''}{test}")
        lost += [f"{guide.name}: make {name}" for name in _TARGET.findall(text) if name not in targets]
    assert lost == []


def test_a_name_that_the_guides_give_is_one_of_the_code() -> None:
    # Marks of tests are in pyproject.toml; the page in the browser has names of its own.
    others = [ROOT / "pyproject.toml", *(ROOT / "edgeagent" / "httpapi" / "page").glob("*.js")]
    texts = [path.read_text("utf-8") for path in others]
    texts += [f"{module.path.stem}\n{module.text}" for module in modules("edgeagent", "tests")]

    def known(name: str) -> bool:
        word = re.compile(rf"\b{name}\b")
        return any(name in text and word.search(text) for text in texts)

    named = {name: guide.name for guide in GUIDES for name in _NAME.findall(text_of(guide))}
    assert [f"{guide}: {name}" for name, guide in named.items() if not known(name)] == []


def test_a_scene_is_in_its_module_and_has_what_is_said_of_it() -> None:
    table = (ROOT / "CONTRIBUTING.md").read_text("utf-8").partition("\n| scene |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| (`.+?) \|", table, re.MULTILINE)
    assert rows, "CONTRIBUTING.md has no table of scenes"
    everywhere = set().union(*(_defined(file) for file in (ROOT / "tests").rglob("conftest.py")))
    lost = []
    for row in rows:  # `module`: `Name`, `name`; fixtures `name`. Or modules alone.
        fakes = re.findall(r"`(\w+)`:", row) or re.findall(r"`(\w+)`", row)
        files = [ROOT / "tests" / "fakes" / f"{name}.py" for name in fakes]
        lost += [file.relative_to(ROOT).as_posix() for file in files if not file.exists()]
        known = everywhere.union(fakes, *(_defined(file) for file in files if file.exists()))
        lost += [f"{row}: {name}" for name in re.findall(r"`(\w+)`", row) if name not in known]
    assert lost == []


def _defined(file: Path) -> set[str]:
    return set(re.findall(r"^ *(?:async )?(?:class|def) (\w+)", file.read_text("utf-8"), re.MULTILINE))


def test_the_modules_that_the_architecture_names_are_there() -> None:
    files = [path.relative_to(ROOT / "edgeagent").as_posix() for path in (ROOT / "edgeagent").rglob("*.py")]
    named = _MODULE.findall((DOCS / "architecture.md").read_text("utf-8"))
    lost = [name for name in named if not any(f"/{file}".endswith(f"/{name}") for file in files)]
    assert lost == []


def test_every_module_of_the_agent_is_named() -> None:
    named = set(_MODULE.findall((DOCS / "architecture.md").read_text("utf-8")))
    agent = [module.path.name for module in modules("edgeagent/agent") if module.path.name != "__init__.py"]
    assert [name for name in agent if not named & {name, f"agent/{name}"}] == []


def test_parts_of_the_agent_are_connected_where_the_architecture_says() -> None:
    paragraphs = (DOCS / "architecture.md").read_text("utf-8").split("\n\n")
    [said] = [paragraph for paragraph in paragraphs if "Callbacks from one part" in paragraph]
    places = {name.rpartition("/")[2] for name in _MODULE.findall(said)}
    connecting = {module.path.name for module in modules("edgeagent/agent") if _CONNECTED.search(module.text)}
    assert {name for name in connecting - places if not name.endswith("_parts.py")} == set()
