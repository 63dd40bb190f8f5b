"""JSON schemas in which every key says what it means, in the words of its docstring."""

import ast
import inspect
import textwrap
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema


class DescribedSchema(GenerateJsonSchema):
    """A `schema_generator` for `model_json_schema`.

    pydantic's `use_attribute_docstrings` does the same when a model is declared, which every command would
    wait for.
    """

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        """The schema of one model, its keys described."""
        described = super().model_schema(schema)
        model: type[BaseModel] = schema["cls"]
        described["description"] = _about(model)
        docstrings = field_docstrings(model)
        for name, field in model.model_fields.items():
            if meaning := docstrings.get(name) or _about_section(field):
                described["properties"][field.alias or name]["description"] = meaning
        return described


def field_docstrings(model: type[BaseModel]) -> Mapping[str, str]:
    """What the strings under a model's own fields say, each in one line."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    assert isinstance(definition, ast.ClassDef)
    return {
        field.target.id: " ".join(below.value.value.split())
        for field, below in pairwise(definition.body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
        if isinstance(below.value.value, str)
    }


def _about(model: type[BaseModel]) -> str:
    """A model's docstring as far as it is for those who write a spec."""
    return (inspect.getdoc(model) or "").partition("\n\nRaises:")[0]


def _about_section(field: FieldInfo) -> str:
    kind: Any = field.annotation
    return _about(kind) if isinstance(kind, type) and issubclass(kind, BaseModel) else ""
