"""Genarium in the browser: `genarium app`, or `python app.py`. Finds the plugins, builds the pages, launches."""

import argparse
import importlib.util
import os
import sys
from collections.abc import Sequence

from genarium import rights, trust
from genarium.environment import KEEPING, check_environment, check_port
from genarium.errors import GenariumError
from genarium.temporary import own_folder

UNSEEN_SECONDS = 3.0  # after the launch, torch is imported also where nobody has looked at the first page


def main(arguments_given: Sequence[str] | None = None, program: str | None = None) -> None:
    """Start the app, and return when it has ended.

    Args:
        arguments_given: of the command; by default those of this process.
        program: what the help calls the command; by default the name of this process's file.

    Raises:
        SystemExit: an argument or a variable that cannot be understood, a port that is taken (status 2), or Ctrl-C while the
            app starts (status 130). One sentence on stderr says why.
    """
    parser = argparse.ArgumentParser(program, description="Genarium in the browser.")
    parser.add_argument("--host", help="address to listen on; GRADIO_SERVER_NAME, or this machine only")
    parser.add_argument("--port", help="GRADIO_SERVER_PORT, or the first free one from 7860")
    parser.add_argument("--share", action="store_true", help="also make a public address through gradio.live")
    parser.add_argument(
        "--trust-remote-code",
        action="store_true",
        help="dangerous: for checkpoints of classes that no plugin knows, runs the Python files that come with them",
    )
    parser.add_argument(
        "--keep-thresholds",
        action="store_true",
        help="whoever uses the page Check may keep a threshold with a checkpoint, for everybody",
    )
    parser.add_argument(
        "--allow-training",
        nargs="?",
        const="yes",
        metavar="QUOTAS",
        help="let strangers train on their own pictures, within quotas such as minutes=10,pictures=2000,runs=3; by default only an "
        "app that serves this machine alone allows it",
    )
    arguments = parser.parse_args(arguments_given)
    if arguments.trust_remote_code:
        os.environ[trust.VARIABLE] = "1"
    if arguments.keep_thresholds:
        os.environ[KEEPING] = "1"
    try:
        check_environment()
        port = check_port("--port", arguments.port)
        value = rights.value_for(arguments.allow_training, arguments.host, arguments.share)
        if value is not None:
            os.environ[rights.VARIABLE] = value
        if trust.trusted():
            print(trust.WARNING, file=sys.stderr)
        app, look, warming = _build()
    except GenariumError as error:  # a setting that cannot be understood
        parser.error(str(error))
    except KeyboardInterrupt:
        sys.exit(130)  # as a shell counts Ctrl-C
    try:
        app.launch(
            server_name=arguments.host,
            server_port=port,
            share=arguments.share,
            prevent_thread_lock=True,
            mcp_server=importlib.util.find_spec("mcp") is not None,  # comes with gradio[mcp]
            **look,
        )
    except ValueError as error:  # Gradio asks the app's own address before it says that all is well
        if "localhost is not accessible" not in str(error):
            raise
        parser.error(
            "the app does not reach itself. Set NO_PROXY=localhost,127.0.0.1 if a proxy is in the way; if this machine is very "
            "busy, try again."
        )
    except OSError:  # Gradio's words are about launch(), which nobody called
        where = f"{arguments.host or os.environ.get('GRADIO_SERVER_NAME') or 'this machine'}, port {port or 'of its choice'}"
        parser.error(
            f"cannot listen on {where}: another program is there, or it is not allowed. Choose another --port or --host."
        )
    warming.launched(UNSEEN_SECONDS)
    app.block_thread()


def _build():
    """Build the pages. Gradio is imported here, after the variables that it reads on import were checked and set."""
    own_folder()
    from genarium.catalogue import find_checkpoints
    from genarium.families import discover
    from genarium.runtime import Runtime, Warming
    from genarium.ui import build_app

    runtime = Runtime(find_checkpoints(discover()))
    warming = Warming(runtime)
    return *build_app(runtime, warming.seen), warming
