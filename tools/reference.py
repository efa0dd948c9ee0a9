"""Writes the pages that list a client's whole API, out of its docstrings and declarations.

python tools/reference.py            # docs/python-api.md and docs/javascript-api.md
"""

import inspect
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gateway import client

ROOT = Path(__file__).parents[1]
WEB = ROOT / "web"
GENERATED = "<!-- Written by tools/reference.py: change the sources, then run it. -->"

_EXPORT = re.compile(r"export \{([^}]*)\} from '\./(\w+)\.js'")
_COMMENT = r"(?:/\*\*(?P<said>(?:[^*]|\*(?!/))*)\*/\s*)?"
_MEMBER = re.compile(
    rf"^ {{4}}{_COMMENT}(?P<kind>get |set |static )?(?P<name>[a-z]\w*)(?P<rest>\(|:|\?:)",
    re.MULTILINE,
)


def python_page() -> str:
    """docs/python-api.md."""
    parts = [
        f"{GENERATED}\n\n# The Python client: every name",
        "What `gateway.client` exports. How it is used: [its page](python-client.md).",
    ]
    for name in client.__all__:
        parts += _python_name(name, getattr(client, name))
    return "\n\n".join(parts) + "\n"


def _python_name(name: str, thing: Any) -> Iterator[str]:
    yield f"## `{name}`"
    if not inspect.isclass(thing):
        yield f"`{name}{_parameters(thing)}`: {_first(thing.__doc__)}"
        return
    yield _first(thing.__doc__)
    rows = [(f"`{field}`", "") for field in getattr(thing, "__struct_fields__", ())]
    for member, value in vars(thing).items():
        if member.startswith("_") or f"`{member}`" in dict(rows):
            continue
        if isinstance(value, property):
            rows.append((f"`{member}`", _first(value.__doc__)))
        elif inspect.isfunction(value):
            rows.append((f"`{member}{_parameters(value)}`", _first(value.__doc__)))
    if rows:
        yield _table(rows)


def _parameters(function: Any) -> str:
    """Names and defaults; the types are in the editor."""
    parameters = [
        parameter.replace(annotation=parameter.empty)
        for parameter in inspect.signature(function).parameters.values()
        if parameter.name != "self"
    ]
    return str(inspect.Signature(parameters)).replace("<function ", "").replace("'", '"')


def javascript_page() -> str:
    """docs/javascript-api.md; needs the Node packages of `web`."""
    parts = [
        f"{GENERATED}\n\n# The JavaScript client: every name",
        "What `agent-gateway` exports. How it is used: [its page](javascript-client.md).",
    ]
    with tempfile.TemporaryDirectory() as folder:
        tsc = WEB / "node_modules" / "typescript" / "bin" / "tsc"
        options = ["-p", "tsconfig.types.json", "--outDir", folder]
        subprocess.run([str(shutil.which("node")), str(tsc), *options], cwd=WEB, check=True)
        declared = {path.stem[:-2]: path.read_text() for path in Path(folder).glob("*.d.ts")}
        for names, module in _EXPORT.findall((WEB / "src" / "index.js").read_text()):
            for name in re.findall(r"\w+", names):
                parts += _javascript_name(name, declared[module], declared)
    return "\n\n".join(parts) + "\n"


def _declaration(name: str, text: str) -> re.Match[str] | None:
    kinds = "class|function|const"
    return re.search(rf"{_COMMENT}export (?:declare )?(?P<kind>{kinds}) {name}\b(?P<rest>.*)", text)


def _javascript_name(name: str, text: str, declared: dict[str, str]) -> Iterator[str]:
    found = _declaration(name, text)
    assert found is not None, f"{name} is not declared"
    yield f"## `{name}`"
    said = _sentence(found["said"] or "")
    if found["kind"] == "class":
        if said:
            yield said
        yield _table(list(_members(found, text, declared).items()))
    elif "(" in found["rest"]:
        yield f"`{name}({_arguments(text, found.start('rest'))})`{': ' if said else ''}{said}"
    else:
        yield said or f"`{found['rest'].lstrip(': =').rstrip(';')}`"


def _members(found: re.Match[str], text: str, declared: dict[str, str]) -> dict[str, str]:
    """What a class, and those that it extends, say of their members."""
    rows: dict[str, str] = {}
    body = text[found.end() :].split("\n}", 1)[0]
    for member in _MEMBER.finditer(body):
        comment = member["said"] or ""
        if "@internal" in comment or not (said := _sentence(comment)):
            continue  # for the client's other modules
        call = member["rest"] == "(" and member["kind"] != "get "
        head = f"({_arguments(body, member.start('rest'))})" if call else ""
        rows.setdefault(f"`{member['name']}{head}`", said)
    if (base := re.search(r"extends (\w+)", found["rest"])) is not None:
        for other in declared.values():
            if (above := _declaration(base[1], other)) is not None:
                inherited = _members(above, other, declared).items()
                rows = {**{k: v for k, v in inherited if "(_" not in k}, **rows}
    return rows


def _arguments(text: str, begin: int) -> str:
    """The names between the parenthesis at `begin` and its partner."""
    begin = text.index("(", begin)
    depth, names, expects = 0, list[str](), False
    for match in re.finditer(r"=>|[(){}<>\[\],]|[\w$.?]+", text[begin:]):
        mark = match.group()
        if mark in "({[<":
            depth += 1
            expects = expects or depth == 1
            if depth == 2 and expects and mark == "{":
                names.append("{…}")
                expects = False
        elif mark in ")}]>":
            depth -= 1
            if depth == 0:
                break
        elif mark == "," and depth == 1:
            expects = True
        elif expects and depth == 1 and mark != "=>":
            names.append(mark)
            expects = False
    return ", ".join(names)


def _first(said: str | None) -> str:
    """The first paragraph, as one line."""
    return " ".join(inspect.cleandoc(said or "").split("\n\n")[0].split())


def _sentence(said: str) -> str:
    """What a JSDoc comment says before its tags, as one line."""
    lines = [line.strip().lstrip("*").strip() for line in said.splitlines()]
    text = "\n".join(lines).strip().split("\n\n")[0]
    sentence = " ".join(re.split(r"(?m)^@", text)[0].split())
    return f"{sentence[:-1]}." if sentence.endswith(":") else sentence


def _table(rows: list[tuple[str, str]]) -> str:
    cells = [(name.replace("|", r"\|"), said.replace("|", r"\|")) for name, said in rows]
    return "\n".join(["| name | what |", "| --- | --- |", *(f"| {n} | {s} |" for n, s in cells)])


def main() -> int:
    """Write both pages."""
    (ROOT / "docs" / "python-api.md").write_text(python_page())
    (ROOT / "docs" / "javascript-api.md").write_text(javascript_page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
