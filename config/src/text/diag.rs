//! What is wrong with a file, for people and for programs.
//!
//! A [`Problem`] is a place, what is wrong there, and what to do about it; a
//! [`Report`] is all of one file's. `miette` draws them with line and caret; the
//! same data is there as [`Place`]s for `--json`.

use std::fmt;
use std::ops::Range;

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode,
};
use serde::Serialize;

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    /// Where, as bytes of the text.
    pub span: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// A few words at the caret.
    pub label: String,
    /// What to do.
    pub help: Option<String>,
}

impl Problem {
    pub(crate) fn new(span: Range<usize>, message: impl Into<String>) -> Problem {
        Problem { span, message: message.into(), label: "here".into(), help: None }
    }

    pub(crate) fn label(mut self, label: impl Into<String>) -> Problem {
        self.label = label.into();
        self
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Problem {
        self.help = Some(help.into());
        self
    }
}

impl Diagnostic for Problem {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|h| Box::new(h) as _)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let label = LabeledSpan::new_with_span(Some(self.label.clone()), self.span.clone());
        Some(Box::new(std::iter::once(label)))
    }
}

/// All mistakes of one file.
#[derive(Debug)]
pub struct Report {
    source: NamedSource<String>,
    problems: Vec<Problem>,
}

/// One mistake as data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The file.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

impl Report {
    pub(crate) fn new(name: &str, text: &str, mut problems: Vec<Problem>) -> Report {
        problems.sort_by_key(|p| p.span.start);
        Report { source: NamedSource::new(name, text.to_owned()).with_language("toml"), problems }
    }

    /// The mistakes, in the order of the file.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The mistakes as data.
    pub fn places(&self) -> Vec<Place> {
        let text = self.source.inner();
        let place = |p: &Problem| {
            let before = text.get(..p.span.start).unwrap_or(text);
            let line = before.rsplit('\n').next().unwrap_or("");
            Place {
                file: self.source.name().to_owned(),
                line: before.matches('\n').count() + 1,
                column: line.chars().count() + 1,
                message: p.message.clone(),
                help: p.help.clone(),
            }
        };
        self.problems.iter().map(place).collect()
    }

    /// The mistakes drawn, with or without colours.
    pub fn render(&self, colours: bool, width: usize) -> String {
        let theme =
            if colours { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        let handler = GraphicalReportHandler::new_themed(theme).with_width(width);
        let mut out = String::new();
        for problem in &self.problems {
            let one = One { problem, source: &self.source };
            // Writing to a String cannot fail.
            let _ = handler.render_report(&mut out, &one);
            out.push('\n');
        }
        out
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.problems.len();
        write!(f, "{}: {n} problem{}", self.source.name(), if n == 1 { "" } else { "s" })
    }
}

impl std::error::Error for Report {}

/// A problem together with the text it is about, as miette wants it.
#[derive(Debug)]
struct One<'a> {
    problem: &'a Problem,
    source: &'a NamedSource<String>,
}

impl fmt::Display for One<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.problem.fmt(f)
    }
}

impl std::error::Error for One<'_> {}

impl Diagnostic for One<'_> {
    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(self.source)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.problem.help()
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        self.problem.labels()
    }
}
