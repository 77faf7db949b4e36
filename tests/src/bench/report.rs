//! The table and the JSON.

use std::{collections::BTreeMap, fs, io::Write as _, path::Path, time::Duration};

use anyhow::Context as _;
use serde_json::{Value, json};

/// What a figure is measured in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Micros,
    Millis,
    MiB,
    Ratio,
    Percent,
    PerSecond,
    Count,
    /// Something that is counted in parts.
    Number,
}

impl Unit {
    fn word(self) -> &'static str {
        match self {
            Self::Micros => "µs",
            Self::Millis => "ms",
            Self::MiB => "MiB",
            Self::Ratio => "×",
            Self::Percent => "%",
            Self::PerSecond => "/s",
            Self::Count | Self::Number => "",
        }
    }

    fn show(self, value: f64) -> String {
        match self {
            Self::Count | Self::PerSecond => format!("{value:.0}"),
            Self::Micros => format!("{value:.1}"),
            _ => format!("{value:.2}"),
        }
    }
}

#[derive(Debug)]
struct Row {
    benchmark: &'static str,
    figure: String,
    value: f64,
    unit: Unit,
    /// The value must not be larger.
    goal: Option<f64>,
}

impl Row {
    fn met(&self) -> Option<bool> {
        self.goal.map(|goal| self.value <= goal)
    }
}

/// Collects rows and shows each at once.
pub(super) struct Report {
    quick: bool,
    benchmark: &'static str,
    rows: Vec<Row>,
    notes: Vec<Value>,
    /// What else the machine did, before each benchmark: its load over the last minute.
    loads: BTreeMap<&'static str, f64>,
}

impl Report {
    pub(super) fn new(quick: bool) -> Self {
        Self {
            quick,
            benchmark: "",
            rows: Vec::new(),
            notes: Vec::new(),
            loads: BTreeMap::new(),
        }
    }

    /// What follows belongs to this benchmark.
    pub(super) fn begin(&mut self, benchmark: &'static str) -> anyhow::Result<()> {
        self.benchmark = benchmark;
        let load = load()?;
        self.loads.insert(benchmark, load);
        let out = &mut std::io::stdout();
        Ok(writeln!(
            out,
            "\n{benchmark} (load of the machine: {load:.1})"
        )?)
    }

    pub(super) fn add(
        &mut self,
        figure: impl Into<String>,
        value: f64,
        unit: Unit,
        goal: Option<f64>,
    ) -> anyhow::Result<()> {
        let row = Row {
            benchmark: self.benchmark,
            figure: figure.into(),
            value,
            unit,
            goal,
        };
        let verdict = match (row.goal, row.met()) {
            (Some(goal), Some(met)) => {
                let verdict = if met { "met" } else { "MISSED" };
                format!("goal ≤ {} {}  {verdict}", unit.show(goal), unit.word())
            }
            _ => String::new(),
        };
        writeln!(
            std::io::stdout(),
            "  {:<58} {:>10} {:<4} {verdict}",
            row.figure,
            unit.show(value),
            unit.word(),
        )?;
        self.rows.push(row);
        Ok(())
    }

    pub(super) fn millis(
        &mut self,
        figure: impl Into<String>,
        value: Duration,
        goal: Option<f64>,
    ) -> anyhow::Result<()> {
        self.add(figure, value.as_secs_f64() * 1e3, Unit::Millis, goal)
    }

    pub(super) fn micros(
        &mut self,
        figure: impl Into<String>,
        value: Duration,
    ) -> anyhow::Result<()> {
        self.add(figure, value.as_secs_f64() * 1e6, Unit::Micros, None)
    }

    pub(super) fn ratio(
        &mut self,
        figure: impl Into<String>,
        ours: Duration,
        reference: Duration,
        goal: Option<f64>,
    ) -> anyhow::Result<()> {
        let ratio = ours.as_secs_f64() / reference.as_secs_f64();
        self.add(figure, ratio, Unit::Ratio, goal)
    }

    /// Something about a figure that is no number.
    pub(super) fn note(&mut self, figure: &str, text: &str) -> anyhow::Result<()> {
        writeln!(std::io::stdout(), "  {figure:<58} {text}")?;
        self.keep(figure, text);
        Ok(())
    }

    /// The same of several lines.
    pub(super) fn text(&mut self, figure: &str, text: &str) -> anyhow::Result<()> {
        let out = &mut std::io::stdout();
        writeln!(out, "\n  {figure}:\n")?;
        for line in text.lines() {
            writeln!(out, "    {line}")?;
        }
        writeln!(out)?;
        self.keep(figure, text);
        Ok(())
    }

    fn keep(&mut self, figure: &str, text: &str) {
        self.notes.push(json!({
            "benchmark": self.benchmark,
            "figure": figure,
            "text": text,
        }));
    }

    /// Says how many goals were met.
    pub(super) fn end(&self) -> anyhow::Result<()> {
        let verdicts: Vec<bool> = self.rows.iter().filter_map(Row::met).collect();
        let met = verdicts.iter().filter(|met| **met).count();
        let note = if self.quick {
            "; a quick run shows that everything works, not how fast it is"
        } else {
            ""
        };
        let out = &mut std::io::stdout();
        Ok(writeln!(
            out,
            "\n{met} of {} goals met{note}",
            verdicts.len()
        )?)
    }

    pub(super) fn write_json(&self, path: &Path) -> anyhow::Result<()> {
        let text = format!("{:#}\n", self.json());
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    fn json(&self) -> Value {
        let rows: Vec<Value> = self.rows.iter().map(row_json).collect();
        json!({
            "quick": self.quick,
            "debug": cfg!(debug_assertions),
            "load": self.loads,
            "figures": rows,
            "notes": self.notes,
        })
    }
}

/// How many programs wanted to run, on average over the last minute.
fn load() -> anyhow::Result<f64> {
    let text = fs::read_to_string("/proc/loadavg").context("cannot read /proc/loadavg")?;
    let first = text.split_whitespace().next().context("it has numbers")?;
    Ok(first.parse()?)
}

fn row_json(row: &Row) -> Value {
    let mut value = json!({
        "benchmark": row.benchmark,
        "figure": row.figure,
        "value": row.value,
        "unit": row.unit.word(),
    });
    if let Some(goal) = row.goal {
        value["goal"] = goal.into();
        value["met"] = row.met().into();
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_met_up_to_itself() {
        let mut report = Report::new(false);
        report.add("a", 1.5, Unit::Ratio, Some(1.5)).unwrap();
        report.add("b", 1.6, Unit::Ratio, Some(1.5)).unwrap();
        report.add("c", 9.0, Unit::Count, None).unwrap();
        report.note("c", "why").unwrap();
        let json = report.json();
        let met: Vec<Option<bool>> = (0..3)
            .map(|index| json["figures"][index]["met"].as_bool())
            .collect();
        assert_eq!(met, [Some(true), Some(false), None]);
        assert_eq!(json["notes"][0]["text"], "why");
    }
}
