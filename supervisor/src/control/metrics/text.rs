//! The two text formats of metrics. Pure.
//!
//! Both are written from the same families, because scrapers prefer the newer one (`OpenMetrics` 1.0) and
//! tools that check read the older one (Prometheus 0.0.4). They differ in where the suffix of a counter
//! stands, in units, and in the end mark; the ready libraries write one of the two each.

use std::{fmt::Write as _, time::Duration};

use crate::turns::histogram::{BOUNDS, Histogram};

/// Units that are spelled out for readers of the newer format, by the end of a family's name.
const UNITS: [&str; 3] = ["seconds", "bytes", "ratio"];

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Prometheus,
    OpenMetrics,
}

impl Format {
    /// What a client that sends this `Accept` header is answered in.
    pub(super) fn accepted_by(accept: Option<&str>) -> Self {
        match accept {
            Some(accept) if accept.contains("application/openmetrics-text") => Self::OpenMetrics,
            _ => Self::Prometheus,
        }
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What kind of numbers a family has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Only grows; its samples end in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Always 1, and tells by its labels; its samples end in `_info`.
    Info,
    /// Counts by size; added by [`Page::histograms`].
    Histogram,
}

impl Kind {
    fn suffix(self) -> &'static str {
        match self {
            Self::Counter => "_total",
            Self::Gauge | Self::Histogram => "",
            Self::Info => "_info",
        }
    }

    pub(super) fn word(self, format: Format) -> &'static str {
        match (self, format) {
            (Self::Counter, _) => "counter",
            (Self::Info, Format::OpenMetrics) => "info",
            (Self::Histogram, _) => "histogram",
            (Self::Gauge | Self::Info, _) => "gauge",
        }
    }
}

/// A sample: its labels, and its value.
pub(super) type Sample<'a> = (Vec<(&'static str, &'a str)>, f64);

/// A page that grows by families.
#[derive(Debug)]
pub(super) struct Page {
    format: Format,
    text: String,
}

impl Page {
    pub(super) fn new(format: Format) -> Self {
        let text = String::new();
        Self { format, text }
    }

    /// Adds a family. `name` is without suffix, and `help` one sentence. One without samples is left out.
    pub(super) fn family<'a>(
        &mut self,
        kind: Kind,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = Sample<'a>>,
    ) {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return;
        }
        let series = format!("{name}{}", kind.suffix());
        self.header(kind, name, &series, help);
        for (labels, value) in samples {
            self.text.push_str(&series);
            self.labels(&labels);
            writeln!(self.text, " {value}").expect(STRING);
        }
    }

    fn header(&mut self, kind: Kind, name: &str, series: &str, help: &str) {
        let family = match self.format {
            Format::Prometheus => series,
            Format::OpenMetrics => name,
        };
        let word = kind.word(self.format);
        writeln!(self.text, "# HELP {family} {help}\n# TYPE {family} {word}").expect(STRING);
        if self.format == Format::OpenMetrics
            && let Some(unit) = unit(name)
        {
            writeln!(self.text, "# UNIT {family} {unit}").expect(STRING);
        }
    }

    /// Adds a family of histograms of times; `name` ends in `_seconds`. One without samples is left out.
    pub(super) fn histograms<'a>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Vec<(&'static str, &'a str)>, &'a Histogram)>,
    ) {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return;
        }
        self.header(Kind::Histogram, name, name, help);
        for (labels, histogram) in samples {
            let mut count = 0;
            for (bucket, more) in histogram.counts.iter().enumerate() {
                count += more;
                let bound = BOUNDS.get(bucket);
                let bound =
                    bound.map_or_else(|| "+Inf".to_owned(), |us| format!("{:?}", seconds(*us)));
                let mut labels: Vec<(&str, &str)> = labels.iter().map(|(n, v)| (*n, *v)).collect();
                labels.push(("le", &bound));
                write!(self.text, "{name}_bucket").expect(STRING);
                self.labels(&labels);
                writeln!(self.text, " {count}").expect(STRING);
            }
            write!(self.text, "{name}_sum").expect(STRING);
            self.labels(&labels);
            writeln!(self.text, " {}", seconds(histogram.sum_us)).expect(STRING);
            write!(self.text, "{name}_count").expect(STRING);
            self.labels(&labels);
            writeln!(self.text, " {count}").expect(STRING);
        }
    }

    fn labels(&mut self, labels: &[(&str, &str)]) {
        let mut before = '{';
        for (name, value) in labels {
            write!(self.text, "{before}{name}=\"").expect(STRING);
            for c in value.chars() {
                match c {
                    '\\' => self.text.push_str(r"\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str(r"\n"),
                    c => self.text.push(c),
                }
            }
            self.text.push('"');
            before = ',';
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
    }

    /// The whole page.
    pub(super) fn end(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}

const STRING: &str = "a string takes everything";

fn seconds(us: u64) -> f64 {
    Duration::from_micros(us).as_secs_f64()
}

/// The unit that a name ends in.
fn unit(name: &str) -> Option<&'static str> {
    let last = name.rsplit('_').next();
    UNITS.into_iter().find(|unit| Some(*unit) == last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(format: Format) -> String {
        let mut page = Page::new(format);
        page.family(
            Kind::Counter,
            "a_cpu_seconds",
            "Time.",
            [
                (vec![("agent", "x")], 1.5),
                (vec![("agent", "y"), ("kind", "a\"b\\c\nd")], 3.0),
            ],
        );
        page.family(Kind::Gauge, "a_agents", "Number.", [(vec![], 2.0)]);
        page.family(
            Kind::Info,
            "a_build",
            "Version.",
            [(vec![("version", "1")], 1.0)],
        );
        page.family(Kind::Gauge, "a_nothing", "Nothing.", []);
        page.end()
    }

    #[test]
    fn the_older_format() {
        let expected = r#"# HELP a_cpu_seconds_total Time.
# TYPE a_cpu_seconds_total counter
a_cpu_seconds_total{agent="x"} 1.5
a_cpu_seconds_total{agent="y",kind="a\"b\\c\nd"} 3
# HELP a_agents Number.
# TYPE a_agents gauge
a_agents 2
# HELP a_build_info Version.
# TYPE a_build_info gauge
a_build_info{version="1"} 1
"#;
        assert_eq!(page(Format::Prometheus), expected);
    }

    #[test]
    fn the_newer_format() {
        let expected = r#"# HELP a_cpu_seconds Time.
# TYPE a_cpu_seconds counter
# UNIT a_cpu_seconds seconds
a_cpu_seconds_total{agent="x"} 1.5
a_cpu_seconds_total{agent="y",kind="a\"b\\c\nd"} 3
# HELP a_agents Number.
# TYPE a_agents gauge
a_agents 2
# HELP a_build Version.
# TYPE a_build info
a_build_info{version="1"} 1
# EOF
"#;
        assert_eq!(page(Format::OpenMetrics), expected);
    }

    #[test]
    fn a_scraper_that_knows_the_newer_format_gets_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        assert_eq!(Format::accepted_by(Some(prometheus)), Format::OpenMetrics);
        for other in [None, Some("*/*"), Some("text/plain;version=0.0.4")] {
            assert_eq!(Format::accepted_by(other), Format::Prometheus);
        }
    }
}
