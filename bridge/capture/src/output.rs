//! Where a capture goes: a file, a row of files, or a stream. Moves whole blocks; does not know what is in them.

use std::collections::VecDeque;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hilrig_port::Time;
use jiff::Timestamp;

use crate::CaptureSpec;
use crate::blocks::SECTION;
use crate::pump::Pump;
use crate::rotation::Names;

#[derive(Debug)]
pub(crate) enum Output {
    Files(Files),
    Stream(Pump),
}

/// A row of files, the last of which is open.
#[derive(Debug)]
pub(crate) struct Files {
    names: Names,
    number: u64,
    file: File,
    path: PathBuf,
    /// Whole blocks.
    written: u64,
    begun: Time,
    largest: Option<u64>,
    longest: Option<Duration>,
    keep: Option<usize>,
    all: VecDeque<PathBuf>,
}

impl Output {
    /// What is there and is no ordinary file is written as a stream.
    pub(crate) fn create(spec: &CaptureSpec) -> io::Result<Self> {
        if fs::metadata(&spec.file).is_ok_and(|there| !there.is_file() && !there.is_dir()) {
            let path = spec.file.clone();
            return Ok(Self::Stream(Pump::start(move || File::options().write(true).open(path))?));
        }
        Ok(Self::Files(Files::create(spec)?))
    }

    /// How many bytes it takes now.
    pub(crate) fn room(&self) -> usize {
        match self {
            Self::Files(_) => usize::MAX,
            Self::Stream(pump) => pump.room(),
        }
    }

    /// Takes whole blocks.
    pub(crate) fn write(&mut self, blocks: &[u8]) -> io::Result<()> {
        match self {
            Self::Files(files) => files.write(blocks),
            Self::Stream(pump) => pump.push(blocks),
        }
    }

    /// Whether the next file should begin, when so much more is to be written.
    pub(crate) fn is_full(&self, more: usize, now: Time) -> bool {
        let Self::Files(files) = self else { return false };
        files.largest.is_some_and(|largest| files.written + more as u64 > largest)
            || files.longest.is_some_and(|longest| now.since(files.begun) >= longest)
    }

    /// Begins the next file.
    pub(crate) fn rotate(&mut self) -> io::Result<()> {
        let Self::Files(files) = self else { return Ok(()) };
        files.rotate()
    }

    pub(crate) fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Files(_) => Ok(()),
            Self::Stream(pump) => pump.finish(),
        }
    }

    /// Oldest first.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        match self {
            Self::Files(files) => files.all.iter().cloned().collect(),
            Self::Stream(_) => Vec::new(),
        }
    }
}

impl Files {
    fn create(spec: &CaptureSpec) -> io::Result<Self> {
        let rotates = spec.rotate_megabytes.is_some() || spec.rotate_seconds.is_some();
        let names = Names::new(&spec.file, rotates);
        if !names.dir().as_os_str().is_empty() {
            fs::create_dir_all(names.dir()).map_err(|e| cannot("make the directory", names.dir(), &e))?;
        }
        let mut number = names.first_number();
        let (path, file) = if rotates { next(&names, &mut number)? } else { only(&names)? };
        Ok(Self {
            names,
            number,
            file,
            all: VecDeque::from([path.clone()]),
            path,
            written: 0,
            begun: Time::now(),
            largest: spec.rotate_megabytes.map(|n| (n * 1e6) as u64),
            longest: spec.rotate_seconds.map(Duration::from_secs_f64),
            keep: spec.keep.map(|n| n as usize),
        })
    }

    fn write(&mut self, blocks: &[u8]) -> io::Result<()> {
        if let Err(e) = self.file.write_all(blocks) {
            // Not a block more than was written whole.
            let _ = self.file.set_len(self.written);
            return Err(cannot("write", &self.path, &e));
        }
        self.written += blocks.len() as u64;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.number += 1;
        (self.path, self.file) = next(&self.names, &mut self.number)?;
        (self.written, self.begun) = (0, Time::now());
        self.all.push_back(self.path.clone());
        while self.keep.is_some_and(|keep| self.all.len() > keep) {
            if let Some(oldest) = self.all.pop_front() {
                // Whoever moved it away has kept it.
                let _ = fs::remove_file(oldest);
            }
        }
        Ok(())
    }
}

/// The next file of a row; a number that somebody else has taken meanwhile is left out.
fn next(names: &Names, number: &mut u64) -> io::Result<(PathBuf, File)> {
    loop {
        let path = names.path(*number, Timestamp::now());
        match File::create_new(&path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => *number += 1,
            made => return made.map_err(|e| cannot("create", &path, &e)).map(|file| (path, file)),
        }
    }
}

/// The one file of a capture; an older capture there is replaced, and nothing else.
fn only(names: &Names) -> io::Result<(PathBuf, File)> {
    let path = names.path(1, Timestamp::now());
    let open = || {
        let mut file = File::options().read(true).write(true).create(true).truncate(false).open(&path)?;
        if matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
            return Err(io::Error::other("another capture is writing it"));
        }
        let mut start = Vec::new();
        Read::by_ref(&mut file).take(4).read_to_end(&mut start)?;
        if !start.is_empty() && start != SECTION.to_le_bytes() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "it is there and is no pcapng file"));
        }
        file.set_len(0)?;
        file.seek(SeekFrom::Start(0))?;
        Ok(file)
    };
    open().map_err(|e| cannot("write", &path, &e)).map(|file| (path, file))
}

fn cannot(what: &str, path: &Path, e: &io::Error) -> io::Error {
    io::Error::new(e.kind(), format!("cannot {what} {}: {e}", path.display()))
}
