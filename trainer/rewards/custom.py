"""A reward of one's own: `package.module:function`, installed or beside the sweep."""

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trainer.errors import ConfigError


def load_function(name: str) -> Callable[[str, str, Mapping[str, Any]], float]:
    """Import a reward function; modules are also looked for in the working directory.

    Raises:
        ConfigError: it cannot be imported, or cannot be called as `reward(completion, answer, row)`.
    """
    module_name, _, function_name = name.partition(":")
    function = getattr(_import(name, module_name), function_name, None)
    if not callable(function):
        raise ConfigError(f"task.reward {name!r}: module {module_name} has no function {function_name!r}")
    if inspect.iscoroutinefunction(function):
        raise ConfigError(f"task.reward {name!r} is a coroutine function; make it a plain one")
    try:
        inspect.signature(function).bind("completion", "answer", {})
    except ValueError:
        pass  # written in C, and silent about its arguments
    except TypeError as error:
        raise ConfigError(
            f"task.reward {name!r} must take (completion: str, answer: str, row: Mapping): {error}"
        ) from error
    return function  # type: ignore[no-any-return] # whatever it returns is checked at each call


def _import(name: str, module_name: str) -> object:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)  # last, so that a file there cannot stand in for an installed package
    try:
        return importlib.import_module(module_name)
    # Importing runs a user's code: anything may come out of it, also sys.exit().
    except (Exception, SystemExit) as error:
        raise ConfigError(
            f"task.reward {name!r} cannot be imported ({type(error).__name__}: {error}). Modules are looked "
            f"for among the installed packages and in the working directory {here}"
        ) from error
