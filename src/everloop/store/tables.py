"""The tables of a store."""

from everloop.spec.project import StoreSpec
from everloop.store.objects import Objects
from everloop.store.table import Table

__all__ = ["Table", "Tables"]


class Tables:
    """Delta tables by name.

    Args:
        objects: The store; its options are used for the tables too.
        spec: The project's `[store]` that `objects` was opened with.
    """

    def __init__(self, objects: Objects, spec: StoreSpec) -> None:
        self._objects = objects
        self.spec = spec
        self._tables: dict[str, Table] = {}

    def table(self, name: str) -> Table:
        """Return a table, whether it exists or not; the same object for the same name.

        Raises:
            ValueError: If the name could leave the store.
        """
        if name not in self._tables:
            self._tables[name] = Table(self._objects, name)
        return self._tables[name]

    def names(self) -> list[str]:
        """Return the names of the tables that exist."""
        paths = [info.path for info in self._objects.list("tables") if "/_delta_log/" in info.path]
        return sorted({path.split("/_delta_log/")[0].removeprefix("tables/") for path in paths})
