"""Options that several commands share, declared once as the fields of a dataclass."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from inspect import Parameter
from typing import Any, get_type_hints

Command = Callable[..., None]


def takes(group: type[Any], name: str, **defaults: Any) -> Callable[[Command], Command]:
    """Add the options that are the fields of the dataclass `group` to a command, after its own.

    Their values are passed as its parameter `name`. `defaults` are other defaults than those of the fields.
    """
    hints = get_type_hints(group, include_extras=True)
    values_by_default = {each.name: each.default for each in dataclasses.fields(group)} | defaults

    def decorated(command: Command) -> Command:
        def run(**values: Any) -> None:
            given = {name: group(**{option: values.pop(option) for option in hints})}
            command(**given, **values)

        own = inspect.signature(command, eval_str=True).parameters.values()
        parameters = [each.replace(kind=Parameter.KEYWORD_ONLY) for each in own if each.name != name]
        for option, annotation in hints.items():
            default = values_by_default[option]
            parameters.append(Parameter(option, Parameter.KEYWORD_ONLY, default=default, annotation=annotation))
        run.__name__, run.__doc__ = command.__name__, command.__doc__
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return run

    return decorated
