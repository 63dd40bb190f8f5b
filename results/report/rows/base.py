"""What the rows of all tables have in common."""

from pydantic import BaseModel, ConfigDict


class Row(BaseModel):
    """One row; columns of a frame that are not declared are left out."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", use_attribute_docstrings=True, populate_by_name=True
    )
