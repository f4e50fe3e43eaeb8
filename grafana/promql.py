"""Expressions, with the dashboards' variables put where a metric has the label."""

WINDOW = "$__rate_interval"

# The same on every gateway, because it is the broker's: never filtered by `instance`, always `max by`.
FLEET_WIDE = ("shoal_queue_", "shoal_stream_", "shoal_jetstream_", "shoal_fleet_")
WITH_MODEL = ("shoal_queue_", "shoal_fleet_", "shoal_worker_model_info", "shoal:queue:", "shoal:workers:")


def series(name, /, **labels):
    """A selector. A value that begins with ~ is a pattern, with ! one that must not match."""
    matchers = []
    if not name.startswith(("shoal:", "ALERTS")):
        matchers.append('job=~"$job"')
        if not name.startswith(FLEET_WIDE):
            matchers.append('instance=~"$instance"')
    if name.startswith(WITH_MODEL):
        matchers.append('model=~"$model"')
    for label, value in labels.items():
        sign, text = {"~": ("=~", value[1:]), "!": ("!~", value[1:])}.get(value[0], ("=", value))
        matchers.append(f'{label}{sign}"{text}"')
    return name + ("{" + ", ".join(matchers) + "}" if matchers else "")


def rate(name, /, **labels):
    return f"rate({series(name, **labels)}[{WINDOW}])"


def total(expr, by=None):
    """The sum; 0 when there is nothing to add up."""
    return f"sum by ({by}) ({expr})" if by else f"(sum({expr}) or vector(0))"


def same(name, by, **labels):
    """A value that every gateway exports alike."""
    return f"max by ({by}) ({series(name, **labels)})"


def ratio(part, whole):
    """0 instead of 0 / 0."""
    return f"{part} / ({whole} > 0) or {whole} * 0"


def mean(histogram, by=None, **labels):
    return ratio(total(rate(f"{histogram}_sum", **labels), by), total(rate(f"{histogram}_count", **labels), by))


def quantile(q, histogram, by=None, **labels):
    """0 when nothing was observed: NaN is not >= 0."""
    groups = f"le, {by}" if by else "le"
    nothing = total(rate(f"{histogram}_count", **labels), by) + " * 0"
    buckets = rate(f"{histogram}_bucket", **labels)
    return f"histogram_quantile({q}, sum by ({groups}) ({buckets})) >= 0 or {nothing}"


def by_host(expr):
    """`instance` without its port."""
    return f'label_replace({expr}, "host", "$1", "instance", "(.*):[0-9]+")'
