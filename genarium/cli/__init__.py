"""The commands of `genarium`, or `python -m genarium`. Torch is imported by the command that needs it, so that --help is quick."""

from __future__ import annotations

import os
import sys

import typer
from typer.core import TyperGroup

from genarium import notices
from genarium.cli import fitting, inspecting, making, sharing
from genarium.errors import GenariumError, PluginError
from genarium.tasks import Task, find_tasks


class ClearErrors(TyperGroup):
    """A group of commands that ends with a sentence and exit code 2 instead of a traceback, if the user can mend the error.

    Exit code 1 means that the command left out files that it could not read.
    """

    def invoke(self, ctx):
        notices.take_failures()
        try:
            result = super().invoke(ctx)
        except GenariumError as error:
            self.fail(str(error))
        except ModuleNotFoundError as error:
            package = (error.name or "").partition(".")[0]
            if package in ("", "genarium", "pipelines"):
                raise
            self.fail(
                f"{ctx.invoked_subcommand} needs the package {package}, which is not installed: pip install -r "
                "requirements-dev.txt"
            )
        except OSError as error:
            if not error.filename:
                raise
            self.fail(f"{error.filename}: {error.strerror}.")
        if "accelerate" in sys.modules and int(os.environ.get("WORLD_SIZE", "1")) > 1:
            from accelerate import PartialState

            PartialState().destroy_process_group()
        left_out = notices.take_failures()
        if left_out:
            typer.echo(f"Error: left out, because they cannot be read: {', '.join(left_out)}.", err=True)
            raise typer.Exit(1)
        return result

    @staticmethod
    def fail(message: str) -> None:
        rank = os.environ.get("RANK", "0")
        typer.echo(("" if rank == "0" else f"[process {rank}] ") + f"Error: {message}", err=True)
        raise typer.Exit(2)


def add_task(app: typer.Typer, task: Task) -> None:
    """Add the command of a task. If it cannot be imported, say so; the other commands work on."""
    try:
        part = task.part("command")
        if part is None:
            raise PluginError("its folder has no command.py")
        app.command(task.command)(part.run)
    except Exception as error:  # whatever another package does wrong
        typer.echo(f"The command {task.command} is not available: {find_tasks().origins[task.name]}: {error}", err=True)


def open_app(context: typer.Context) -> None:
    """Open the playground in the browser; `app --help` lists its options."""
    from genarium.serve import main

    main(context.args, program=context.command_path)


app = typer.Typer(
    cls=ClearErrors,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Genarium: a playground for generative models. Under `torchrun --nproc_per_node N -m genarium ...`, generate, "
    "evaluate and train share their work among N processes.",
)
app.command("app", add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(
    open_app
)
app.command("list")(inspecting.list_everything)
for task in find_tasks().values():
    if task.command:
        add_task(app, task)
app.command("train")(making.train)
app.command("fit")(fitting.fit)
app.command("evaluate")(making.evaluate)
app.command("card")(sharing.card)
app.command("publish")(sharing.publish)
app.command("pull")(sharing.pull)
app.command("deploy")(sharing.deploy)
app.command("new-family")(making.new_family)
