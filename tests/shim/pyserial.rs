//! pyserial's own tests, unchanged, on a virtual port with a loopback plug at the other end.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use hilrig_tests::{need, repository};

use crate::setup::Pair;

/// pyserial's sources with its tests: where `HILRIG_PYSERIAL_TESTS` says, or fetched once.
fn suite() -> PathBuf {
    if let Some(there) = std::env::var_os("HILRIG_PYSERIAL_TESTS") {
        return there.into();
    }
    let exe = std::env::current_exe().unwrap();
    let peers = exe.ancestors().nth(3).unwrap().join("peers");
    let got = Command::new(repository().join("tests/rfc2217/get-pyserial")).arg(&peers).output().unwrap();
    assert!(got.status.success(), "{}", String::from_utf8_lossy(&got.stderr));
    peers.join("pyserial-3.5/test")
}

#[test]
fn the_whole_suite_passes() {
    if !need("python3") {
        return;
    }
    let pair = Pair::between("pty:a?shim=on", "loop:plug");
    let run = || {
        let mut python = pair.command("timeout");
        python.args(["170", "python3"]).arg(suite().join("run_all_tests.py")).arg(&pair.a).arg("-v");
        let said = String::from_utf8_lossy(&python.output().unwrap().stderr).into_owned();
        assert!(said.contains("\nRan 61 tests in "), "{said}");
        let bad = |l: &str| l.strip_prefix("FAIL: ").or_else(|| l.strip_prefix("ERROR: ")).map(String::from);
        (said.lines().filter_map(bad).collect::<BTreeSet<_>>(), said)
    };
    let (mut bad, mut said) = run();
    if !bad.is_empty() {
        // Its tests give some bytes 50 ms to come back, which a loaded machine may not: what fails twice is broken.
        let again = run();
        bad = &bad & &again.0;
        said = again.1;
    }
    assert_eq!(bad, BTreeSet::new(), "{said}");
}
