"""Reads an answer of GET /metrics from standard input with Prometheus' own parser, lints it, and prints its samples as JSON.

What it looks for is what `promtool check metrics` looks for, as far as a text can show it: help and type of every family,
base units, `_total` on counters and on nothing else, histograms whose buckets grow and end with everything.
"""

import json
import math
import sys

from prometheus_client.parser import text_string_to_metric_families


def complaints(family, text):
    name = family.name
    exposed = name + "_total" if family.type == "counter" else name
    if not family.documentation:
        yield "no help"
    if family.type == "unknown":
        yield "no type"
    if f"# TYPE {exposed} {family.type}\n" not in text:
        yield f"is not declared as {exposed} {family.type}"
    if family.type != "counter" and name.endswith(("_total", "_count", "_sum", "_bucket")):
        yield f"a {family.type} has a name of something else"
    for unit in ("milliseconds", "microseconds", "millis", "micros", "kilobytes", "minutes", "hours", "percent"):
        if unit in name.split("_"):
            yield f"{unit} are no base unit"
    if not name.startswith("counterpart_") or name != name.lower():
        yield "not a name of ours"
    seen = set()
    for sample in family.samples:
        key = (sample.name, tuple(sorted(sample.labels.items())))
        if key in seen:
            yield f"{key} is there twice"
        seen.add(key)
        if math.isnan(sample.value):
            yield f"{key} is not a number"
    if family.type == "histogram":
        yield from of_histogram(family)


def of_histogram(family):
    series = {}
    for sample in family.samples:
        labels = tuple(sorted((k, v) for k, v in sample.labels.items() if k != "le"))
        one = series.setdefault(labels, {"buckets": []})
        if sample.name.endswith("_bucket"):
            one["buckets"].append((float(sample.labels["le"]), sample.value))
        else:
            one[sample.name.rsplit("_", 1)[1]] = sample.value
    for labels, one in series.items():
        if one["buckets"] != sorted(one["buckets"]) or [n for _, n in one["buckets"]] != sorted(n for _, n in one["buckets"]):
            yield f"the buckets of {labels} do not grow"
        if one["buckets"][-1] != (math.inf, one.get("count")) or "sum" not in one:
            yield f"the histogram of {labels} is not complete"


def main():
    text = sys.stdin.read()
    families = list(text_string_to_metric_families(text))
    found = [f"{family.name}: {why}" for family in families for why in complaints(family, text)]
    names = [family.name for family in families]
    found += [f"{name}: there are two families" for name in {n for n in names if names.count(n) > 1}]
    samples = [
        {"name": sample.name, "labels": sample.labels, "value": sample.value}
        for family in families
        for sample in family.samples
        if math.isfinite(sample.value)
    ]
    json.dump({"complaints": found, "samples": samples, "families": names}, sys.stdout)


main()
