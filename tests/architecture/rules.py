"""The rules of the house that no linter knows. Each yields a sentence for every place that breaks it."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Collection, Iterator

from architecture.sources import Source

Rule = Callable[[Source], Iterator[str]]

FILE_LINES_MAX = 600
FILE_LINES_NOTED = 400
FUNCTION_LINES_MAX = 70

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_VAGUE_WORDS = frozenset({"util", "utils", "helper", "helpers", "common", "manager", "managers"})
_SQL = re.compile(
    r"""^\s*(
        SELECT\s[\s\S]+?\sFROM\s | INSERT\s+(OR\s+\w+\s+)?INTO\s | UPDATE\s+\w+\s+SET\s | DELETE\s+FROM\s
        | WITH\s+\w+\s+AS\s | (CREATE|ALTER|DROP)\s+(UNIQUE\s+)?(TABLE|INDEX|VIEW|FUNCTION|TRIGGER|TYPE|SCHEMA)\s
        | TRUNCATE\s | PRAGMA\s | COPY\s+\w+\s*(\(|FROM\s|TO\s) | LISTEN\s | NOTIFY\s | LOCK\s+TABLE\s
    )""",
    re.VERBOSE,
)
_CLOCK_CALLS = frozenset(
    {"datetime.now", "datetime.utcnow", "datetime.today", "date.today", "time.time", "time.time_ns", "time.localtime"}
)
_TELLING_CALLS = frozenset(
    # What a handler must do to be allowed to catch everything: log, or count.
    {"debug", "info", "warning", "error", "exception", "critical", "inc", "observe"}
)
# A switch: `noqa` or `type: ignore`, then its codes, then whatever says why.
_SWITCH = re.compile(r"#\s*(?P<what>noqa|type:\s*ignore)(?P<rest>.*)", re.IGNORECASE)
_NOQA_REST = re.compile(r":\s*[A-Z]+[0-9]+(\s*,\s*[A-Z]+[0-9]+)*\s*(?P<reason>.*)")
_IGNORE_REST = re.compile(r"\[[a-z0-9-]+(\s*,\s*[a-z0-9-]+)*\]\s*(?P<reason>.*)")
_WORDS_IN_REASON_MIN = 2


def file_is_short(file: Source) -> Iterator[str]:
    """A file has at most 600 lines."""
    lines = file.text.count("\n")
    if lines > FILE_LINES_MAX:
        yield f"{file.place}: {lines} lines; at most {FILE_LINES_MAX}"


def functions_are_short(file: Source) -> Iterator[str]:
    """A function has at most 70 lines."""
    for node in ast.walk(file.tree):
        if isinstance(node, _FUNCTIONS) and node.end_lineno is not None:
            lines = node.end_lineno - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                yield f"{file.place}:{node.lineno}: {node.name} has {lines} lines; at most {FUNCTION_LINES_MAX}"


def has_docstring(file: Source) -> Iterator[str]:
    """Every module says what it is for."""
    if not ast.get_docstring(file.tree):
        yield f"{file.place}: has no docstring"


def no_global_statement(file: Source) -> Iterator[str]:
    """State lives in objects that bootstrap builds."""
    for node in ast.walk(file.tree):
        if isinstance(node, ast.Global):
            yield f"{file.place}:{node.lineno}: global {', '.join(node.names)}"


def imports_at_the_top(file: Source) -> Iterator[str]:
    """Only bootstrap loads modules by need."""
    if file.room == "bootstrap":
        return
    for function in ast.walk(file.tree):
        if isinstance(function, _FUNCTIONS):
            for node in ast.walk(function):
                if isinstance(node, ast.Import | ast.ImportFrom):
                    yield f"{file.place}:{node.lineno}: import inside {function.name}"


def sql_in_stores(file: Source) -> Iterator[str]:
    """SQL stays in stores."""
    if file.room == "stores":
        return
    for node in ast.walk(file.tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and is_sql(node.value):
            yield f"{file.place}:{node.lineno}: SQL outside stores: {node.value.strip()[:40]!r}"


def is_sql(text: str) -> bool:
    """Tell a statement from a sentence: its keywords are all upper or all lower case."""
    return bool(_SQL.match(text)) or (text.lstrip()[:1].islower() and bool(_SQL.match(text.upper())))


def names_say_something(file: Source) -> Iterator[str]:
    """No `utils`, `helpers`, `common`, `manager`, `_v2`."""
    for part in file.place.split("/"):
        yield from (f"{file.place}: {complaint}" for complaint in _vague(part.removesuffix(".py")))
    for node in ast.walk(file.tree):
        if isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            yield from (f"{file.place}:{node.lineno}: {complaint}" for complaint in _vague(node.name))


def environment_in_config(file: Source) -> Iterator[str]:
    """The environment is read by config; bootstrap and cli may hand it over."""
    if file.room in {"config", "bootstrap", "cli"}:
        return
    for node in ast.walk(file.tree):
        if isinstance(node, ast.Attribute):
            found = _dotted(node) in {"os.environ", "os.environb", "os.getenv"}
        elif isinstance(node, ast.ImportFrom) and node.module == "os":
            found = bool({"environ", "environb", "getenv"} & {alias.name for alias in node.names})
        else:
            continue
        if found:
            yield f"{file.place}:{node.lineno}: reads the environment"


def time_from_the_clock(file: Source) -> Iterator[str]:
    """The time of day is given by a Clock."""
    if file.place == "runtime/clock.py":
        return
    for node in ast.walk(file.tree):
        if isinstance(node, ast.Attribute):
            name = ".".join(_dotted(node).split(".")[-2:])
            if name in _CLOCK_CALLS:
                yield f"{file.place}:{node.lineno}: {name}; take it from the Clock"


def print_in_cli(file: Source) -> Iterator[str]:
    """Only the command line prints."""
    if file.room == "cli":
        return
    for node in ast.walk(file.tree):
        if isinstance(node, ast.Call) and _dotted(node.func) == "print":
            yield f"{file.place}:{node.lineno}: print"


def switches_have_codes(file: Source) -> Iterator[str]:
    """Who switches a check off names the check."""
    for line, what, reason in _switches(file):
        if reason is None:
            yield f"{file.place}:{line}: {what} without a code"


def switches_have_reasons(file: Source) -> Iterator[str]:
    """Who switches a check off in the package says why."""
    for line, what, reason in _switches(file):
        if reason is not None and len(re.findall(r"\w+", reason)) < _WORDS_IN_REASON_MIN:
            yield f"{file.place}:{line}: {what} without a reason beside it"


def any_has_a_reason(file: Source) -> Iterator[str]:
    """A module that uses `Any` says what it stands for, once: `# Any: the caller's own JSON object.`"""
    uses = [node.lineno for node in ast.walk(file.tree) if isinstance(node, ast.Name) and node.id == "Any"]
    if uses and "Any: " not in file.text:
        yield f"{file.place}:{uses[0]}: Any without a reason (a comment `Any: …`)"


def broad_handlers_tell(file: Source) -> Iterator[str]:
    """Who catches everything logs or counts it in the same handler (or by a function beside it), or raises."""
    telling = {node.name for node in ast.walk(file.tree) if isinstance(node, _FUNCTIONS) and _tells(node)}
    for node in ast.walk(file.tree):
        if (
            isinstance(node, ast.ExceptHandler)
            and _is_broad(node.type)
            and not (_raises(node) or _tells(node, telling))
        ):
            yield f"{file.place}:{node.lineno}: catches everything and tells nobody"
        if isinstance(node, ast.Call) and _dotted(node.func).endswith("suppress") and any(map(_is_broad, node.args)):
            yield f"{file.place}:{node.lineno}: suppresses everything"


def sqlite_by_apsw(file: Source) -> Iterator[str]:
    """The standard library's SQLite may be one that corrupts its write-ahead log."""
    for node in ast.walk(file.tree):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if "sqlite3" in modules or (isinstance(node, ast.ImportFrom) and node.module == "sqlite3"):
            yield f"{file.place}: imports sqlite3; use apsw"


PACKAGE_RULES: tuple[Rule, ...] = (
    file_is_short,
    functions_are_short,
    has_docstring,
    no_global_statement,
    imports_at_the_top,
    sql_in_stores,
    names_say_something,
    environment_in_config,
    time_from_the_clock,
    print_in_cli,
    switches_have_codes,
    switches_have_reasons,
    any_has_a_reason,
    broad_handlers_tell,
    sqlite_by_apsw,
)
# Tests and benchmarks may print, speak SQL and read the environment.
OTHER_RULES: tuple[Rule, ...] = (
    file_is_short,
    functions_are_short,
    no_global_statement,
    names_say_something,
    switches_have_codes,
)


def _vague(name: str) -> Iterator[str]:
    words = {word.lower() for word in re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+", name)}
    for word in sorted(words & _VAGUE_WORDS):
        yield f"the name {name} says {word!r}, which says nothing"
    if re.search(r"(_v|V)[2-9]$", name):
        yield f"the name {name} counts versions"


def _dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Call):
        return _dotted(node.func)
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return ""


def _is_broad(caught: ast.expr | None) -> bool:
    if isinstance(caught, ast.Tuple):
        return any(map(_is_broad, caught.elts))
    return caught is None or _dotted(caught) in {"Exception", "BaseException"}


def _raises(handler: ast.ExceptHandler) -> bool:
    return any(isinstance(node, ast.Raise) for node in ast.walk(handler))


def _tells(block: ast.AST, telling: Collection[str] = ()) -> bool:
    for node in ast.walk(block):
        if isinstance(node, ast.Call):
            owner, _, name = _dotted(node.func).rpartition(".")
            if (owner and name in _TELLING_CALLS) or (owner in {"", "self", "cls"} and name in telling):
                return True
    return False


def _switches(file: Source) -> Iterator[tuple[int, str, str | None]]:
    """Yield the line, the kind and the reason of each switch; the reason is None when there is no code."""
    for line, comment in file.comments():
        if switch := _SWITCH.search(comment):
            pattern = _NOQA_REST if switch["what"].lower() == "noqa" else _IGNORE_REST
            rest = pattern.match(switch["rest"])
            yield line, switch["what"], rest["reason"] if rest else None
