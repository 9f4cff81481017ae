"""Extensions that wrap the hooks of any backend: they measure, log or cache, and never answer for it.

A distribution offers one in entry-point group `stvg.extensions`; it runs where the user names
it and nowhere else. Whatever it does wrong is told with its name: see docs/hooks.md.
"""

import functools
import inspect
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pluggy

from stvg_core._internal.out_of_memory import ran_out_of_memory
from stvg_core._internal.plain_text import one_line
from stvg_core.errors import PluginError, StvgError, UsageError
from stvg_core.host.hooks import check_answer, check_arguments
from stvg_core.host.loading import open_plugin
from stvg_core.host.registry.selection import find_entries
from stvg_core.plugin import hookspecs
from stvg_core.plugin.model_reference import EXTENSION_GROUP

_SHOWN_CHARACTERS = 300
_NOTHING = object()

Wrapper = Callable[..., Generator[None, Any, Any]]


@dataclass(frozen=True, eq=False)
class HookExtension:
    """An opened extension; only wrappers of known hooks are let in.

    Attributes:
        name: as the user names it.
        distribution: that holds it.
        version: of that distribution.
        plugin: the object whose hook wrappers run.
        hooks: names of the hooks that it wraps.

    Raises:
        PluginError: it implements a hook without wrapper=True, does not fit the hooks, or wraps none.
    """

    name: str
    distribution: str
    version: str
    plugin: object
    hooks: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Check the plugin as a backend's is checked, and that it only wraps."""
        object.__setattr__(self, "hooks", tuple(sorted(hook for hook, _ in self.wrappers())))

    def __str__(self) -> str:
        """Return its name for a message."""
        return f"extension {self.name!r} of {self.distribution} {self.version}"

    def wrappers(self) -> tuple[tuple[str, pluggy.HookImpl], ...]:
        """Return each wrapped hook's name and the wrapper."""
        manager = pluggy.PluginManager(hookspecs.PROJECT)
        manager.add_hookspecs(hookspecs)
        try:
            manager.register(self.plugin, name=self.name)
            manager.check_pending()
        except Exception as error:  # a foreign object: reading its attributes can raise anything
            raise PluginError(f"{self} does not fit the hooks: {_text(error)}; see docs/hooks.md") from error
        # A hook without specification that passed is an optional one of another version.
        callers = [caller for caller in manager.get_hookcallers(self.plugin) or () if caller.has_spec()]
        found = tuple((caller.name, implementation) for caller in callers for implementation in caller.get_hookimpls())
        for hook, implementation in found:
            if not implementation.wrapper:
                raise PluginError(
                    f"{self} implements {hook} without wrapper=True and would answer for the backend; "
                    "mark it @hookimpl(wrapper=True)"
                )
            check_arguments(implementation.function, f"{hook} of {self}")
        if not found:
            raise PluginError(f"{self} wraps no hook; mark its methods @hookimpl(wrapper=True)")
        return found


def open_hook_extensions(extensions: Sequence[str | HookExtension]) -> tuple[HookExtension, ...]:
    """Return extensions by name, imported and checked, in the given order; opened ones stay as they are.

    Raises:
        UsageError: a name is unknown or given twice.
        PluginError: one cannot be imported, does not fit the hooks, or two distributions claim its name.
    """
    names = [extension if isinstance(extension, str) else extension.name for extension in extensions]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"expected each extension once, got {twice!r} {names.count(twice)} times; name it once")
    return tuple(extension if isinstance(extension, HookExtension) else _open(extension) for extension in extensions)


def add_checks(manager: pluggy.PluginManager, backend: str, extensions: Sequence[HookExtension]) -> None:
    """Wrap a backend's hooks in extensions, each answer checked where it leaves its maker.

    The first extension is the outermost, unless one asks for another place (tryfirst, trylast).

    Args:
        manager: holds the backend.
        backend: what the backend is called in messages.
        extensions: to wrap around it.
    """
    for extension in reversed(extensions):
        guarded = {
            hook: hookspecs.hookimpl(wrapper=True, tryfirst=wrapper.tryfirst, trylast=wrapper.trylast)(
                _guard(extension, hook, wrapper)
            )
            for hook, wrapper in extension.wrappers()
        }
        manager.register(SimpleNamespace(**guarded), name=f"extension {extension.name}")
    # Registered last among those that come last: nothing stands between it and the backend.
    checks = {hook: hookspecs.hookimpl(wrapper=True, trylast=True)(_check(backend, hook)) for hook in _specifications()}
    manager.register(SimpleNamespace(**checks), name=CHECKS)


