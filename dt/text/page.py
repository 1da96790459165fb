"""The card of a text model as one page: targets side by side with what was written for them."""

from __future__ import annotations

from html import escape
from pathlib import Path

from dt.files import write_json, written_whole
from dt.text.card import TextCard, card_lines

STYLE = (
    "body{font:15px/1.45 system-ui,sans-serif;margin:2em auto;max-width:80em;padding:0 1em;"
    "color:#222}table{border-collapse:collapse}td,th{padding:.3em .7em;text-align:right;"
    "border-bottom:1px solid #ddd;vertical-align:top}.texts td{text-align:left;font-size:13px;"
    "width:14%}h1{font-size:1.4em}.verdict{font-size:1.15em;font-weight:600}small{color:#666}"
    "svg{max-width:32em}"
)
WIDTH, HEIGHT, EDGE = 420, 260, 40


def write_text_card(card: TextCard, folder: Path, name: str) -> list[Path]:
    """Write a card as NAME.json and as the page NAME.html.

    Returns:
        The files.

    Raises:
        OSError: where nothing can be written, with what to do.
    """
    files = [folder / f"{name}.json", folder / f"{name}.html"]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(files[0], card.to_json())
        with written_whole(files[1]) as beside:
            beside.write_text(page(card))
    except OSError as error:
        raise OSError(
            f"{folder}: the card cannot be written there ({error.strerror or error}); name another "
            f"folder with --out"
        ) from error
    return files


def page(card: TextCard) -> str:
    """Lay the card out as HTML that needs no other file."""
    lines = "".join(f"<p>{escape(line)}</p>" for line in card_lines(card))
    origin = ", ".join(f"{package} {version}" for package, version in card.versions.items())
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(card.name)}</title>"
        f"<style>{STYLE}</style><h1>{escape(card.name)}</h1>"
        f"<p class=verdict>{escape(card.verdict)}</p>{_picture(card)}{_table(card)}{lines}"
        f"<h2>What was written</h2>{_texts(card)}"
        f"<p><small>{escape(card.command)}, commit {escape(str(card.commit))}, {escape(origin)}"
        f"</small></p></html>\n"
    )


def _table(card: TextCard) -> str:
    head = "<tr><th>asked<th>in the file's unit<th>judged<th>95 % interval<th>std<th>characters"
    rows = ""
    for row in card.targets:
        ends = row.judged.interval
        between = "" if ends is None else f"{ends[0]:.3g} to {ends[1]:.3g}"
        value = "" if row.judged.value is None else f"{row.judged.value:.3g}"
        std = "" if row.std is None else f"{row.std:.2g}"
        rows += (
            f"<tr><td>{row.target:.3g}<td>{row.raw:.4g}<td>{value}<td>{between}<td>{std}"
            f"<td>{row.characters:.0f}"
        )
    return f"<table>{head}{rows}</table>"


def _texts(card: TextCard) -> str:
    head = "".join(f"<th>asked {row.target:.3g}" for row in card.targets)
    body = ""
    for number in range(max(len(row.texts) for row in card.targets)):
        cells = (row.texts[number] if number < len(row.texts) else "" for row in card.targets)
        body += "<tr>" + "".join(f"<td>{escape(text)}" for text in cells)
    return f"<table class=texts><tr>{head}{body}</table>"


def _picture(card: TextCard) -> str:
    """Draw what the judge found over what was asked, and what real texts would have brought."""
    ends = [row.judged.interval for row in card.targets]
    if not card.judge or card.slope_real.value is None or any(each is None for each in ends):
        return ""
    x = [row.target for row in card.targets]
    y = [row.judged.value or 0.0 for row in card.targets]
    middle_x, middle_y = sum(x) / len(x), sum(y) / len(y)
    real = [middle_y + card.slope_real.value * (each - middle_x) for each in (x[0], x[-1])]
    reach = [value for pair in ends if pair is not None for value in pair] + real
    low, high = min(reach), max(reach)

    def place(at_x: float, at_y: float) -> tuple[float, float]:
        across = (at_x - x[0]) / ((x[-1] - x[0]) or 1) * (WIDTH - 2 * EDGE) + EDGE
        return across, HEIGHT - EDGE - (at_y - low) / ((high - low) or 1) * (HEIGHT - 2 * EDGE)

    (x1, y1), (x2, y2) = place(x[0], real[0]), place(x[-1], real[1])
    parts = [
        f"<line x1={x1:.0f} y1={y1:.0f} x2={x2:.0f} y2={y2:.0f} stroke='#999' stroke-dasharray=5>"
        f"</line>"
    ]
    for at_x, at_y, pair in zip(x, y, ends, strict=True):
        assert pair is not None
        across, down = place(at_x, at_y)
        bars = [place(at_x, end)[1] for end in pair]
        parts.append(
            f"<line x1={across:.0f} x2={across:.0f} y1={bars[0]:.0f} y2={bars[1]:.0f} "
            f"stroke='#27c'></line><circle cx={across:.0f} cy={down:.0f} r=4 fill='#27c'></circle>"
        )
    words = (
        f"<text x={WIDTH / 2:.0f} y={HEIGHT - 8} text-anchor=middle font-size=12>asked, "
        f"{x[0]:.3g} to {x[-1]:.3g}</text><text x=4 y=14 font-size=12>judged, {low:.3g} to "
        f"{high:.3g}; dashed: the slope of real texts</text>"
    )
    return (
        f"<svg viewBox='0 0 {WIDTH} {HEIGHT}' role=img aria-label='asked and judged'>"
        f"{''.join(parts)}{words}</svg>"
    )
