"""The page at `/docs`: every endpoint with its parameters and an example, made from the OpenAPI document.

It loads nothing from anywhere and runs no script, so it works on machines without a way out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Final

CONTENT_SECURITY_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"

_Document = Mapping[str, Any]  # Any: OpenAPI is JSON of many shapes.

_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}: API</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
h2 {{ margin-top: 2.5rem; border-bottom: 1px solid; }}
details {{ margin: .5rem 0; border: 1px solid color-mix(in srgb, currentColor 25%, transparent); border-radius: 6px; }}
summary {{ cursor: pointer; padding: .5rem .75rem; }}
details > div {{ padding: 0 .75rem .75rem; }}
.method {{ display: inline-block; min-width: 3.5rem; font-weight: 700; }}
code, pre {{ font: 14px/1.45 ui-monospace, monospace; }}
pre {{ overflow-x: auto; padding: .75rem; background: color-mix(in srgb, currentColor 8%, transparent); }}
table {{ border-collapse: collapse; width: 100%; }}
th, td {{ text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0; }}
</style></head><body>
<h1>{title}</h1><p>{summary}</p>
<p>Send your key with each request: <code>Authorization: Bearer sk-…</code>. Errors come as
<code>{{"error": {{"message", "type", "param", "code"}}}}</code>.
Machines read <a href="/openapi.json">/openapi.json</a>.</p>
{sections}
</body></html>
"""


def render_docs_page(document: _Document, *, base_url: str) -> str:
    """Return the page as HTML. Every text of the document is escaped."""
    sections: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            tag = (operation.get("tags") or ["Other"])[0]
            sections.setdefault(tag, []).append(_operation(document, base_url, path, method.upper(), operation))
    return _PAGE.format(
        title=escape(document["info"]["title"]),
        summary=escape(document["info"].get("summary", "")),
        sections="\n".join(f"<h2>{escape(tag)}</h2>\n" + "\n".join(parts) for tag, parts in sections.items()),
    )


def _operation(document: _Document, base_url: str, path: str, method: str, operation: _Document) -> str:
    description = operation.get("description") or operation.get("summary", "")
    fields = _fields(document, operation)
    rows = "".join(f"<tr><td><code>{escape(name)}</code></td><td>{escape(text)}</td></tr>" for name, text in fields)
    table = f"<table>{rows}</table>" if rows else ""
    example = escape(_curl(document, base_url, path, method, operation))
    return (
        f'<details><summary><span class="method">{method}</span> <code>{escape(path)}</code></summary><div>'
        f"<p>{escape(description)}</p>{table}<pre>{example}</pre></div></details>"
    )


def _fields(document: _Document, operation: _Document) -> Iterator[tuple[str, str]]:
    """Yield parameters and body fields, each with what is known of it."""
    for parameter in operation.get("parameters", ()):
        schema = {"description": parameter.get("description", ""), **parameter.get("schema", {})}
        yield parameter["name"], _described(schema, parameter["in"], is_required=parameter.get("required", False))
    body = _body_schema(document, operation)
    required = body.get("required", ())
    for name, field in body.get("properties", {}).items():
        yield name, _described(field, "body", is_required=name in required)


def _described(schema: _Document, place: str, *, is_required: bool) -> str:
    parts = [place, _type_of(schema), "required" if is_required else ""]
    if schema.get("default") is not None:
        parts.append(f"default {json.dumps(schema['default'])}")
    facts = ", ".join(part for part in parts if part)
    description = schema.get("description", "")
    return f"{facts}. {description}" if description else facts


def _type_of(schema: _Document) -> str:
    if "type" in schema:
        return str(schema["type"])
    return next((_type_of(option) for option in schema.get("anyOf", ()) if option.get("type") != "null"), "")


def _body_schema(document: _Document, operation: _Document) -> _Document:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    return _resolved(document, content.get("schema", {}))


def _resolved(document: _Document, schema: _Document) -> _Document:
    """Follow a reference, also where it is one of several options (a body that may be left out)."""
    options: list[_Document] = [schema, *schema.get("anyOf", ())]
    for option in options:
        if "$ref" in option:
            found: _Document = document["components"]["schemas"][option["$ref"].rpartition("/")[2]]
            return found
    return schema


def _curl(document: _Document, base_url: str, path: str, method: str, operation: _Document) -> str:
    lines = [f"curl {base_url}{path}"]
    if method not in ("GET", "POST"):
        lines[0] = f"curl -X {method} {base_url}{path}"
    if operation.get("security"):
        lines.append("-H 'Authorization: Bearer sk-…'")
    if "requestBody" in operation:
        content = operation["requestBody"]["content"]["application/json"]
        example = content.get("example") or _example_of(_body_schema(document, operation))
        lines += ["-H 'Content-Type: application/json'", f"-d '{json.dumps(example)}'"]
    return " \\\n  ".join(lines)


def _example_of(schema: _Document) -> dict[str, Any]:  # Any: JSON.
    """Make a body of the examples and the required fields."""
    required = schema.get("required", ())
    found = {}
    for name, field in schema.get("properties", {}).items():
        if field.get("examples"):
            found[name] = field["examples"][0]
        elif name in required:
            found[name] = "…"
    return found
