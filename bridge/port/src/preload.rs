//! Where the preload library is and what a program needs in its environment to use it. Starts no program.

use std::path::PathBuf;

use crate::line::shim::page::VARIABLE;
use crate::{PortError, Runtime};

const NAME: &str = "libhilrig_shim.so";
/// The library itself, if it is in none of the usual places.
const ELSEWHERE: &str = "HILRIG_SHIM_LIB";

/// What a program needs in its environment to have modem lines, break, parity and word length on virtual ports with
/// `shim=on`, as names and values. The library is `$HILRIG_SHIM_LIB`, or lies beside the running executable (as cargo
/// builds it), or in `../lib` or `../lib/hilrig` from there.
pub fn preload_environment(runtime: &Runtime) -> Result<[(&'static str, String); 2], PortError> {
    let library = match std::env::var_os(ELSEWHERE).filter(|v| !v.is_empty()) {
        Some(path) => Some(PathBuf::from(path)).filter(|path| path.is_file()),
        None => beside_the_executable(),
    };
    let failed = |reason: String| PortError::Unsupported { port: "the preload library".into(), reason };
    let library = library.ok_or_else(|| {
        failed(format!(
            "{NAME} is not beside this program, nor where {ELSEWHERE} says; `cargo build` makes it"
        ))
    })?;
    let word = |path: PathBuf| {
        let text = path.into_os_string().into_string().ok();
        // The loader, and the library, know no way to write these inside a path.
        text.filter(|t| !t.contains([' ', ':', '\n'])).ok_or_else(|| {
            failed("its path, and the runtime directory's, must have no space and no colon".into())
        })
    };
    let library = std::path::absolute(&library).unwrap_or(library);
    Ok([("LD_PRELOAD", word(library)?), (VARIABLE, word(runtime.dir().to_owned())?)])
}

fn beside_the_executable() -> Option<PathBuf> {
    let exe = std::env::current_exe().ok()?;
    let dir = exe.parent()?;
    // Test programs are one level below what they test.
    ["", "..", "../lib", "../lib/hilrig"].iter().map(|d| dir.join(d).join(NAME)).find(|path| path.is_file())
}
