"""Ingests and cleans until it is done; the test kills it on the way."""

import sys
from pathlib import Path

from everloop.ingest import ingest
from everloop.spec.project import Project
from everloop.store.objects import Objects
from everloop.store.tables import Tables
from everloop.validate import clean


def make_project() -> Project:
    return Project.model_validate(
        {
            "project": {"name": "kill"},
            "sources": [{"path": "*.csv", "label": "v", "key": ["k"], "piece_rows": 150}],
            "columns": {"v": {"kind": "number", "min": 0}},
            "filter": {"keep": "v <> 3"},
            "validate": {"max_bad_ratio": 1},
        }
    )


def main(root: Path) -> None:
    project = make_project()
    objects = Objects.open(project.store, root)
    tables = Tables(objects, project.store)
    raw, good, bad = (tables.table(f"{kind}/main") for kind in ("raw", "clean", "quarantine"))

    def say(what: str, done: int, total: int | None = None) -> None:
        print(what, done, total, flush=True)

    print("begun", flush=True)
    ingest(project.main, raw, objects, root, say)
    clean(project.main, project, raw, good, bad, say)
    print("done", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
