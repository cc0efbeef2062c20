//! The command line as its users have it: data on stdout, words on stderr, an exit code that means what it says.

#![allow(clippy::unwrap_used, clippy::expect_used)] // test code

mod captures;
mod client;
mod foreground;
mod machine;
mod plc;
mod readme;
mod recorded;
mod rig;

use hilrig_tests::Output;

/// One sentence on stderr, nothing on stdout.
#[track_caller]
fn one_sentence(output: &Output, code: i32) -> &str {
    assert_eq!(output.code, Some(code), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    let said = output.stderr.trim_end();
    assert!(!said.is_empty() && said.lines().count() == 1, "one sentence: {output:?}");
    assert!(!said.contains("panicked") && !said.contains("Err("), "{said}");
    said
}
