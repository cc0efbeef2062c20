//! How tests look at rigs that are wrong.

use std::fmt::Debug;

/// Each of these brings a problem that begins so; of all that does not is told.
#[track_caller]
pub fn each_is_told<'a, W: Debug>(
    cases: impl IntoIterator<Item = (W, &'a str)>,
    problems: impl Fn(&W) -> Vec<String>,
) {
    let mut missed = Vec::new();
    for (wrong, problem) in cases {
        let found = problems(&wrong);
        if !found.iter().any(|p| p.starts_with(problem)) {
            missed.push(format!("{wrong:?}: {problem:?} is not among {found:#?}"));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}
