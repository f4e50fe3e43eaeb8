"""Panels, rows and dashboards as Grafana's JSON."""

from palette import BAD, GOOD, GREY, WARN

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH = 24


def targets(queries, instant=False, table=False):
    """Queries are (expression, legend)."""
    return [
        {
            "datasource": DATASOURCE,
            "editorMode": "code",
            "expr": expr,
            "format": "table" if table else "time_series",
            "instant": instant,
            "legendFormat": legend,
            "range": not instant,
            "refId": chr(ord("A") + index),
        }
        for index, (expr, legend) in enumerate(queries)
    ]


def thresholds(*steps):
    """Green below the first of (value, colour)."""
    first = [{"color": GOOD, "value": None}]
    return {"mode": "absolute", "steps": first + [{"color": colour, "value": value} for value, colour in steps]}


def limits(warn, bad):
    """More is worse."""
    return thresholds((warn, WARN), (bad, BAD))


def colours(palette):
    """Fixed colours by a series' name; one that is a pattern (/…/) gives shades to all that match."""
    overrides = []
    for name, colour in palette.items():
        pattern = name.startswith("/")
        overrides.append({
            "matcher": {"id": "byRegexp" if pattern else "byName", "options": name},
            "properties": [
                {"id": "color", "value": {"fixedColor": colour, "mode": "shades" if pattern else "fixed"}}
            ],
        })
    return overrides


def dashed(name):
    """A limit that the other series are held against: a dashed line outside any stack."""
    return {
        "matcher": {"id": "byName", "options": name},
        "properties": [
            {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [8, 8]}},
            {"id": "custom.fillOpacity", "value": 0},
            {"id": "custom.stacking", "value": {"mode": "none"}},
            {"id": "color", "value": {"fixedColor": GREY, "mode": "fixed"}},
        ],
    }


def panel(kind, title, description, unit, size, queries, options, defaults=None, overrides=(), **rest):
    width, height = size
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": DATASOURCE,
        "gridPos": {"w": width, "h": height, "x": 0, "y": 0},
        "fieldConfig": {"defaults": {"unit": unit, **(defaults or {})}, "overrides": list(overrides)},
        "options": options,
        "targets": queries,
        **rest,
    }


def timeseries(title, description, unit, queries, *, size=(8, 8), palette=None, stack=None, top=None, line=None,
               limit=None, calcs=("lastNotNull", "max")):
    """`stack` is normal or percent, `top` the axis' end, `line` a threshold to draw, `limit` a series to dash."""
    custom = {
        "drawStyle": "line",
        "lineInterpolation": "linear",
        "lineWidth": 1,
        "fillOpacity": 40 if stack else 10,
        "showPoints": "never",
        "spanNulls": False,
        "axisSoftMin": 0,
        "stacking": {"mode": stack or "none", "group": "A"},
        "thresholdsStyle": {"mode": "dashed" if line else "off"},
    }
    defaults = {"custom": custom, "min": 0, "color": {"mode": "palette-classic-by-name"}}
    defaults["thresholds"] = thresholds((line, BAD)) if line else thresholds()
    if top is not None:
        defaults["max"] = top
    options = {
        "legend": {"displayMode": "table", "placement": "bottom", "showLegend": True, "calcs": list(calcs)},
        "tooltip": {"mode": "multi", "sort": "none" if stack else "desc"},
    }
    overrides = colours(palette or {}) + ([dashed(limit)] if limit else [])
    return panel("timeseries", title, description, unit, size, targets(queries), options, defaults, overrides)


def stat(title, description, unit, queries, *, size=(3, 6), steps=None, mappings=(), graph=True, font=None, links=()):
    several = len(queries) > 1
    defaults = {"color": {"mode": "thresholds"}, "mappings": list(mappings), "thresholds": steps or thresholds()}
    options = {
        "colorMode": "background" if mappings else "value",
        "graphMode": "area" if graph else "none",
        "justifyMode": "center",
        "orientation": "auto",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "textMode": "value_and_name" if several else "value",
        "wideLayout": False,
    }
    if font:
        options["text"] = {"valueSize": font}
    return panel("stat", title, description, unit, size, targets(queries), options, defaults, links=list(links))


def bars(title, description, unit, queries, *, size=(8, 8), palette=None, steps=None, top=None):
    """What it is now, as bars."""
    defaults = {"min": 0, "color": {"mode": "thresholds"}, "thresholds": steps or thresholds()}
    if top is not None:
        defaults["max"] = top
    options = {
        "displayMode": "basic",
        "orientation": "horizontal",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "showUnfilled": True,
        "valueMode": "color",
    }
    return panel("bargauge", title, description, unit, size, targets(queries, instant=True), options, defaults,
                 colours(palette or {}))


