"""What a command ends with where something is wrong: one line on stderr, in the words of the command line, and an exit code."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

__all__ = ["messages", "translated"]

_PARTS_OF_DATA = ("X", "y")


@contextmanager
def messages(context: typer.Context) -> Iterator[None]:
    """End on one line and an exit code, not on a traceback; with NNTK_DEBUG=1 on both.

    2: bad input. 130: Ctrl-C. 1: a fault of this package.
    """
    try:
        yield
    except KeyboardInterrupt:
        print("nntk: interrupted", file=sys.stderr)
        raise typer.Exit(130) from None
    except Exception as error:
        from nntk_reference import NntkError

        if os.environ.get("NNTK_DEBUG") == "1":
            import traceback

            traceback.print_exc()
        accelerated = sys.modules.get("nntk_accelerated")  # not loaded: then it did not come from there
        kinds = (NntkError, OSError, *((accelerated.AcceleratedError,) if accelerated else ()))
        expected = isinstance(error, kinds)
        message = translated(error, context) if expected else f"internal error: {type(error).__name__}: {error}"
        print("nntk:", " ".join(message.split()), file=sys.stderr)
        raise typer.Exit(2 if expected else 1) from None


def translated(error: Exception, context: typer.Context) -> str:
    """The error's message, with options where it names arguments.

    Functions know their arguments' names, not what was typed: an InputError begins with the argument that is at fault, and sets
    others that it speaks of in backquotes. Where the command has a parameter of that name, its longest option is shown instead,
    or the metavar of an argument without dashes. X and y are what the file of `data` holds.
    """
    names = _typed(context)
    message, argument = str(error), getattr(error, "argument", None)
    if argument in names and message.startswith(f"{argument}:"):
        message = names[argument] + message[len(argument) :]
    return re.sub(r"`(\w+)`", lambda match: names.get(match[1], match[0]), message)


def _typed(context: typer.Context) -> dict[str, str]:
    """What is typed for each argument, under the name of the command's parameter and under the option's own."""
    names: dict[str, str] = {}
    for parameter in context.command.params:
        name = parameter.name or ""
        if parameter.param_type_name == "argument":
            names[name] = getattr(parameter, "metavar", None) or name.upper()
            continue
        option = max(parameter.opts, key=len)
        names[name] = option
        names.setdefault(option.lstrip("-").replace("-", "_"), option)
    if "data" in names:
        names = dict.fromkeys(_PARTS_OF_DATA, names["data"]) | names
    return names
