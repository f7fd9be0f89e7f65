"""JSON Schemas of request bodies, as OpenAPI 3.1 has them: made of the structs that handlers convert bodies to.

A handler that reads its body by hand declares a schema by hand, beside its route.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from gateway.web.route import TEXT, Schema

OBJECT: Final[Schema] = {"type": "object"}
PUBLIC_ID: Final[Schema] = {"type": "string", "pattern": "^[0-9a-f]{8}(-[0-9a-f]{8}){4}$"}
TAGS: Final[Schema] = {"type": "object", "description": "Values by keyword or tag; lists of such objects for sequences"}
DATA_SET: Final[Schema] = {"type": "object", "description": "A data set in the DICOM JSON Model (PS3.18 Annex F)"}
LEVEL: Final[Schema] = {"type": "string", "enum": ["Patient", "Study", "Series", "Instance"]}
_TEMPLATE: Final = "#/components/schemas/{name}"


def list_of(each: Schema, most: int | None = None) -> Schema:
    """The schema of a list."""
    return {"type": "array", "items": each, **({} if most is None else {"maxItems": most})}


def any_of(*schemas: Schema) -> Schema:
    """The schema of what fits one of several."""
    return {"anyOf": schemas}


def members(*required: str, **properties: Schema) -> Schema:
    """The schema of an object with these members, of which some are required; others are passed over."""
    made: dict[str, Any] = {"type": "object", "properties": properties}
    return {**made, "required": required} if required else made


def struct(kind: type[msgspec.Struct], *required: str, **properties: Schema) -> Schema:
    """The schema of what is converted to a struct; `properties` say more of members that it takes as anything."""
    (made,), components = msgspec.json.schema_components([kind], ref_template=_TEMPLATE)
    (found,) = [each for name, each in components.items() if made["$ref"] == _TEMPLATE.format(name=name)]
    known = found["properties"]
    unknown = properties.keys() - known.keys()
    assert not unknown, f"{kind.__name__} has no {unknown}"
    return {
        "type": "object",
        "properties": {**known, **properties},
        **({"required": required} if required else {}),
        **({"additionalProperties": False} if found.get("additionalProperties") is False else {}),
    }


RESOURCES: Final[Schema] = any_of(PUBLIC_ID, list_of(PUBLIC_ID))
KEYS: Final[Schema] = {"type": "object", "description": "Keys by keyword or tag", "additionalProperties": TEXT}
