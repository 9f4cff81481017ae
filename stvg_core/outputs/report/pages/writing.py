"""Data and template in, HTML out: everything that a user, a data set or a model wrote is escaped here.

A page allows nothing but itself: its Content-Security-Policy refuses every script and style without the page's
nonce, every request, and (where browsers know Trusted Types) every way to make markup of a text.
"""

import json
import secrets
from functools import cache
from importlib.resources import files
from typing import Any, Final

import jinja2
from markupsafe import Markup

_STYLES: Final = ("page.css", "player.css", "tables.css")
_SCRIPTS: Final = (
    "elements.js",
    "theme.js",
    "palette.js",
    "decode.js",
    "heat.js",
    "clock.js",
    "stage.js",
    "timeline.js",
    "tiles.js",
    "details.js",
    "sample_view.js",
    "rows_table.js",
    "sample_list.js",
    "loading.js",
    "keyboard.js",
    "main.js",
)
_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'nonce-{nonce}'",
        "style-src 'nonce-{nonce}'",
        # A page on the disk is of no origin: 'self' is for the one that is served.
        "img-src 'self' file: data:",
        "media-src 'self' file:",
        "base-uri 'none'",
        "form-action 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types stvg",
    )
)


def render_page(title: str, data: dict[str, Any]) -> str:
    """Return a page as one HTML document, with styles, scripts and its data inside.

    Args:
        title: of the document; any text.
        data: what `assets/main.js` shows.
    """
    nonce = secrets.token_urlsafe(18)
    return (
        _environment()
        .get_template("page.html")
        .render(
            title=title,
            nonce=nonce,
            policy=_POLICY.format(nonce=nonce),
            # They are ours and hold no end tag, which a test looks at.
            style=Markup("\n".join(map(_asset, _STYLES))),  # noqa: S704
            scripts=[Markup(_asset(name)) for name in _SCRIPTS],  # noqa: S704
            data=Markup(markup_safe(_dumps(data))),  # noqa: S704  # made safe by the call inside
        )
    )


def sample_script(number: int, data: dict[str, Any]) -> str:
    r"""Return a script that hands a sample's data to the page; a page on the disk can load nothing else.

    The data is a string that the page parses: as an object of the language, its names would have meanings.

    >>> sample_script(3, {"query": "</script>"})
    'stvg.receive(3, "{\\"query\\": \\"\\u003c/script\\u003e\\"}");\n'
    """
    return f"stvg.receive({number}, {markup_safe(json.dumps(_dumps(data)))});\n"


def markup_safe(json_text: str) -> str:
    r"""Return JSON text that says the same and can stand in HTML and in a script.

    >>> markup_safe('"<b>&"')
    '"\\u003cb\\u003e\\u0026"'
    """
    return json_text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _dumps(data: dict[str, Any]) -> str:
    # ASCII alone: U+2028 and U+2029, which end a line of a script, are escapes.
    return json.dumps(data, ensure_ascii=True, allow_nan=False)


@cache
def _asset(name: str) -> str:
    return (files("stvg_core.outputs.report.pages") / "assets" / name).read_text(encoding="utf-8")


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FunctionLoader(_asset),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
