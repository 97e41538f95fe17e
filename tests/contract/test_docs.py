"""The pages are held to the code: commands, flags, defaults, variables, addresses, metrics and links are real."""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from preceptor.cli import STAGE_COMMANDS, TOOL_COMMANDS, main
from preceptor.pipeline import STAGES, config_class
from preceptor.settings import Settings

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
# a page says what is: neither what is to come nor what was
FORBIDDEN = re.compile(
    r"\b(?:TODO|FIXME|XXX|in (?:the )?future|will be|we (?:plan|will|intend)|planned (?:for|feature)|road ?map|"
    r"coming soon|upcoming|not yet (?:implemented|supported|done)|for now|as of now|currently|at the moment|previously|"
    r"formerly|originally|no longer|used to be|work(?:ing)? sessions?|milestones?|sprints?)\b",
    re.IGNORECASE,
)
_FLAG = re.compile(r"(?<![\w-])--[a-z][\w.-]*")
# a gate's name may stand before its flag
_ROW = re.compile(
    r"^\| (?:[A-Za-z][A-Za-z -]* \| )?(?P<flags>`--[\w.-]+`(?:, `--[\w.-]+`)*) \| (?P<default>[^|]*) \|", re.MULTILINE
)
_ADDRESS = re.compile(r"^\| `(?P<method>GET|POST|PATCH|DELETE|PUT) (?P<path>/[^`]*)` \|", re.MULTILINE)


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


each_page = pytest.mark.parametrize("page", PAGES, ids=_name)


def _code(page: Path) -> Iterator[str]:
    """What a page offers for typing: fenced and indented lines, joined where they go on, and inline code."""
    fenced, pending = False, ""
    for line in page.read_text().splitlines():
        if line.startswith("```"):
            fenced = not fenced
            continue
        if fenced or line.startswith("    "):
            pending += line.strip()
            if pending.endswith("\\"):
                pending = pending[:-1] + " "
                continue
            yield pending
            pending = ""
        else:
            yield from re.findall(r"`([^`]+)`", line)


def _commands(page: Path) -> Iterator[list[str]]:
    """The words after `preceptor` of every command on a page."""
    for code in _code(page):
        for part in re.split(r"&&|\|\||[;|]", code.split("  #")[0]):
            words = shlex.split(part, comments=True) if part.count('"') % 2 == 0 and "'" not in part else part.split()
            if len(words) > 1 and words[0] == "preceptor" and words[1] not in {"COMMAND", "STAGE"}:
                yield words[1:]


@cache
def _help(*words: str) -> str:
    """What `preceptor WORDS --help` prints."""
    import contextlib
    import io

    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out), contextlib.suppress(SystemExit):
        main([*words, "--help"])
    return re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue())


def _actions(command: str) -> set[str]:
    """The actions of a command such as `release`; none for one that takes flags at once."""
    text = _help(command)
    return set(re.findall(r"^  (\w+) ", text, re.MULTILINE)) if re.search("ACTION|BACKEND", text) else set()


def test_every_stage_has_a_page_and_the_index_leads_to_it() -> None:
    assert sorted(path.stem for path in (DOCS / "stages").glob("*.md")) == sorted(STAGES)
    index = (DOCS / "README.md").read_text()
    assert [stage for stage in STAGES if f"(stages/{stage}.md)" not in index] == []


@each_page
def test_commands_on_a_page_exist_with_their_actions_and_flags(page: Path) -> None:
    for words in _commands(page):
        command = words[0]
        if command.startswith("-"):
            assert command in {"--help", "--version"}, words
            continue
        assert command in STAGE_COMMANDS | TOOL_COMMANDS, f"{_name(page)}: there is no 'preceptor {command}'"
        called = [command]
        actions = _actions(command)
        if actions and len(words) > 1 and not words[1].startswith("-"):
            assert words[1] in actions, f"{_name(page)}: there is no 'preceptor {command} {words[1]}'"
            called.append(words[1])
        known = set(_FLAG.findall(_help(*called)))
        given = {flag for word in words[1:] for flag in _FLAG.findall(word.partition("=")[0])}
        assert given <= known | {"--help"}, f"{_name(page)}: 'preceptor {' '.join(called)}' has no {given - known}"


def test_the_reader_of_commands_finds_them() -> None:
    found = [words[0] for page in PAGES for words in _commands(page)]
    assert set(STAGES) <= set(found)
    assert len(found) > 60


@each_page
def test_seed_commands_and_make_targets_on_a_page_exist(page: Path) -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for code in _code(page):
        for name, rest in re.findall(r"-m app\.rlhf\.(\w+)([^&|;]*)", code):
            given = set(_FLAG.findall(rest))
            assert given <= _seed_flags(name), f"{_name(page)}: app.rlhf.{name} has no {given - _seed_flags(name)}"
        for target in re.findall(r"^make (\w+)", code):
            assert target in targets, f"{_name(page)}: there is no 'make {target}'"


