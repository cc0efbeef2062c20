//! The root directory of an installation and the sockets that belong to it: where each file and socket is.
//! Knows names only; reads and writes no file's content.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use hilrig_port::{PortError, Runtime};

/// The directories of a root, as `serve` and `init` create them.
const LAYOUT: [&str; 5] = ["config", "rigs", "captures", "logs", "state"];
/// Longest path a Unix socket address holds on Linux, without its end marker.
const LONGEST_SOCKET_PATH: usize = 107;

/// A root directory, canonical, with the directory of its sockets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    dir: PathBuf,
    sockets: PathBuf,
}

/// Why a root cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    #[error("the root directory {} cannot be used: {source}", path.display())]
    Unusable { path: PathBuf, source: io::Error },
    #[error("{} cannot be created: {source}", path.display())]
    Create { path: PathBuf, source: io::Error },
    #[error("{0}")]
    Runtime(#[from] PortError),
    #[error(
        "the socket path {} is longer than the {LONGEST_SOCKET_PATH} bytes the system allows; \
         set HILRIG_RUNTIME_DIR to a shorter directory", .0.display()
    )]
    SocketPath(PathBuf),
}

impl Root {
    /// Names the root at `dir`, which must exist, with its sockets in the user's runtime directory.
    ///
    /// # Errors
    /// `dir` does not exist or is no directory, its socket paths would be too long, or there is no runtime
    /// directory.
    pub fn open(dir: &Path) -> Result<Self, RootError> {
        Self::open_in(dir, Runtime::from_env()?.dir())
    }

    /// Like [`Root::open`], and creates the root, its layout and the directory of its sockets where they are
    /// missing.
    ///
    /// # Errors
    /// As [`Root::open`], or a directory cannot be created.
    pub fn create(dir: &Path) -> Result<Self, RootError> {
        Self::create_in(dir, Runtime::from_env()?.dir())
    }

    /// Names the root at `dir` with its sockets below `runtime`. Creates nothing.
    ///
    /// # Errors
    /// As [`Root::open`].
    pub fn open_in(dir: &Path, runtime: &Path) -> Result<Self, RootError> {
        let unusable = |source| RootError::Unusable { path: dir.to_owned(), source };
        let canonical = dir.canonicalize().map_err(unusable)?;
        if !canonical.is_dir() {
            return Err(unusable(io::ErrorKind::NotADirectory.into()));
        }
        let sockets = runtime.join(key(&canonical));
        let root = Self { dir: canonical, sockets };
        let longest = root.host_socket("simulators");
        if longest.as_os_str().len() > LONGEST_SOCKET_PATH {
            return Err(RootError::SocketPath(longest));
        }
        Ok(root)
    }

    /// As [`Root::create`], with the sockets below `runtime`.
    ///
    /// # Errors
    /// As [`Root::create`].
    pub fn create_in(dir: &Path, runtime: &Path) -> Result<Self, RootError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| RootError::Create { path, source }
        };
        fs::create_dir_all(dir).map_err(at(dir))?;
        let root = Self::open_in(dir, runtime)?;
        for name in LAYOUT {
            let path = root.dir.join(name);
            fs::create_dir_all(&path).map_err(at(&path))?;
        }
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&root.sockets).map_err(at(&root.sockets))?;
        fs::set_permissions(&root.sockets, fs::Permissions::from_mode(0o700)).map_err(at(&root.sockets))?;
        Ok(root)
    }

    /// The root directory, canonical.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The config file of an app: `config/<appId>.toml`.
    pub fn config_file(&self, app_id: &str) -> PathBuf {
        self.dir.join("config").join(format!("{app_id}.toml"))
    }

    /// The declarations of third-party apps: `config/apps.toml`.
    pub fn apps_file(&self) -> PathBuf {
        self.config_file("apps")
    }

    /// The log of an app: `logs/<appId>.log`.
    pub fn log_file(&self, app_id: &str) -> PathBuf {
        self.dir.join("logs").join(format!("{app_id}.log"))
    }

    /// What a host process writes to its standard error: `logs/host-<name>.log`.
    pub fn host_log(&self, host: &str) -> PathBuf {
        self.log_file(&format!("host-{host}"))
    }

    /// Held by the daemon that serves this root.
    pub fn daemon_lock(&self) -> PathBuf {
        self.dir.join("state").join("daemon.lock")
    }

    /// Held by the host process of that name.
    pub fn host_lock(&self, host: &str) -> PathBuf {
        self.dir.join("state").join(format!("host-{host}.lock"))
    }

    /// The directory of this root's sockets.
    pub fn sockets(&self) -> &Path {
        &self.sockets
    }

    /// The user's runtime directory, above [`Root::sockets`].
    pub fn runtime_dir(&self) -> &Path {
        self.sockets.parent().unwrap_or(&self.sockets)
    }

    /// The socket of the daemon that serves this root.
    pub fn control_socket(&self) -> PathBuf {
        self.sockets.join("control.sock")
    }

    /// The socket of the host process of that name.
    pub fn host_socket(&self, host: &str) -> PathBuf {
        self.sockets.join(format!("host-{host}.sock"))
    }
}

/// Tells roots apart in one runtime directory, and people can still read it: the last path component, and a hash
/// of the whole path.
fn key(canonical: &Path) -> String {
    let name: String = canonical.file_name().map_or_else(String::new, |name| {
        let keep = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
        name.to_string_lossy().chars().take(24).map(keep).collect()
    });
    let name = if name.is_empty() { "root" } else { name.as_str() };
    format!("{name}-{:08x}", fnv1a(canonical.as_os_str().as_encoded_bytes()))
}

/// FNV-1a folded to 32 bits. It must not change between versions: a new daemon has to find the old one's hosts.
fn fnv1a(bytes: &[u8]) -> u32 {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash ^ (hash >> 32)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_a_root_is_one_root() {
        let dir = tempfile::tempdir().unwrap();
        let runtime = dir.path().join("run");
        let root = Root::create_in(&dir.path().join("bench one"), &runtime).unwrap();
        let again = Root::open_in(&dir.path().join("bench one/../bench one/."), &runtime).unwrap();
        assert_eq!(root, again);
        assert!(root.dir().join("captures").is_dir());
        let name = root.sockets().file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with("bench_one-") && name.len() == "bench_one-".len() + 8, "{name}");
        assert_eq!(fs::metadata(root.sockets()).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn two_roots_of_one_name_have_different_sockets() {
        let dir = tempfile::tempdir().unwrap();
        let runtime = dir.path().join("run");
        let [a, b] =
            ["a", "b"].map(|d| Root::create_in(&dir.path().join(d).join("bench"), &runtime).unwrap());
        assert_ne!(a.control_socket(), b.control_socket());
    }

    #[test]
    fn a_missing_root_and_a_long_socket_path_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let missing = Root::open_in(&dir.path().join("nowhere"), dir.path()).unwrap_err();
        assert!(missing.to_string().contains("nowhere"), "{missing}");
        let long = Root::open_in(dir.path(), &dir.path().join("x".repeat(100))).unwrap_err();
        assert!(long.to_string().contains("HILRIG_RUNTIME_DIR"), "{long}");
    }

    #[test]
    fn the_key_never_changes() {
        assert_eq!(fnv1a(b"a"), 0x2962_30c0);
        assert_eq!(key(Path::new("/a")), format!("a-{:08x}", fnv1a(b"/a")));
        assert!(key(Path::new("/")).starts_with("root-"));
    }
}
