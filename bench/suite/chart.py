"""Bar charts as SVG. Their colours are readable on a light and on a dark page, whatever page they are on."""

from html import escape

TEXT, FAINT = "#808080", "#80808040"
OURS, PEER = "#3f83d8", "#9a9a9a"
WIDTH, LABEL, BAR, GAP = 720, 300, 20, 8


def number(value):
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def bars(title, unit, rows):
    """Horizontal bars; a row is (label, value, whether it is ours)."""
    top, scale = 34, (WIDTH - LABEL - 90) / max(value for _, value, _ in rows)
    height = top + len(rows) * (BAR + GAP) + 6
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" font-family="sans-serif" font-size="13">',
        f"<title>{escape(title)}, {escape(unit)}</title>",
        f'<text x="0" y="15" fill="{TEXT}" font-weight="bold">{escape(title)}, {escape(unit)}</text>',
        f'<path d="M{LABEL} {top - 6}V{height}" stroke="{FAINT}"/>',
    ]
    for n, (label, value, is_ours) in enumerate(rows):
        y = top + n * (BAR + GAP)
        width = max(1, value * scale)
        out += [
            f'<text x="{LABEL - 8}" y="{y + 14}" text-anchor="end" fill="{TEXT}">{escape(label)}</text>',
            f'<rect x="{LABEL}" y="{y}" width="{width:.1f}" height="{BAR}" rx="2" fill="{OURS if is_ours else PEER}"/>',
            f'<text x="{LABEL + width + 6:.1f}" y="{y + 14}" fill="{TEXT}">{number(value)}</text>',
        ]
    return "\n".join(out + ["</svg>", ""])
