"""The table of planted bugs in docs/conformance.md; `python -m tests.support.conformance.planted_table` writes it."""

from pathlib import Path

from stvg_core.devtools.testing.suite import CHECKS

from .mutants import MUTANTS

PAGE = Path(__file__).parents[3] / "docs" / "conformance.md"
BEGIN, END = "<!-- planted bugs: begin -->", "<!-- planted bugs: end -->"


def table() -> str:
    """Return the table, by check in the kit's order."""
    order = [check.name for check in CHECKS]
    rows = sorted(MUTANTS, key=lambda mutant: order.index(mutant.caught_by))
    lines = [f"| [{one.caught_by}](#{one.caught_by}) | {one.name} | {one.family} |" for one in rows]
    return "\n".join(["| caught by | bug | planted in |", "|---|---|---|", *lines])


def with_table(text: str) -> str:
    """Return the page with its table written anew."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n\n{table()}\n\n{END}{tail}"


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
