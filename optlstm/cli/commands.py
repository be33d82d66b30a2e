"""Every command, in the order of its use; a command's module is loaded when the command is called."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from platform import python_version
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from optlstm import __version__
from optlstm.util.interrupts import Interrupted

# Heading -> command -> its line in `--help`. The function is of the command's name, in the module of the folder.
COMMANDS: dict[str, dict[str, tuple[str, str]]] = {
    "From data to predictions": {
        "study": ("study", "run a study, or continue it; without arguments: an example"),
        "fit": ("fit", "a tested model in a limited time: search and refit"),
        "refit": ("refit", "train a study's best trials on more rows, test the model, save it"),
        "predict": ("predict", "forecasts or classes for a file"),
        "update": ("update", "train a model on newer rows of its series"),
        "check": ("update", "whether a model still does what its test promised"),
        "explain": ("explain", "what a model's forecasts follow from: lags, covariates"),
        "export": ("export", "the model as one file for programs without optlstm"),
    },
    "Look at studies": {
        "show": ("show", "a study's best trials, why the others were pruned"),
        "studies": ("show", "the studies of a database"),
        "report": ("report", "a study as one HTML file"),
        "dashboard": ("show", "watch the studies in a browser"),
        "schedule": ("show", "the hyperparameters that led to a trial of a population"),
        "replay": ("trials", "train a trial's params again, with other seeds too"),
    },
    "More": {
        "init": ("init", "a study file, with comments, for a data file"),
        "lr-search": ("lr_search", "search the learning rate alone"),
        "weights": ("trials", "the best weights of a custom objective"),
        "copy": ("maintenance", "copy a study into another database"),
        "doctor": ("maintenance", "check storage, checkpoints, disk, GPU, Ray"),
        "completion": ("completion", "complete commands and flags in bash, zsh or fish"),
    },
}
COMPANIONS = ("torch", "optuna", "ray")  # whose versions change what a study does
FIRST_COLUMN = 26  # characters; a longer flag has a line for itself


class _Help:
    """Help in the width of any terminal: flags by panel, the texts in one column, and no type of a switch."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]  # type: ignore[misc]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        shown = panels(self.get_params(ctx))  # type: ignore[attr-defined]
        shown["Options"] = shown.pop("Options")  # with --help, the last
        lengths = [len(name) for rows in shown.values() for name, _ in rows]
        for panel, rows in shown.items():
            _write(formatter, panel, rows, max(length for length in lengths if length <= FIRST_COLUMN))


def panels(params: Sequence[Any]) -> dict[str, list[tuple[str, str]]]:
    """Heading -> (an argument, or a flag with what it takes; its meaning), for what is not hidden."""
    shown: dict[str, list[tuple[str, str]]] = {}
    for param in params:
        if getattr(param, "hidden", False):
            continue
        if param.param_type_name == "argument":
            name, panel = param.metavar or param.name.upper(), "Arguments"
        else:
            names = ", ".join(sorted(param.opts, key=len))
            name = f"{names} {param.metavar}" if param.metavar else names
            panel = getattr(param, "rich_help_panel", None) or "Options"
        shown.setdefault(panel, []).append((name, _help_text(param)))
    return shown


def _help_text(param: Any) -> str:
    text = "show this help" if param.name == "help" else param.help or ""
    if param.required and param.param_type_name == "option":
        return f"{text} (required)"
    if param.default is None or param.default is False or "(default: " in text:
        return text
    return (
        f"{text} (default: {param.default:g})"
        if isinstance(param.default, float)
        else f"{text} (default: {param.default})"
    )


def _write(formatter: Any, heading: str, rows: Sequence[tuple[str, str]], width: int) -> None:
    with formatter.section(_styled(heading, bold=True)):
        formatter.write_dl([(_styled(name.ljust(width), fg="cyan"), text) for name, text in rows], col_max=width)


def _styled(text: str, **style: Any) -> str:
    return text if os.environ.get("NO_COLOR") else typer.style(text, **style)


class _Command(_Help, TyperCommand):
    pass


class LazyCommand(TyperCommand):
    """Stands for a command until it is called or completed."""

    def __init__(self, name: str, module: str, line: str) -> None:
        super().__init__(name, help=line)
        self.module = module

    def load(self) -> TyperCommand:
        module = import_module(f"optlstm.cli.{self.module}")
        app = typer.Typer(add_completion=False, rich_markup_mode=None)
        app.command(self.name, cls=_Command)(getattr(module, str(self.name).replace("-", "_")))
        command = typer.main.get_command(app)
        assert isinstance(command, TyperCommand)
        return command

    def make_context(self, *args: Any, **more: Any) -> Any:
        return self.load().make_context(*args, **more)


class _Group(_Help, TyperGroup):
    commands: dict[str, LazyCommand]  # type: ignore[assignment]

    def __init__(self, **attrs: Any) -> None:
        listed = {name: entry for commands in COMMANDS.values() for name, entry in commands.items()}
        super().__init__(**attrs | {"commands": {name: LazyCommand(name, *entry) for name, entry in listed.items()}})

    def invoke(self, ctx: Any) -> Any:
        """Ctrl-C before anything runs is reported, where typer alone would exit silently."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Interrupted from None

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        width = max(map(len, self.commands))
        for heading, commands in COMMANDS.items():
            _write(formatter, heading, [(name, line) for name, (_, line) in commands.items()], width)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        self.format_commands(ctx, formatter)
        super().format_options(ctx, formatter)


def _root(
    version: Annotated[bool, typer.Option("--version", help="print the versions that matter", is_eager=True)] = False,
) -> None:
    if version:  # needs no command
        print(f"optlstm {__version__} (Python {python_version()}, {', '.join(_companions())})")
        raise typer.Exit


def _companions() -> Iterator[str]:
    """What is installed, without importing it."""
    for name in COMPANIONS:
        try:
            yield f"{name} {version(name)}"
        except PackageNotFoundError:
            yield f"no {name}"


def make_app() -> TyperGroup:
    app = typer.Typer(
        cls=_Group,
        name="optlstm",
        help="Tune PyTorch LSTMs: bring sequences in a file, get the best LSTM for them.",
        add_completion=False,
        rich_markup_mode=None,
        context_settings={
            "help_option_names": ["-h", "--help"],
            # Some commands once had `--output` for `--out`: it is still accepted.
            "token_normalize_func": lambda token: "out" if token == "output" else token,
        },
    )
    app.callback(invoke_without_command=True)(_root)
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    return group
