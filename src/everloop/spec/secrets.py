"""Secrets: named in the project file, read from the environment or a file, never printed."""

import os
import re
from pathlib import Path
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import core_schema

from everloop.spec.errors import DataError

_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}|file:(.+)")


class Secret:
    """A reference to a secret, ``${NAME}`` or ``file:PATH``; only ``reveal()`` reads its value."""

    def __init__(self, reference: str) -> None:
        match = _REFERENCE.fullmatch(reference)
        if match is None:
            # The text itself is not repeated: it may well be the secret.
            raise ValueError(
                "expected a secret as '${NAME}' (environment) or 'file:PATH', not the value itself"
            )
        self.reference = reference
        self._env, self._path = match[1], match[2]

    def reveal(self) -> str:
        """Return the secret's value.

        Raises:
            DataError: If the variable is not set or the file cannot be read.
        """
        if self._env:
            value = os.environ.get(self._env)
            if value is None:
                raise DataError(
                    f"secret {self.reference}: the environment has no {self._env}; set it"
                )
            return value
        try:
            return Path(self._path).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise DataError(f"secret {self.reference}: {error.strerror}; check the path") from error

    def __repr__(self) -> str:
        return "Secret('***')"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other.reference == self.reference

    def __hash__(self) -> int:
        return hash(self.reference)

    @classmethod
    def __get_pydantic_core_schema__(
        cls,
        source: Any,  # noqa: ANN401 - pydantic's own signature
        handler: GetCoreSchemaHandler,
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            lambda value: value if isinstance(value, cls) else cls(str(value)),
            serialization=core_schema.plain_serializer_function_ser_schema(lambda s: s.reference),
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": "string", "pattern": r"^(\$\{\w+\}|file:.+)$", "examples": ["${API_KEY}"]}
