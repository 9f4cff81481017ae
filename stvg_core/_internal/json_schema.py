"""The text of a published JSON schema: what docs/schema holds, made from the models."""

import json
from collections.abc import Mapping
from typing import Any


def published_schema(schema: Mapping[str, Any], identifier: str, title: str | None = None) -> str:
    """Return a schema (draft 2020-12) as its file holds it.

    Args:
        schema: as pydantic makes it of a model.
        identifier: its `$id`.
        title: in the place of the model's own.

    >>> print(published_schema({"type": "object"}, "urn:a", "A"), end="")
    {
      "$schema": "https://json-schema.org/draft/2020-12/schema",
      "$id": "urn:a",
      "title": "A",
      "type": "object"
    }
    """
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": identifier}
    named = head if title is None else {**head, "title": title}
    rest = {name: value for name, value in schema.items() if name not in named}
    return json.dumps({**named, **rest}, indent=2, ensure_ascii=False) + "\n"