@cache
def _seed_flags(name: str) -> frozenset[str]:
    path = ROOT / "backend" / "app" / "rlhf" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"docs_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return frozenset(flag for action in module._parser()._actions for flag in action.option_strings)


def _settings_of(config: type[BaseModel], prefix: str = "") -> dict[str, Any]:
    """Flags of a stage's config with their defaults."""
    found: dict[str, Any] = {}
    for name, field in config.model_fields.items():
        flag = prefix + name.replace("_", "-")
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found |= _settings_of(field.annotation, f"{flag}.")
        else:
            found[f"--{flag}"] = field.default
    return found


def _as_written(default: Any) -> str:
    if default is PydanticUndefined:
        return "required"
    if default is None or isinstance(default, bool):
        return {None: "none", True: "on", False: "off"}[default]
    return str(default)


@pytest.mark.parametrize("stage", STAGES)
def test_settings_on_a_stage_page_have_the_defaults_of_the_code(stage: str) -> None:
    known = _settings_of(config_class(stage))
    rows = list(_ROW.finditer((DOCS / "stages" / f"{stage}.md").read_text()))
    assert rows
    seen: set[str] = set()
    for row in rows:
        flags = re.findall(r"`(--[\w.-]+)`", row["flags"])
        written = row["default"].strip().split(", ")
        written = written * len(flags) if len(written) == 1 else written
        for flag, value in zip(flags, written, strict=True):
            seen.add(flag)
            assert flag in known, f"{stage} has no {flag}"
            assert _same_value(value, known[flag]), f"{stage} {flag}: {value} is written, {known[flag]} is true"
    nested = {flag for flag in known if "." in flag}
    assert nested <= seen, f"the page of {stage} leaves out {nested - seen}"


def _same_value(written: str, default: Any) -> bool:
    if isinstance(default, int | float) and not isinstance(default, bool):
        return float(written) == float(default)
    return written == _as_written(default)


def test_every_setting_is_on_the_page_for_operators_and_no_other() -> None:
    real = {f"PRECEPTOR_{name.upper()}" for name in Settings.model_fields}
    for page in PAGES:
        named = set(re.findall(r"PRECEPTOR_[A-Z][A-Z_]*[A-Z]", page.read_text()))
        assert named <= real, f"{_name(page)} names {named - real}"
    table = dict(re.findall(r"^\| `(PRECEPTOR_\w+)` \| ([^|]*) \|", (DOCS / "operations.md").read_text(), re.MULTILINE))
    assert set(table) == real
    for name, field in Settings.model_fields.items():
        default = str(field.default).lower() if isinstance(field.default, bool) else str(field.default)
        written = table[f"PRECEPTOR_{name.upper()}"].strip("` ")
        assert written == ("none" if field.default is None else default), name


def test_every_address_of_the_api_is_on_its_page_and_no_other() -> None:
    from fastapi.routing import iter_route_contexts

    from preceptor.server.api import router

    real = {(method, str(route.path)) for route in iter_route_contexts(router.routes) for method in route.methods or ()}
    written = {(row["method"], row["path"]) for row in _ADDRESS.finditer((DOCS / "api.md").read_text())}
    assert written == real


def test_every_problem_and_every_role_is_on_the_api_page() -> None:
    from preceptor.server.accounts import ROLES
    from preceptor.server.errors import PROBLEMS

    text = (DOCS / "api.md").read_text()
    assert [slug for slug in PROBLEMS if slug != "internal" and f"`{slug}`" not in text] == []
    table = text.split("## Roles")[1].split("## ")[0]
    assert set(re.findall(r"^\| (\w+) \|", table, re.MULTILINE)) - {"role"} == set(ROLES)


def test_every_metric_of_prometheus_is_on_the_page_for_operators() -> None:
    source = ast.parse((ROOT / "src/preceptor/monitor/prometheus.py").read_text())
    real = set()
    for node in ast.walk(source):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id.endswith("MetricFamily"):
            first = node.args[0]
            assert isinstance(first, ast.Constant)
            real.add(f"{first.value}{'_total' if node.func.id.startswith('Counter') else ''}")
    written = set(re.findall(r"^\| `(rlhf_\w+)` \|", (DOCS / "operations.md").read_text(), re.MULTILINE))
    assert written == real


@each_page
def test_links_on_a_page_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{_name(page)} leads to {target}, which is not there"
        if anchor:
            heads = re.findall(r"^#+ (.+)$", found.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", head).lower().replace(" ", "-") for head in heads}, target


@each_page
def test_a_page_says_what_is(page: Path) -> None:
    found = [match.group() for match in FORBIDDEN.finditer(page.read_text())]
    assert found == [], f"{_name(page)} says {found}"


def test_every_decision_is_in_the_list_of_decisions() -> None:
    index = (DOCS / "decisions" / "README.md").read_text()
    pages = [path.name for path in (DOCS / "decisions").glob("*.md") if path.name != "README.md"]
    assert [name for name in pages if f"({name})" not in index] == []
