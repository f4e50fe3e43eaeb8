"""Plots as SVG, without a library: panels below each other over one axis, and marks across them."""

WIDTH, HEIGHT = 720, 110
LEFT, RIGHT, TOP, GAP = 60, 10, 22, 34
COLOURS = ["#0072B2", "#009E73", "#E69F00", "#CC79A7"]


def at(fraction):
    """Where a fraction of the axis is."""
    return LEFT + fraction * (WIDTH - LEFT - RIGHT)


def number(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def panel(index, title, points, dots=False):
    """The points, as (fraction of the axis, value), from 0 to the largest value."""
    base, colour = TOP + index * (HEIGHT + GAP) + HEIGHT, COLOURS[index % len(COLOURS)]
    most = max([value for _, value in points] + [1e-9])
    places = [(at(x), base - value / most * HEIGHT) for x, value in points]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    marks = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places) if dots else ""
    return (f'<text x="{LEFT}" y="{base - HEIGHT - 8}" font-weight="600">{title}</text>'
            f'<text x="{LEFT - 6}" y="{base - HEIGHT + 8}" text-anchor="end">{number(most)}</text>'
            f'<text x="{LEFT - 6}" y="{base}" text-anchor="end">0</text>'
            f'<line x1="{LEFT}" y1="{base}" x2="{WIDTH - RIGHT}" y2="{base}" stroke="#999"/>'
            f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>{marks}')


def svg(panels, marks):
    """`panels`: title and points each; `marks`: fraction of the axis and text each, below a dashed line."""
    bottom = TOP + len(panels) * (HEIGHT + GAP)
    lines = [f'<line x1="{at(x):.1f}" y1="{TOP - 4}" x2="{at(x):.1f}" y2="{bottom - GAP}" stroke="#ccc" stroke-dasharray="3 3"/>'
             f'<text x="{at(x) + 3:.1f}" y="{bottom - 16}">{text}</text>' for x, text in marks]
    return page(bottom, lines + [panel(index, title, points) for index, (title, points) in enumerate(panels)])


def steps(title, labels, panels):
    """Values over steps that are told apart by a label: `panels` holds a title and a value for each step."""
    # Half a step of room at both ends: labels are centred.
    places = [(index + 0.5) / len(labels) for index in range(len(labels))]
    bottom = TOP + len(panels) * (HEIGHT + GAP)
    texts = [f'<text x="{at(x):.1f}" y="{bottom - 16}" text-anchor="middle">{label}</text>' for x, label in zip(places, labels)]
    texts.append(f'<text x="{WIDTH - RIGHT}" y="{TOP - 8}" text-anchor="end" fill="#666">{title}</text>')
    return page(bottom, texts + [panel(index, name, list(zip(places, values)), dots=True) for index, (name, values) in enumerate(panels)])


def page(bottom, parts):
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom}" font-family="sans-serif" font-size="11">'
            f'<rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>\n')
