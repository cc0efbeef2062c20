//! Finds what the tests run: the `hilrig` binary, the repository, other programs.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The binary under test: `$HILRIG_BIN`, or the one of this build, brought up to date.
pub fn hilrig() -> &'static Path {
    static BIN: OnceLock<PathBuf> = OnceLock::new();
    BIN.get_or_init(|| std::env::var_os("HILRIG_BIN").map_or_else(build, PathBuf::from))
}

/// `cargo test` does not build the binaries of other crates.
fn build() -> PathBuf {
    let exe = std::env::current_exe().expect("the path of this test");
    let profile_dir = exe.ancestors().nth(2).expect("target/<profile>/deps/<test>");
    let target_dir = profile_dir.parent().expect("target/<profile>");
    let profile = match profile_dir.file_name().and_then(|n| n.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--locked", "-p", "hilrig", "--profile", profile, "--target-dir"])
        .arg(target_dir)
        .current_dir(repository())
        .status()
        .expect("cargo starts");
    assert!(status.success(), "hilrig does not build");
    profile_dir.join("hilrig")
}

/// The top of the repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are a directory of the repository")
}

/// Whether a program is there. If not, says so past the test harness, or fails where nothing may be skipped (CI).
///
/// # Panics
/// In CI, when the program is missing.
#[must_use]
pub fn need(program: &str) -> bool {
    let there = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()));
    if !there {
        missing(program, "");
    }
    there
}

/// Says past the test harness what a test cannot run without, or fails where nothing may be skipped (CI).
///
/// # Panics
/// In CI, with `why`.
pub fn missing(what: &str, why: &str) {
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{what} is missing. {why}");
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let _ = writeln!(std::io::stderr(), "skipped: {what} is missing ({test})");
}
