"""Options of fine-tunes, checks and rebases."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Annotated, TypeAlias

import typer

from headstart.cli.completion import complete_backbones
from headstart.cli.help import ADVANCED
from headstart.cli.training.recipe_settings import RecipeChoice, recipe_of
from headstart.inputs.task import parse_task
from headstart.spec import PromotionGate, SpecSettings

BackboneOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--backbone",
        "-b",
        help="The backbone, or auto to select one. Default: the server's.",
        autocompletion=complete_backbones,
    ),
]
CandidateOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--backbone-candidate",
        metavar="BACKBONE",
        autocompletion=complete_backbones,
        help="A backbone that --backbone auto tries. Repeatable. Default: up to 4 of the server's.",
        rich_help_panel=ADVANCED,
    ),
]
BackboneBudgetOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="DURATION",
        help="After this time --backbone auto tries no further backbone. Default: no limit.",
        rich_help_panel=ADVANCED,
    ),
]
DisplayNameOption: TypeAlias = Annotated[
    str,
    typer.Option(metavar="TEXT", help="A title for people.", show_default=False, rich_help_panel=ADVANCED),
]
TagOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(metavar="KEY=VALUE", help="A tag to store with the version. Repeatable."),
]
AliasOption: TypeAlias = Annotated[
    str | None, typer.Option("--alias", "-a", help="Move this alias to the new version.")
]
DatasetOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="DATASET",
        help="Use the examples of this dataset of the server instead of SOURCE.",
        rich_help_panel=ADVANCED,
    ),
]
TtlOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="DURATION",
        help="Delete the version after this time, such as 12h or 30d. Default: never.",
        rich_help_panel=ADVANCED,
    ),
]


class TaskChoice(StrEnum):
    """The kinds of label that a model can predict."""

    SINGLE_LABEL = "single-label"
    MULTI_LABEL = "multi-label"
    REGRESSION = "regression"


TaskOption: TypeAlias = Annotated[
    TaskChoice | None,
    typer.Option(metavar="TASK", help="single-label, multi-label or regression. Default: from the labels."),
]
PromoteOption: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--promote-if-not-worse",
        help="Move --alias only if the new version is not worse than the old one.",
    ),
]
RequirePromotionOption: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--require-promotion",
        help="Like --promote-if-not-worse, but exit with 5 if the alias stays.",
    ),
]
ParentOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="VERSION",
        help="Also train on the stored examples of this version (number or alias).",
    ),
]
RemoveOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(metavar="ID", help="Leave out this example of --parent. Repeatable."),
]
DiscardOption: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--discard-examples",
        help="Store no examples: the version cannot be a parent, and its report has no images.",
        rich_help_panel=ADVANCED,
    ),
]
RequestIdOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="ID",
        help="Makes a repetition safe: the same ID returns the same job.",
        rich_help_panel=ADVANCED,
    ),
]
WaitOption: TypeAlias = Annotated[
    bool, typer.Option("--wait/--no-wait", help="Wait until the job has ended. --no-wait prints the job.")
]


@dataclass(frozen=True, kw_only=True)
class GateOptions:
    """The margins of a promotion gate."""

    max_drop: Annotated[
        float | None,
        typer.Option(
            metavar="FRACTION",
            min=0,
            max=1,
            help="The tolerated drop in accuracy. Implies --promote-if-not-worse. Default: 0.01.",
            rich_help_panel=ADVANCED,
        ),
    ] = None
    max_class_drop: Annotated[
        float | None,
        typer.Option(
            metavar="FRACTION",
            min=0,
            max=1,
            help="The tolerated drop in the recall of a class. Implies --promote-if-not-worse. Default: 0.1.",
            rich_help_panel=ADVANCED,
        ),
    ] = None
    significance: Annotated[
        float | None,
        typer.Option(
            metavar="P",
            min=0,
            max=1,
            help="Keep the alias only if a drop has at most this p-value; 1 counts every drop. Implies "
            "--promote-if-not-worse. Default: 0.05.",
            rich_help_panel=ADVANCED,
        ),
    ] = None

    def gate(self, enabled: bool, alias: str | None) -> PromotionGate | None:
        """Return the gate; a margin implies it."""
        margins = asdict(self)
        if not enabled and all(margin is None for margin in margins.values()):
            return None
        if alias is None:
            raise typer.BadParameter(
                "name the alias to move, with --alias", param_hint="--promote-if-not-worse"
            )
        return PromotionGate(**margins)


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How a head is trained."""

    task: TaskOption = None
    recipe: Annotated[
        RecipeChoice | None,
        typer.Option(
            metavar="RECIPE", help="Train with auto, ridge, logistic, mlp or partial. Default: auto."
        ),
    ] = None
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="A setting of the recipe, such as folds=5. Repeatable.",
        ),
    ] = None
    held_out_fraction: Annotated[
        float,
        typer.Option(
            metavar="FRACTION",
            min=0,
            max=0.9,
            help="Hold this fraction of the examples out of training and measure on it; 0 measures out of "
            "fold.",
            rich_help_panel=ADVANCED,
        ),
    ] = 0.0
    max_excluded_fraction: Annotated[
        float,
        typer.Option(
            metavar="FRACTION",
            min=0,
            max=1,
            help="Exclude unusable examples, up to this fraction of all. By default one fails the job.",
            rich_help_panel=ADVANCED,
        ),
    ] = 0.0
    seed: Annotated[
        int, typer.Option(min=0, help="The seed of every random choice.", rich_help_panel=ADVANCED)
    ] = 0

    def spec(self) -> SpecSettings:
        """Return the settings of the fine-tune."""
        return SpecSettings(
            recipe=recipe_of(self.recipe, self.settings),
            task=parse_task(self.task) if self.task else None,
            held_out_fraction=self.held_out_fraction,
            max_excluded_fraction=self.max_excluded_fraction,
            seed=self.seed,
        )


@dataclass(frozen=True, kw_only=True)
class QueueOptions:
    """The priority of a job, and the webhook at its end."""

    priority: Annotated[
        int,
        typer.Option(
            min=-10, max=10, help="Queued jobs with a higher priority run first.", rich_help_panel=ADVANCED
        ),
    ] = 0
    webhook: Annotated[
        str,
        typer.Option(
            metavar="URL",
            help="Call this URL when the job ends. The server must allow it.",
            show_default=False,
            rich_help_panel=ADVANCED,
        ),
    ] = ""


def parent_of(version: str | None, removed: list[str] | None) -> int | str | None:
    """Return a parent by its number or alias."""
    if version is None and removed:
        raise typer.BadParameter("name the version of the example, with --parent", param_hint="--remove")
    return int(version) if version is not None and version.isdecimal() else version


def tags_of(pairs: list[str] | None) -> dict[str, str]:
    """Return tags from KEY=VALUE."""
    tags = {}
    for pair in pairs or ():
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise typer.BadParameter(f"expected KEY=VALUE. Received: {pair}", param_hint="--tag")
        tags[key] = value
    return tags