CHECKS = "answer checks"
"""Name under which the check of the backend's answers is registered."""


def _open(name: str) -> HookExtension:
    found = find_entries(EXTENSION_GROUP)
    if not found:
        raise UsageError(f"no extension is installed, got {name!r}; pip install the distribution that holds it")
    # Refuses an unknown, a disabled and an ambiguous name.
    plugin = open_plugin(EXTENSION_GROUP, "extension", object, name)
    distribution = next(entry.distribution for entry, disabled in found if entry.point.name == name and not disabled)
    return HookExtension(name, distribution.name, distribution.version, plugin)


def _specifications() -> dict[str, Callable[..., object]]:
    return {name: hook for name, hook in vars(hookspecs).items() if name.startswith("stvg_")}


def _wrapper(hook: str, body: Callable[[dict[str, object]], Generator[None, object, object]]) -> Wrapper:
    """Return a wrapper under a specification's name and signature, so that pluggy hands over every argument."""
    specification = _specifications()[hook]
    names = tuple(inspect.signature(specification).parameters)
    # pluggy wants a generator function itself; a lambda is one whatever decorates the functions of this module.
    # (mypy knows no lambda that yields.)
    wrapper: Wrapper = lambda *values: (  # type: ignore[assignment]  # noqa: E731
        yield from body(dict(zip(names, values, strict=True)))
    )
    return functools.update_wrapper(wrapper, specification)


def _check(backend: str, hook: str) -> Wrapper:
    """Return a wrapper that refuses what the backend may not answer."""

    def checking(arguments: dict[str, object]) -> Generator[None, object, object]:
        answer = yield
        check_answer(backend, hook, arguments, answer)
        return answer

    return _wrapper(hook, checking)


def _guard(extension: HookExtension, hook: str, wrapper: pluggy.HookImpl) -> Wrapper:
    """Return an extension's wrapper with its own failures and its answer told in its name."""

    def guarded(arguments: dict[str, object]) -> Generator[None, object, object]:
        wrapping: Any = wrapper.function(*(arguments[name] for name in wrapper.argnames))
        given: object = _NOTHING

        def run(step: Callable[[], object], passing: BaseException | None = None) -> object:
            """Return what the wrapper returns, or _NOTHING where it yields."""
            try:
                step()
            except StopIteration as end:
                return end.value
            except Exception as error:
                if error is passing or isinstance(error, StvgError) or ran_out_of_memory(error):
                    raise
                raise PluginError(
                    f"{extension} failed in {hook}: {type(error).__name__}: {_text(error)}; "
                    f"leave it out, or pip install --upgrade {extension.distribution}"
                ) from error
            return _NOTHING

        if run(lambda: next(wrapping)) is not _NOTHING:
            raise PluginError(f"{extension} did not yield in {hook}, so nothing was wrapped; see docs/hooks.md")
        try:
            given = yield
        except BaseException as error:  # noqa: BLE001  # the wrapper must see whatever passes through it
            passing = error
            answer = run(lambda: wrapping.throw(passing), passing)
        else:
            answer = run(lambda: wrapping.send(given))
        if answer is _NOTHING:
            wrapping.close()
            raise PluginError(f"{extension} yielded twice in {hook}; a wrapper yields once: see docs/hooks.md")
        check_answer(str(extension), hook, arguments, answer)
        if answer is None and given is not None:
            raise PluginError(f"{extension} answered None to {hook}, expected what its yield gave; see docs/hooks.md")
        return answer

    return _wrapper(hook, guarded)


def _text(error: Exception) -> str:
    return one_line(str(error), _SHOWN_CHARACTERS)
