//! Reads a model file and all that it includes. Says what cannot be read, and where it was asked for; looks at nothing
//! else in the files.

use std::path::{Path, PathBuf};

use hilrig_files::{At, FileError, Problems, Source, bytes_of, read};

use super::file::ModelFile;

/// Files of one model.
const MOST: usize = 200;

/// One of the files of a model.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub source: Source,
    /// Paths in it go from here.
    pub folder: PathBuf,
    pub file: ModelFile,
}

struct Loader<'p, 'a> {
    problems: &'p mut Problems<'a>,
    loaded: Vec<Loaded>,
    /// The files that are being read, each included by the one before.
    open: Vec<PathBuf>,
    /// All of them, so that none is taken twice.
    paths: Vec<PathBuf>,
}

/// The text of a model file.
pub(crate) fn text_of(path: &Path) -> Result<String, FileError> {
    let name = path.display().to_string();
    let bytes = bytes_of(path).map_err(|e| FileError::unreadable("model", &name, &e))?;
    String::from_utf8(bytes).map_err(|e| FileError::not_text("model", &name, &e))
}

/// Reads `text` and what it includes; the file itself comes first. The current file of `problems` is that of `text`.
pub(crate) fn load(text: &str, path: &Path, problems: &mut Problems<'_>) -> (Vec<Loaded>, Vec<PathBuf>) {
    let here = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut loader = Loader { problems, loaded: vec![], open: vec![here.clone()], paths: vec![here] };
    loader.take(text, path);
    (loader.loaded, loader.paths)
}

impl Loader<'_, '_> {
    fn take(&mut self, text: &str, path: &Path) {
        let Some(mut file) = read::<ModelFile>(text, self.problems) else { return };
        let source = self.problems.current();
        let folder = path.parent().map(Path::to_owned).unwrap_or_default();
        let includes = std::mem::take(&mut file.include);
        self.loaded.push(Loaded { source, folder: folder.clone(), file });
        for include in &includes {
            self.include(include, &folder);
            self.problems.back(source);
        }
    }

    fn include(&mut self, include: &At<String>, folder: &Path) {
        let path = folder.join(&include.value);
        let mut wrong = |message: &str, label: String| {
            self.problems.add(&include.span, message, label);
        };
        let real = match std::fs::canonicalize(&path) {
            Ok(real) => real,
            Err(e) => return wrong("this file cannot be included", format!("{}: {e}", path.display())),
        };
        if let Some(at) = self.open.iter().position(|p| *p == real) {
            let names = self.open[at..].iter().chain([&real]).map(|p| name_of(p));
            let round = names.collect::<Vec<_>>().join(" -> ");
            return wrong("these files include each other", round);
        }
        if self.paths.contains(&real) {
            return;
        }
        if self.paths.len() == MOST {
            return wrong("too many files in one model", format!("{MOST} at most"));
        }
        let text = match text_of(&path) {
            Ok(text) => text,
            Err(e) => return wrong("this file cannot be included", e.to_string()),
        };
        self.paths.push(real.clone());
        self.open.push(real);
        self.problems.enter(&path.display().to_string(), text.clone());
        self.take(&text, &path);
        self.open.pop();
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
