"""The base of every typed record: frozen, keyword-only, and no key it does not know."""

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """A frozen record; an unknown key is an error, so that a typo is never silently ignored."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=False
    )


def tuples(value: object) -> object:
    """Turn lists into tuples all the way down; a strict check after our own validator needs it."""
    if isinstance(value, list | tuple):
        return tuple(tuples(item) for item in value)
    if isinstance(value, dict):
        return {key: tuples(item) for key, item in value.items()}
    return value
