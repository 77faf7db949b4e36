"""Reads two pages of metrics as the reference parsers do. Usage: metrics_reader.py PROMETHEUS_PAGE OPENMETRICS_PAGE

The parser of OpenMetrics is strict: wrong suffixes, units, escapes, orders or ends raise. Both pages must have the
same series. Prints each series of the second with its value.
"""

import pathlib
import sys

from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as prometheus


def series(families):
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


older, newer = (pathlib.Path(name).read_text(encoding="utf-8") for name in sys.argv[1:])
families = list(openmetrics(newer))
for family in families:
    assert family.documentation.endswith("."), family
    assert family.type in ("counter", "gauge", "histogram", "info"), family
    unit = family.name.rsplit("_", 1)[-1]
    if unit in ("seconds", "bytes", "ratio"):
        assert family.unit == unit, family
kinds = {family.name: family.type for family in families}
assert kinds["kennel_agent_turns"] == "counter", kinds
assert kinds["kennel_build"] == "info", kinds
known = series(prometheus(older))
found = series(families)
assert known.keys() == found.keys(), known.keys() ^ found.keys()
for (name, labels), value in found.items():
    print(name + "{" + ",".join(f"{key}={text}" for key, text in labels) + "}", value)
