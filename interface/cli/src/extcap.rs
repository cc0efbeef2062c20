//! Puts hilrig into Wireshark's list of interfaces, and takes it out again. Writes nothing but its own small script.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::output::{Failure, say};

const NAME: &str = "hilrig";
/// So that no script of somebody else is overwritten or removed.
const MARK: &str = "# Written by `hilrig capture --install-extcap`.";

/// Wireshark's folders for a user's own programs. It reads one of them: the first up to 4.0, the second since 4.2.
fn folders() -> Result<[PathBuf; 2], Failure> {
    let set = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let home = set("HOME").ok_or_else(|| {
        Failure::infrastructure("HOME is not set, so there is no folder of Wireshark's to write into")
    })?;
    let config = set("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config"));
    // Wireshark takes its old folder where there is one.
    let old = home.join(".wireshark");
    let config =
        if old.is_dir() && !config.join("wireshark").is_dir() { old } else { config.join("wireshark") };
    Ok([config.join("extcap"), home.join(".local/lib/wireshark/extcap")])
}

fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

/// What Wireshark calls. It must find the daemon from anywhere.
fn script(root: &Path, connect: Option<&str>) -> Result<String, Failure> {
    let here = |what: &str, e: std::io::Error| Failure::infrastructure(format!("{what}: {e}"));
    let program = std::env::current_exe().map_err(|e| here("the path of this program is not known", e))?;
    let root = std::path::absolute(root).map_err(|e| here("the root directory has no absolute path", e))?;
    let mut script = format!("#!/bin/sh\n{MARK}\n");
    // As it is now: Wireshark's own environment may know nothing of it.
    for name in ["HILRIG_RUNTIME_DIR", "XDG_RUNTIME_DIR"] {
        if let Some(value) = std::env::var_os(name).filter(|v| !v.is_empty()) {
            script.push_str(&format!("export {name}={}\n", quoted(Path::new(&value))));
            break;
        }
    }
    let connect = connect.map(|to| format!(" --connect {}", quoted(Path::new(to)))).unwrap_or_default();
    let (program, root) = (quoted(&program), quoted(&root));
    script.push_str(&format!("exec {program} --root {root}{connect} capture \"$@\"\n"));
    Ok(script)
}

pub fn install(root: &Path, connect: Option<&str>) -> Result<ExitCode, Failure> {
    let script = script(root, connect)?;
    for folder in folders()? {
        let path = folder.join(NAME);
        let failed = |e: std::io::Error| {
            Failure::infrastructure(format!("{}: cannot be written: {e}", path.display()))
        };
        if let Some(other) = foreign(&path) {
            return Err(other);
        }
        std::fs::create_dir_all(&folder).map_err(failed)?;
        // In one step: Wireshark may be reading the folder.
        let draft = folder.join(format!(".{NAME}-{}", std::process::id()));
        let written = std::fs::write(&draft, &script)
            .and_then(|()| std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o755)))
            .and_then(|()| std::fs::rename(&draft, &path));
        if let Err(e) = written {
            let _ = std::fs::remove_file(&draft);
            return Err(failed(e));
        }
        say(&format!("wrote {}", path.display()));
    }
    eprintln!("Wireshark up to 4.0 reads the first, since 4.2 the second; start it anew, or press F5 in it.");
    eprintln!(
        "It lists the links that the bridge of this root carries: hilrig serve --root {}",
        root.display()
    );
    Ok(ExitCode::SUCCESS)
}

/// A refusal, if the file there is not ours.
fn foreign(path: &Path) -> Option<Failure> {
    let there = std::fs::read(path).ok()?;
    let ours = String::from_utf8_lossy(&there).contains(MARK);
    let refusal = || Failure::infrastructure(format!("{}: is not ours; remove it first", path.display()));
    (!ours).then(refusal)
}

pub fn uninstall() -> Result<ExitCode, Failure> {
    let mut removed = false;
    for folder in folders()? {
        let path = folder.join(NAME);
        if !path.exists() {
            continue;
        }
        if let Some(other) = foreign(&path) {
            return Err(other);
        }
        std::fs::remove_file(&path)
            .map_err(|e| Failure::infrastructure(format!("{}: cannot be removed: {e}", path.display())))?;
        say(&format!("removed {}", path.display()));
        removed = true;
    }
    if !removed {
        eprintln!("hilrig was not in Wireshark's list");
    }
    Ok(ExitCode::SUCCESS)
}
