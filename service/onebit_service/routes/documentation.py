"""GET /docs: /openapi.json as a page. It needs nothing from elsewhere, and no script."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response

router = APIRouter(include_in_schema=False)

Document = Mapping[str, Any]
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="stylesheet" href="page/docs.css">
</head>
<body>
<h1>{title} {version}</h1>
<p>{summary} The same for programs: <a href="openapi.json">openapi.json</a>.
Streams: a WebSocket at <code>/stream</code>, subprotocol <code>onebit.v1</code>.</p>
{operations}
</body>
</html>
"""


@router.get("/docs")
async def documentation(request: Request) -> Response:
    document = request.app.openapi()
    info = document["info"]
    operations = "".join(
        _operation(document, method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    )
    page = PAGE.format(
        title=escape(info["title"]),
        version=escape(info["version"]),
        summary=escape(info["summary"]),
        operations=operations,
    )
    return HTMLResponse(page)


def _operation(document: Document, method: str, path: str, operation: Document) -> str:
    parts = [f"<h2><b>{method.upper()}</b> <code>{escape(path)}</code></h2>"]
    parts.append(f"<p>{escape(operation.get('description', operation['summary']))}</p>")
    fields = {parameter["name"]: parameter["schema"] for parameter in operation.get("parameters", [])}
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        properties = content["schema"].get("properties", {})
        parts.append(f"<p>Body: <code>{escape(kind)}</code></p>")
        fields |= {name: schema for name, schema in properties.items() if name not in fields}
    if fields:
        rows = "".join(_row(name, _kind(document, schema), schema) for name, schema in fields.items())
        parts.append(f"<table><tr><th>field</th><th>values</th><th></th></tr>{rows}</table>")
    answers = "".join(
        f"<tr><td>{escape(status)}</td><td>{escape(answer.get('description', ''))}</td></tr>"
        for status, answer in operation["responses"].items()
    )
    parts.append(f"<table><tr><th>status</th><th></th></tr>{answers}</table>")
    return f"<section>{''.join(parts)}</section>"


def _row(name: str, kind: str, schema: Document) -> str:
    meaning = escape(schema.get("description", ""))
    return f"<tr><td><code>{escape(name)}</code></td><td>{escape(kind)}</td><td>{meaning}</td></tr>"


def _kind(document: Document, schema: Document) -> str:
    """What a field may hold, in words."""
    if "$ref" in schema:
        return _kind(document, document["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    if "anyOf" in schema:
        return " or ".join(_kind(document, choice) for choice in schema["anyOf"] if choice.get("type") != "null")
    if "enum" in schema or "const" in schema:
        return ", ".join(str(value) for value in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return f"list of {_kind(document, schema['items'])}"
    return " ".join([schema.get("format") or schema.get("type", "any"), *_bounds(schema)])


def _bounds(schema: Document) -> Iterator[str]:
    words = {"minimum": "from", "maximum": "to", "pattern": "like"}
    return (f"{word} {schema[name]}" for name, word in words.items() if name in schema)
