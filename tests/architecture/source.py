"""What the architecture tests read: the modules of the package, each read and parsed once in a process."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from functools import cache, cached_property
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "edgeagent"


class Use(NamedTuple):
    """A line of a module, and the dotted name that stands there."""

    line: int
    name: str


class Module:
    """One Python file of the project."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = path.relative_to(ROOT).as_posix()
        self.text = path.read_text("utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        """The file, parsed."""
        return ast.parse(self.text, self.file)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """All nodes of the tree."""
        return list(ast.walk(self.tree))

    @cached_property
    def name(self) -> str:
        """The module's dotted name."""
        return ".".join(self.path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")

    @cached_property
    def imports(self) -> list[Use]:
        """Everything imported, wherever in the file; `from a import b` is `a.b`, since b may be a module."""
        return self._imports(self.nodes)

    @cached_property
    def first_imports(self) -> list[Use]:
        """What is imported as soon as this module is: all but what stands in functions."""
        return self._imports(_outside_functions(self.tree))

    def _imports(self, nodes: Iterable[ast.AST]) -> list[Use]:
        package = self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]
        found: list[Use] = []
        for node in nodes:
            if isinstance(node, ast.Import):
                found.extend(Use(node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                parts = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
                base = ".".join([*parts, node.module] if node.module else parts)
                found.extend(Use(node.lineno, f"{base}.{alias.name}") for alias in node.names)
        return found

    def names(self) -> Iterator[Use]:
        """Every dotted name that is used, such as `os.replace`, and every imported one."""
        for node in self.nodes:
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                yield Use(node.lineno, f"{node.value.id}.{node.attr}")
        yield from self.imports


def _outside_functions(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from _outside_functions(child)


def modules(*folders: str) -> list[Module]:
    """The modules below these folders of the project."""
    return [_module(path) for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


@cache
def _module(path: Path) -> Module:
    return Module(path)