def table(title, description, unit, queries, *, size=(8, 8), columns, sort, units=None):
    """Instant values, joined on their labels; `columns` maps fields to headings, all others are left out."""
    overrides = [{"matcher": {"id": "byName", "options": name}, "properties": [{"id": "unit", "value": other}]}
                 for name, other in (units or {}).items()]
    options = {"cellHeight": "sm", "showHeader": True, "sortBy": [{"displayName": columns[sort], "desc": False}]}
    names = list(columns)
    transformations = [
        {"id": "merge", "options": {}},
        {"id": "filterFieldsByName", "options": {"include": {"names": names}}},
        {"id": "organize", "options": {
            "indexByName": {name: index for index, name in enumerate(names)},
            "renameByName": columns,
        }},
    ]
    return panel("table", title, description, unit, size, targets(queries, instant=True, table=True), options,
                 {"custom": {"align": "auto"}}, overrides, transformations=transformations)


def timeline(title, description, queries, mappings, *, size=(WIDTH, 4)):
    """A value that is one of a few states, over time."""
    defaults = {
        "color": {"mode": "thresholds"},
        "custom": {"fillOpacity": 80, "lineWidth": 0},
        "mappings": list(mappings),
        "thresholds": thresholds(),
    }
    options = {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False},
        "mergeValues": True,
        "rowHeight": 0.9,
        "showValue": "auto",
        "tooltip": {"mode": "multi", "sort": "none"},
    }
    return panel("state-timeline", title, description, "none", size, targets(queries), options, defaults)


def row(title, *members):
    """A heading and the panels below it, from left to right."""
    heading = {"type": "row", "title": title, "collapsed": False, "panels": [],
               "gridPos": {"w": WIDTH, "h": 1, "x": 0, "y": 0}}
    return [heading, *members]


def flow(rows):
    """Gives every panel its place: left to right, on the next line when there is no room."""
    placed, top = [], 0
    for members in rows:
        left, height = 0, 0
        for member in members:
            place = member["gridPos"]
            if left + place["w"] > WIDTH:
                left, top, height = 0, top + height, 0
            place["x"], place["y"] = left, top
            left, height = left + place["w"], max(height, place["h"])
            placed.append(member)
        top += height
    for number, member in enumerate(placed, start=1):
        member["id"] = number
    return placed


def variable(name, label, query):
    return {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": DATASOURCE,
        "definition": query,
        "query": {"query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"},
        "multi": True,
        "includeAll": True,
        "allValue": ".+",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "options": [],
        "refresh": 2,
        "regex": "",
        "sort": 1,
        "hide": 0,
        "skipUrlSync": False,
    }


SOURCE = {
    "type": "datasource",
    "name": "datasource",
    "label": "Data source",
    "query": "prometheus",
    "current": {},
    "options": [],
    "refresh": 1,
    "regex": "",
    "multi": False,
    "includeAll": False,
    "hide": 0,
    "skipUrlSync": False,
}

BUILT_IN = {
    "builtIn": 1,
    "datasource": {"type": "grafana", "uid": "-- Grafana --"},
    "enable": True,
    "hide": True,
    "iconColor": "rgba(0, 211, 255, 1)",
    "name": "Annotations & Alerts",
    "type": "dashboard",
}


def dashboard(uid, title, description, rows, *, part="~gateway|worker", annotations=(), window="now-30m"):
    """`part` says whose instances can be chosen: gateway, worker, or either. `model` is offered where it is used."""
    shown = flow(rows)
    build = 'shoal_build_info{part=~"%s"' % part.lstrip("~")
    variables = [
        SOURCE,
        variable("job", "Job", 'label_values(shoal_build_info, job)'),
        variable("instance", "Instance", f'label_values({build}, job=~"$job"}}, instance)'),
    ]
    if any("$model" in target["expr"] for member in shown for target in member.get("targets", [])):
        variables.append(variable("model", "Model", 'label_values(shoal_queue_jobs{job=~"$job"}, model)'))
    return {
        "uid": uid,
        "title": title,
        "description": description,
        "tags": ["shoal"],
        "editable": True,
        "graphTooltip": 1,
        "timezone": "browser",
        "refresh": "10s",
        "schemaVersion": 41,
        "version": 1,
        "time": {"from": window, "to": "now"},
        "timepicker": {},
        "fiscalYearStartMonth": 0,
        "liveNow": False,
        "links": [{
            "type": "dashboards", "title": "Shoal", "tags": ["shoal"], "icon": "external link", "tooltip": "",
            "asDropdown": False, "includeVars": True, "keepTime": True, "targetBlank": False, "url": "",
        }],
        "annotations": {"list": [BUILT_IN, *annotations]},
        "templating": {"list": variables},
        "panels": shown,
    }
