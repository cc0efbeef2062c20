//! What is wrong with files that people wrote, shown with the places. A file may bring in others; each is a [`Source`].

use std::borrow::Cow;
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

/// Why files cannot be used: all problems, in the order of the files.
#[derive(Debug)]
pub struct FileError {
    /// The file that was asked for.
    pub file: String,
    pub problems: Vec<Problem>,
    message: String,
}

impl FileError {
    /// `what` is the kind of file, such as "rig".
    pub fn unreadable(what: &str, file: &str, error: &std::io::Error) -> Self {
        let message = format!("cannot read the {what} {file}: {error}");
        Self { file: file.to_owned(), problems: vec![], message }
    }

    pub fn not_text(what: &str, file: &str, error: &std::string::FromUtf8Error) -> Self {
        let at = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes()[..at].iter().filter(|b| **b == b'\n').count();
        let message = format!("the {what} {file} is not UTF-8 text (line {line}, byte {at})");
        Self { file: file.to_owned(), problems: vec![], message }
    }

    /// `FILE:LINE:COLUMN: what is wrong`, one line a problem, for places that show no frames.
    pub fn lines(&self) -> String {
        if self.problems.is_empty() {
            return self.message.clone();
        }
        let line =
            |p: &Problem| format!("{}:{}:{}: {}: {}", p.file.name(), p.line, p.column, p.message, p.label);
        self.problems.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for FileError {}

impl Diagnostic for FileError {
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

/// One of the files that problems are collected of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Source(usize);

struct File<'a> {
    name: String,
    text: Cow<'a, str>,
    shown: std::sync::Arc<str>,
}

/// Collects problems of a file and of those that it brings in. Places are of the [`current`](Self::current) one.
pub struct Problems<'a> {
    what: &'static str,
    files: Vec<File<'a>>,
    current: usize,
    found: Vec<(usize, Problem)>,
}

impl<'a> Problems<'a> {
    /// `what` is the kind of file, such as "rig"; `file` is what messages call it.
    pub fn new(what: &'static str, file: &str, text: &'a str) -> Self {
        let mut problems = Self { what, files: vec![], current: 0, found: vec![] };
        problems.open(file, Cow::Borrowed(text));
        problems
    }

    fn open(&mut self, name: &str, text: Cow<'a, str>) {
        self.current = self.files.len();
        self.files.push(File { name: name.to_owned(), shown: (&*text).into(), text });
    }

    /// Goes on with another file, which is the current one now.
    pub fn enter(&mut self, file: &str, text: String) -> Source {
        self.open(file, Cow::Owned(text));
        self.current()
    }

    /// The file that places are of.
    pub fn current(&self) -> Source {
        Source(self.current)
    }

    /// Goes back to a file.
    pub fn back(&mut self, source: Source) {
        self.current = source.0;
    }

    pub fn file(&self) -> &str {
        &self.files[self.current].name
    }

    /// Line of a place in the file, from 1.
    pub fn line(&self, at: usize) -> usize {
        let text = &self.files[self.current].text;
        1 + text.as_bytes()[..at.min(text.len())].iter().filter(|b| **b == b'\n').count()
    }

    pub fn text_at(&self, span: &Range<usize>) -> &str {
        self.files[self.current].text.get(span.clone()).unwrap_or_default()
    }

    pub fn add(
        &mut self,
        span: &Range<usize>,
        message: impl Into<String>,
        label: impl Into<String>,
    ) -> &mut Problem {
        let File { name, text, shown } = &self.files[self.current];
        let floor = |mut at: usize| {
            at = at.min(text.len());
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        let start = floor(span.start);
        // A table's place can span many lines; one line makes the better frame.
        let end = floor(span.end).max(start);
        let end = start + text[start..end].find('\n').unwrap_or(end - start);
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let problem = Problem {
            message: message.into(),
            label: label.into(),
            help: None,
            span: start..end,
            line: self.line(start),
            column: 1 + text[line_start..start].chars().count(),
            file: NamedSource::new(name, shown.clone()).with_language("toml"),
        };
        self.found.push((self.current, problem));
        let last = self.found.len() - 1;
        &mut self.found[last].1
    }

    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub fn into_error(mut self) -> FileError {
        self.found.sort_by_key(|(file, p)| (*file, p.span.start));
        let file = self.files[0].name.clone();
        let message = match self.found.len() {
            1 => format!("the {} {file} cannot be used", self.what),
            n => format!("the {} {file} cannot be used: {n} problems", self.what),
        };
        FileError { file, problems: self.found.into_iter().map(|(_, p)| p).collect(), message }
    }
}

impl fmt::Debug for Problems<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Problems").field("found", &self.found).finish_non_exhaustive()
    }
}
