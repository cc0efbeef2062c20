//! pyserial's own test suite, as a client of one server without a restart.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use hilrig_tests::{Sandbox, finish, hilrig, need, repository};

use crate::{free, missing};

/// What its client can do with no server: a read without a timeout gives one byte at most, there is no timeout for
/// writing, and neither reading nor writing can be cancelled.
const BEYOND_THE_CLIENT: [&str; 5] = [
    "Test4_Nonblocking.test2_Loopback",
    "Test4_Nonblocking.test2_LoopbackTimeout",
    "TestCancelRead.test_cancel_once",
    "TestCancelWrite.test_cancel_once",
    "Test_MoreTimeouts.test_WriteTimeout",
];

/// pyserial's sources with its tests, fetched once. Without them, says so, or fails where nothing may be skipped.
pub(crate) fn sources() -> Option<PathBuf> {
    if !need("python3") {
        return None;
    }
    let peers = hilrig().ancestors().nth(2).expect("target/<profile>/hilrig").join("peers");
    let mut get = Command::new(repository().join("tests/rfc2217/get-pyserial"));
    get.arg(&peers);
    let done = finish(get);
    if done.code != Some(0) {
        missing("the sources of pyserial 3.5", &done.stderr);
        return None;
    }
    Some(peers.join("pyserial-3.5"))
}

#[test]
fn the_whole_suite_passes_but_for_what_the_client_cannot_do() {
    let Some(sources) = sources() else { return };
    let sandbox = Sandbox::new();
    let at = free();
    let server = format!("rfc2217-listen:{at}?policy=kick");
    let links = sandbox.links(&["link", &server, "loop:"], 1);
    let mut suite = Command::new("timeout");
    suite.args(["170", "python3"]).arg(sources.join("test/run_all_tests.py"));
    suite.arg(format!("rfc2217://{at}")).arg("-v");
    let said = finish(suite).stderr;
    let failed: BTreeSet<String> = said.lines().filter_map(failure).collect();
    assert_eq!(failed, BEYOND_THE_CLIENT.map(String::from).into(), "{said}");
    assert!(said.contains("\nRan 61 tests in "), "{said}");
    assert!(said.contains("skipped=5"), "{said}");
    links.stop(rustix::process::Signal::TERM);
}

/// `FAIL: test_x (module.Class.test_x)`, which Pythons before 3.11 write as `FAIL: test_x (module.Class)`.
fn failure(line: &str) -> Option<String> {
    let rest = line.strip_prefix("FAIL: ").or_else(|| line.strip_prefix("ERROR: "))?;
    let (name, place) = rest.strip_suffix(')')?.split_once(" (")?;
    let class = place.strip_suffix(name).and_then(|p| p.strip_suffix('.')).unwrap_or(place);
    Some(format!("{}.{name}", class.rsplit('.').next()?))
}
