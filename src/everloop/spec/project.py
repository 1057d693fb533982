"""The project file: ``everloop.toml`` as one checked record, and what no section sees alone."""

from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator

from everloop.spec.data import (
    ColumnSpec,
    FilterSpec,
    JoinSpec,
    LabelSpec,
    LabelsSpec,
    RuleSpec,
    SourceSpec,
    StoreSpec,
    ValidateSpec,
    WindowSpec,
)
from everloop.spec.model import (
    BoostingSpec,
    CompressSpec,
    GateSpec,
    NetworkSpec,
    SplitSpec,
    TrainSpec,
)
from everloop.spec.record import Record, tuples
from everloop.spec.services import ConsoleSpec, MonitorSpec, RetrainSpec, ServeSpec
from everloop.spec.values import Column, Name

__all__ = [
    "BoostingSpec",
    "ColumnSpec",
    "CompressSpec",
    "ConsoleSpec",
    "FilterSpec",
    "GateSpec",
    "JoinSpec",
    "LabelSpec",
    "LabelsSpec",
    "MonitorSpec",
    "NetworkSpec",
    "Project",
    "ProjectSection",
    "RetrainSpec",
    "RuleSpec",
    "ServeSpec",
    "SourceSpec",
    "SplitSpec",
    "StoreSpec",
    "TrainSpec",
    "ValidateSpec",
    "WindowSpec",
]


class ProjectSection(Record):
    """`[project]`: what the model is called."""

    name: Name


def _as_list(joins: object) -> object:
    return tuples([joins] if isinstance(joins, dict) else joins)


class Project(Record):
    """One ``everloop.toml``, read and checked."""

    project: ProjectSection
    store: StoreSpec = StoreSpec()
    sources: tuple[SourceSpec, ...] = Field(min_length=1, max_length=100)
    join: Annotated[tuple[JoinSpec, ...], BeforeValidator(_as_list)] = ()
    labels: LabelsSpec | None = None
    filter: FilterSpec = FilterSpec()
    columns: dict[Column, ColumnSpec] = Field(default_factory=dict)
    rules: tuple[RuleSpec, ...] = ()
    validate_: ValidateSpec = Field(default=ValidateSpec(), alias="validate")
    train: TrainSpec = TrainSpec()
    compress: CompressSpec = CompressSpec()
    gate: GateSpec = GateSpec()
    serve: ServeSpec = ServeSpec()
    console: ConsoleSpec = ConsoleSpec()
    monitor: MonitorSpec = MonitorSpec()
    retrain: RetrainSpec = RetrainSpec()

    @property
    def main(self) -> SourceSpec:
        """The main source, which brings the label."""
        return self.sources[0]

    @property
    def label(self) -> LabelSpec:
        """The main source's label; the check of the file makes sure there is one."""
        assert self.main.label is not None
        return self.main.label

    def source(self, name: str) -> SourceSpec:
        """Return the source of that name.

        Raises:
            KeyError: If there is none.
        """
        for source in self.sources:
            if source.name == name:
                return source
        raise KeyError(name)

    @model_validator(mode="after")
    def _check_across(self) -> "Project":
        # Only what no single section can see is checked here; `spec/file.py` splits the text at
        # line breaks into one problem each.
        found = [*_check_sources(self), *_check_references(self)]
        if found:
            raise ValueError("\n".join(found))
        return self


def _check_sources(project: Project) -> list[str]:
    names = [source.name for source in project.sources]
    found = [
        f"sources[{i}].name: {name!r} is used twice; give each source a name of its own"
        for i, name in enumerate(names)
        if name in names[:i]
    ]
    if project.main.label is None:
        found.append("sources[0].label: missing; name the column or expression to learn")
    found += [
        f"sources[{i}].label: only the first source may have a label"
        for i, source in enumerate(project.sources)
        if i and source.label is not None
    ]
    found += [
        f"rules[{i}].source: found {rule.source!r}, expected one of {', '.join(names)}"
        for i, rule in enumerate(project.rules)
        if rule.source is not None and rule.source not in names
    ]
    return found


def _check_references(project: Project) -> list[str]:
    names = [source.name for source in project.sources[1:]]
    found = []
    if project.train.exclude and project.train.features is not None:
        found.append("train.exclude: stands beside train.features; keep one of the two")
    if project.labels is not None and project.labels.source not in names:
        others = ", ".join(names) or "none: add a second [[sources]]"
        found.append(f"labels.source: found {project.labels.source!r}, expected one of {others}")
    for i, join in enumerate(project.join):
        if join.source not in names:
            others = ", ".join(names) or "none: add a second [[sources]]"
            found.append(f"join[{i}].source: found {join.source!r}, expected one of {others}")
        elif project.source(join.source).time is None or project.main.time is None:
            found.append(f"join[{i}]: both sources need a time column for an as-of join")
    return found
