//! What is wrong with a configuration, and how it is shown.
//!
//! A [`Diagnostic`] is a title, the place it is about, and a hint that says what to do. [`Diagnostics`] is all of
//! them together with the texts they point into; [`Diagnostics::render`] draws each with its line and a caret.
//! The texts that are kept here have every secret masked (see `mask`), so that no rendering can show one.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use serde::Serialize;

use super::source::Sources;

/// More than this many findings are counted and not kept: a hostile file must not cost memory without bound.
const MAX_KEPT: usize = 256;

/// Longer excerpts of the user's text are cut in messages.
const MAX_QUOTED: usize = 60;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// The configuration is usable, and the user should know this.
    Warning,
}

/// With or without colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Text only, for files and pipes.
    Plain,
    /// With terminal escapes.
    Ansi,
}

/// A span of one of the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) file: usize,
    pub(super) span: Range<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Mark {
    at: Location,
    label: String,
}

/// One thing that is wrong, or that the user should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    severity: Severity,
    title: String,
    primary: Option<Mark>,
    /// For what concerns a whole file, and not a place in it.
    path: Option<PathBuf>,
    related: Vec<Mark>,
    hint: Option<String>,
}

impl Diagnostic {
    pub(super) fn error(title: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            title: title.into(),
            primary: None,
            path: None,
            related: Vec::new(),
            hint: None,
        }
    }

    pub(super) fn warning(title: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(title)
        }
    }

    pub(super) fn at(mut self, at: Location, label: impl Into<String>) -> Self {
        self.primary = Some(Mark {
            at,
            label: label.into(),
        });
        self
    }

    pub(super) fn in_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.path = Some(path.into());
        self
    }

    pub(super) fn related(mut self, at: Location, label: impl Into<String>) -> Self {
        self.related.push(Mark {
            at,
            label: label.into(),
        });
        self
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(super) fn location(&self) -> Option<&Location> {
        self.primary.as_ref().map(|mark| &mark.at)
    }

    /// Whether it refuses the configuration.
    pub fn severity(&self) -> Severity {
        self.severity
    }

    /// What is wrong, in one line.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// What to do about it.
    pub fn advice(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Two findings of the same identity say the same: a mistake of the defaults, found for each agent.
    fn identity(&self) -> (String, Option<PathBuf>, Option<(usize, usize)>) {
        let place = self.location().map(|at| (at.file, at.span.start));
        (self.title.clone(), self.path.clone(), place)
    }
}

/// A finding in the form that programs read (`kennel check --json`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Error or warning.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// The file, where one is concerned.
    pub file: Option<String>,
    /// Line, from 1.
    pub line: Option<usize>,
    /// Column in characters, from 1.
    pub column: Option<usize>,
    /// What to do about it.
    pub hint: Option<String>,
}

/// All findings about a configuration, in the order of the files.
#[derive(Clone, Debug, Default)]
pub struct Diagnostics {
    list: Vec<Diagnostic>,
    omitted: usize,
    sources: Arc<Sources>,
}

impl Diagnostics {
    pub(super) fn new(mut list: Vec<Diagnostic>, sources: Arc<Sources>) -> Self {
        // Those without a place come last.
        list.sort_by_cached_key(|diagnostic| {
            diagnostic.location().map_or((usize::MAX, 0, 0), |at| {
                (at.file, at.span.start, at.span.end)
            })
        });
        let mut seen = BTreeSet::new();
        list.retain(|diagnostic| seen.insert(diagnostic.identity()));
        let omitted = list.len().saturating_sub(MAX_KEPT);
        list.truncate(MAX_KEPT);
        Self {
            list,
            omitted,
            sources,
        }
    }

