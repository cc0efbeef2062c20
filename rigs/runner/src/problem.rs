//! What is wrong with a rig file, shown with the place in the file. Knows nothing of rigs.

use std::fmt;
use std::ops::Range;

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};

/// One thing that is wrong, and where.
#[derive(Debug, Clone)]
pub struct Problem {
    pub message: String,
    /// Written under the token.
    pub label: String,
    pub help: Option<String>,
    /// Byte range in the file.
    pub span: Range<usize>,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    file: NamedSource<std::sync::Arc<str>>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

impl Diagnostic for Problem {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|h| Box::new(h) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.file)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let label = LabeledSpan::new(Some(self.label.clone()), self.span.start, self.span.len());
        Some(Box::new(std::iter::once(label)))
    }
}

/// Why a rig cannot be run: all problems of the file, in its order.
#[derive(Debug)]
pub struct RigError {
    pub file: String,
    pub problems: Vec<Problem>,
    message: String,
}

impl RigError {
    pub(crate) fn unreadable(file: &str, error: &std::io::Error) -> Self {
        Self {
            file: file.to_owned(),
            problems: vec![],
            message: format!("cannot read the rig {file}: {error}"),
        }
    }

    pub(crate) fn not_text(file: &str, error: &std::string::FromUtf8Error) -> Self {
        let at = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes()[..at].iter().filter(|b| **b == b'\n').count();
        let message = format!("the rig {file} is not UTF-8 text (line {line}, byte {at})");
        Self { file: file.to_owned(), problems: vec![], message }
    }

    /// `FILE:LINE:COLUMN: what is wrong`, one line a problem, for places that show no frames.
    pub fn lines(&self) -> String {
        if self.problems.is_empty() {
            return self.message.clone();
        }
        let line = |p: &Problem| format!("{}:{}:{}: {}: {}", self.file, p.line, p.column, p.message, p.label);
        self.problems.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

impl fmt::Display for RigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for RigError {}

impl Diagnostic for RigError {
    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(self.problems.iter().map(|p| p as &dyn Diagnostic)))
    }
}

/// The frames as text, for terminals that want no colour and for tests.
pub fn render(report: &miette::Report, colour: bool) -> String {
    let theme = if colour { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let mut text = String::new();
    match GraphicalReportHandler::new_themed(theme).with_width(110).render_report(&mut text, report.as_ref())
    {
        Ok(()) => text,
        Err(_) => report.to_string(),
    }
}

/// Collects problems of one file.
pub(crate) struct Problems<'a> {
    file: &'a str,
    text: &'a str,
    source: std::sync::Arc<str>,
    found: Vec<Problem>,
}

impl<'a> Problems<'a> {
    pub fn new(file: &'a str, text: &'a str) -> Self {
        Self { file, text, source: text.into(), found: Vec::new() }
    }

    /// Line of a place in the file, from 1.
    pub fn line(&self, at: usize) -> usize {
        1 + self.text.as_bytes()[..at.min(self.text.len())].iter().filter(|b| **b == b'\n').count()
    }

    pub fn text_at(&self, span: &Range<usize>) -> &'a str {
        self.text.get(span.clone()).unwrap_or_default()
    }

    pub fn add(
        &mut self,
        span: &Range<usize>,
        message: impl Into<String>,
        label: impl Into<String>,
    ) -> &mut Problem {
        let floor = |mut at: usize| {
            at = at.min(self.text.len());
            while !self.text.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        let start = floor(span.start);
        // A table's place can span many lines; one line makes the better frame.
        let end = floor(span.end).max(start);
        let end = start + self.text[start..end].find('\n').unwrap_or(end - start);
        let line_start = self.text[..start].rfind('\n').map_or(0, |at| at + 1);
        let problem = Problem {
            message: message.into(),
            label: label.into(),
            help: None,
            span: start..end,
            line: self.line(start),
            column: 1 + self.text[line_start..start].chars().count(),
            file: NamedSource::new(self.file, self.source.clone()).with_language("toml"),
        };
        self.found.push(problem);
        let last = self.found.len() - 1;
        &mut self.found[last]
    }

    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub fn into_error(mut self) -> RigError {
        self.found.sort_by_key(|p| p.span.start);
        let message = match self.found.len() {
            1 => format!("the rig {} cannot be run", self.file),
            n => format!("the rig {} cannot be run: {n} problems", self.file),
        };
        RigError { file: self.file.to_owned(), problems: self.found, message }
    }
}
