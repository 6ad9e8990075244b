"""What a kept figure was made with: a digest of the code that it depends on, without comments and docstrings."""

from __future__ import annotations

import ast
import hashlib
import inspect
import textwrap
from collections.abc import Iterable
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from penstock_lab.simulate.policies.catalog import ENTRIES, Case
from penstock_lab.simulate.policies.registry import TUNED

_SIMULATOR = "penstock_lab.simulate"
_TRAFFIC = (
    "penstock_lab.simulate.scaling",
    "penstock_lab.simulate.synthetic",
    "benchmarks.policy.traffic",
    "benchmarks.policy.cases",
)
_POLICIES = ("penstock_lab.simulate.policies", "penstock_operator.core")


@lru_cache(maxsize=1)
def simulator() -> str:
    """Of engine, world, score and oracle, and of what makes the traffic."""
    return _digest(_closure("penstock_lab.simulate.oracle", (_SIMULATOR,)) | set(_TRAFFIC))


@lru_cache(maxsize=64)
def policy(name: str) -> str:
    """Of a policy and of how it is made; a fixed count and the oracle are part of the simulator."""
    entry = ENTRIES.get(name.removesuffix(TUNED))
    if entry is None:
        return simulator()
    source = textwrap.dedent(inspect.getsource(entry.make))
    bound = [repr(cell.cell_contents) for cell in entry.make.__closure__ or ()]
    body = ast.parse(source).body[0]
    names = {node.id for node in ast.walk(body) if isinstance(node, ast.Name)} - _annotations(body)
    made = [value for name, value in entry.make.__globals__.items() if inspect.isclass(value) and name in names]
    used = {value.__module__ for value in made}
    modules = {one for module in used for one in _closure(module, _POLICIES)}
    return _digest(modules, source, inspect.getsource(Case), *bound)


def _annotations(of: ast.stmt) -> set[str]:
    """Names that stand for types alone: what is made of them is not part of a policy."""
    assert isinstance(of, ast.FunctionDef)
    found = [of.returns, *(one.annotation for one in of.args.args)]
    return {node.id for one in found if one is not None for node in ast.walk(one) if isinstance(node, ast.Name)}


def _digest(modules: Iterable[str], *more: str) -> str:
    found = hashlib.sha256()
    for module in sorted(modules):
        found.update(f"{module}\n{_text(module)}\n".encode())
    for text in more:
        found.update(text.encode())
    return found.hexdigest()[:12]


@lru_cache(maxsize=256)
def _tree(module: str) -> ast.Module:
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8"))


def _text(module: str) -> str:
    tree = ast.parse(ast.unparse(_tree(module)))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if (
            isinstance(body, list)
            and body
            and isinstance(body[0], ast.Expr)
            and isinstance(body[0].value, ast.Constant)
        ):
            body.pop(0)
    return ast.dump(tree)


def _closure(module: str, prefixes: tuple[str, ...]) -> set[str]:
    """A module and those that it imports, of the given packages."""
    found: set[str] = set()
    waiting = [module]
    while waiting:
        one = waiting.pop()
        if one in found or not one.startswith(prefixes):
            continue
        found.add(one)
        for node in ast.walk(_tree(one)):
            if isinstance(node, ast.ImportFrom) and node.module is not None and not node.level:
                waiting.append(node.module)
                waiting += [
                    f"{node.module}.{name.name}" for name in node.names if _exists(f"{node.module}.{name.name}")
                ]
    return found


def _exists(module: str) -> bool:
    if not module.startswith((*_POLICIES, _SIMULATOR)):
        return False
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False