    /// Nothing to say.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Every finding.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.list.iter()
    }

    /// How many of them refuse the configuration.
    pub fn errors(&self) -> usize {
        self.count(Severity::Error)
    }

    /// How many of them only inform.
    pub fn warnings(&self) -> usize {
        self.count(Severity::Warning)
    }

    fn count(&self, severity: Severity) -> usize {
        self.list.iter().filter(|d| d.severity == severity).count()
    }

    /// Adds the findings of `other`, which must be about the same files.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        let sources = if self.sources.is_empty() {
            other.sources
        } else {
            self.sources
        };
        self.list.extend(other.list);
        let omitted = self.omitted + other.omitted;
        let mut merged = Self::new(self.list, sources);
        merged.omitted += omitted;
        merged
    }

    /// "3 errors, 1 warning".
    pub fn summary(&self) -> String {
        let plural = |n: usize, word: &str| match n {
            0 => None,
            1 => Some(format!("1 {word}")),
            n => Some(format!("{n} {word}s")),
        };
        let mut parts: Vec<_> = [
            plural(self.errors(), "error"),
            plural(self.warnings(), "warning"),
        ]
        .into_iter()
        .flatten()
        .collect();
        if self.omitted > 0 {
            parts.push(format!("{} more not shown", self.omitted));
        }
        if parts.is_empty() {
            return "no findings".to_owned();
        }
        parts.join(", ")
    }

    /// The findings as plain values.
    pub fn reports(&self) -> Vec<Report> {
        self.list
            .iter()
            .map(|diagnostic| {
                let place = diagnostic.location().map(|at| self.sources.position(at));
                Report {
                    severity: diagnostic.severity,
                    message: diagnostic.title.clone(),
                    file: match diagnostic.location() {
                        Some(at) => Some(self.sources.shown(at.file).to_owned()),
                        None => diagnostic.path.as_ref().map(|p| p.display().to_string()),
                    },
                    line: place.map(|(line, _)| line),
                    column: place.map(|(_, column)| column),
                    hint: diagnostic.hint.clone(),
                }
            })
            .collect()
    }

    /// Draws every finding with its line, a caret and its hint, a blank line between two.
    pub fn render(&self, style: Style) -> String {
        let renderer = match style {
            Style::Plain => Renderer::plain(),
            Style::Ansi => Renderer::styled(),
        };
        let mut out = String::new();
        for diagnostic in &self.list {
            if !out.is_empty() {
                out.push('\n');
            }
            out.push_str(&self.render_one(diagnostic, &renderer));
            out.push('\n');
        }
        if self.omitted > 0 {
            out.push_str("\n… and ");
            out.push_str(&self.omitted.to_string());
            out.push_str(" more\n");
        }
        out
    }

    fn render_one(&self, diagnostic: &Diagnostic, renderer: &Renderer) -> String {
        let level = match diagnostic.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut group = level.primary_title(diagnostic.title.as_str()).elements(
            diagnostic
                .path
                .iter()
                .map(|path| Origin::path(path.display().to_string())),
        );
        for snippet in self.snippets(diagnostic) {
            group = group.element(snippet);
        }
        if let Some(hint) = &diagnostic.hint {
            group = group.element(Level::HELP.message(clean(hint)));
        }
        let report: [Group<'_>; 1] = [group];
        renderer.render(&report)
    }

    /// One snippet for each file that the finding marks, the primary one first.
    fn snippets<'a>(
        &'a self,
        diagnostic: &'a Diagnostic,
    ) -> Vec<Snippet<'a, annotate_snippets::Annotation<'a>>> {
        let Some(primary) = &diagnostic.primary else {
            return Vec::new();
        };
        let marks: Vec<_> = std::iter::once((AnnotationKind::Primary, primary))
            .chain(
                diagnostic
                    .related
                    .iter()
                    .map(|m| (AnnotationKind::Context, m)),
            )
            .collect();
        let mut files: Vec<usize> = Vec::new();
        for (_, mark) in &marks {
            if !files.contains(&mark.at.file) {
                files.push(mark.at.file);
            }
        }
        files
            .into_iter()
            .map(|file| {
                let here = || marks.iter().filter(|(_, mark)| mark.at.file == file);
                let spans: Vec<_> = here()
                    .map(|(_, mark)| self.sources.first_line(&mark.at))
                    .collect();
                let window = self.sources.window(file, &spans);
                Snippet::source(window.text)
                    .line_start(window.line)
                    .path(self.sources.shown(file))
                    .annotations(here().zip(spans).map(|((kind, mark), span)| {
                        kind.span(span.start - window.start..span.end - window.start)
                            .label(clean(&mark.label))
                    }))
            })
            .collect()
    }
}

/// One line for each finding, for logs and `?`.
impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, report) in self.reports().into_iter().enumerate() {
            if n > 0 {
                f.write_str("; ")?;
            }
            if let Some(file) = &report.file {
                write!(f, "{file}:")?;
            }
            if let (Some(line), Some(column)) = (report.line, report.column) {
                write!(f, "{line}:{column}:")?;
            }
            if report.file.is_some() {
                f.write_str(" ")?;
            }
            f.write_str(&report.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

/// Text of the user's inside a message: one line, no control characters, cut when long.
pub(super) fn quoted(text: &str) -> String {
    let mut short: String = clean(text).chars().take(MAX_QUOTED).collect();
    if clean(text).chars().count() > MAX_QUOTED {
        short.push('…');
    }
    short
}

/// Takes away what could steer a terminal.
fn clean(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}
