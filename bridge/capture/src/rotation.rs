//! Names of the files of one capture. Looks into a directory, writes nothing.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

const NUMBER: &str = "{n}";
const TIME: &str = "{time}";

/// A name with places for a number and a time.
#[derive(Debug)]
pub(crate) struct Names {
    dir: PathBuf,
    /// File name; the number goes where `{n}` is.
    template: String,
}

impl Names {
    pub(crate) fn new(file: &Path, numbered: bool) -> Self {
        let dir = file.parent().unwrap_or(Path::new("")).to_owned();
        let mut template = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if numbered && !template.contains(NUMBER) {
            let dot = template.rfind('.').filter(|&at| at > 0).unwrap_or(template.len());
            template.insert_str(dot, "-{n}");
        }
        Self { dir, template }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// One more than the highest number that is there.
    pub(crate) fn first_number(&self) -> u64 {
        let dir = if self.dir.as_os_str().is_empty() { Path::new(".") } else { &self.dir };
        let (before, after) = self.template.split_once(NUMBER).unwrap_or((&self.template, ""));
        // A time may be anything.
        let (before, after) =
            (before.rsplit(TIME).next().unwrap_or(before), after.split(TIME).next().unwrap_or(after));
        let number = |name: &str| {
            let rest = &name[name.find(before)? + before.len()..];
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            rest[digits..].starts_with(after).then(|| rest[..digits].parse::<u64>().ok()).flatten()
        };
        let names = std::fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
        names.filter_map(|entry| number(entry.file_name().to_str()?)).max().map_or(1, |n| n.saturating_add(1))
    }

    pub(crate) fn path(&self, number: u64, start: Timestamp) -> PathBuf {
        let time = start.strftime("%Y%m%dT%H%M%SZ").to_string();
        self.dir.join(self.template.replace(NUMBER, &format!("{number:04}")).replace(TIME, &time))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_before_the_extension_or_where_they_are_wanted() {
        let at = Timestamp::from_second(1_700_000_000).unwrap();
        let name =
            |file: &str, numbered| Names::new(Path::new(file), numbered).path(7, at).display().to_string();
        assert_eq!(name("captures/line.pcapng", true), "captures/line-0007.pcapng");
        assert_eq!(name("line", true), "line-0007");
        assert_eq!(name(".hidden", true), ".hidden-0007");
        assert_eq!(name("line.pcapng", false), "line.pcapng");
        assert_eq!(name("d/{n}_{time}.pcapng", true), "d/0007_20231114T221320Z.pcapng");
        assert_eq!(name("{time}.pcapng", true), "20231114T221320Z-0007.pcapng");
    }

    #[test]
    fn numbers_go_on_after_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let names = Names::new(&dir.path().join("x.pcapng"), true);
        assert_eq!(names.first_number(), 1);
        for there in ["x-0003.pcapng", "x-0012.pcapng", "x-y.pcapng", "y-0099.pcapng", "x-0050.txt"] {
            std::fs::write(dir.path().join(there), "").unwrap();
        }
        assert_eq!(names.first_number(), 13);
        let timed = Names::new(&dir.path().join("{time}.pcapng"), true);
        std::fs::write(dir.path().join("20231114T221320Z-0200.pcapng"), "").unwrap();
        assert_eq!(timed.first_number(), 201);
    }
}
