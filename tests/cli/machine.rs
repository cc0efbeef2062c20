//! `ports`, `doctor`, `init`, completions and help.

use hilrig_tests::{APPS, Sandbox, finish, need, text};
use serde_json::{Value, json};

#[test]
fn ports_and_doctor_say_what_is_there() {
    let sandbox = Sandbox::new();
    let ports = sandbox.run(["ports", "--json"]);
    assert_eq!(ports.code, Some(0), "{ports:?}");
    let ports: Value = serde_json::from_str(&ports.stdout).unwrap();
    for port in ports["ports"].as_array().expect("ports") {
        let device = port["device"].as_str().expect("device");
        assert!(std::path::Path::new(device).exists(), "{port}");
        assert!(port["byId"].is_array() && port["heldBy"].is_array(), "{port}");
    }
    let words = sandbox.run(["ports"]);
    assert_eq!(words.code, Some(0), "{words:?}");
    assert!(!(words.stdout.clone() + &words.stderr).is_empty(), "a word even when there are none");
    let doctor = sandbox.run(["doctor", "--json"]);
    let checks: Value = serde_json::from_str(&doctor.stdout).unwrap();
    assert_eq!(doctor.code, Some(0), "{checks}");
    assert!(checks["checks"].as_array().is_some_and(|c| c.len() >= 3), "{checks}");
    let words = sandbox.run(["doctor"]);
    assert!(words.stdout.lines().count() >= 3, "{words:?}");
}

#[test]
fn init_makes_an_installation_that_works_and_keeps_what_is_there() {
    let sandbox = Sandbox::new();
    let made = sandbox.run(["init"]);
    assert_eq!(made.code, Some(0), "{made:?}");
    for dir in ["config", "rigs", "captures", "logs", "state"] {
        assert!(sandbox.root.join(dir).is_dir(), "{dir}");
    }
    let file = sandbox.root.join("config/bridge.toml");
    assert!(text(&file).contains('#'), "the configs explain themselves");
    std::fs::write(&file, "profile = \"lab\"\n").unwrap();
    let again = sandbox.run(["init"]);
    assert_eq!(again.code, Some(0), "{again:?}");
    assert_eq!(text(&file), "profile = \"lab\"\n");
    let daemon = sandbox.daemon();
    let mut conn = daemon.connect();
    for (app, _) in APPS {
        let view = conn.call("config.get", json!({"appId": app}));
        assert_eq!(view["valid"], true, "{view:?}");
        if app == "bridge" {
            continue;
        }
        // A key set in a file that init made: one line changes.
        let before = text(&sandbox.root.join(format!("config/{app}.toml")));
        conn.set(app, "profile", "lab");
        let after = text(&sandbox.root.join(format!("config/{app}.toml")));
        let changed = before.lines().filter(|l| !after.lines().any(|a| a == *l)).count();
        assert!(changed <= 1, "{app}: {before}\n-->\n{after}");
    }
    let rig = sandbox.run(["run", sandbox.root.join("rigs/first.toml").to_str().unwrap()]);
    assert_eq!(rig.code, Some(0), "{rig:?}");
    let nowhere = sandbox.run(["init", "/proc/nowhere"]);
    assert!(crate::one_sentence(&nowhere, 3).contains("/proc/nowhere"));
}

#[test]
fn completions_for_every_shell() {
    let sandbox = Sandbox::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = sandbox.run(["completions", shell]);
        assert_eq!(output.code, Some(0), "{shell}: {output:?}");
        assert!(output.stdout.contains("hilrig") && output.stdout.contains("doctor"), "{shell}");
        if shell == "bash" && need("bash") {
            let script = sandbox.scratch().join("completions");
            std::fs::write(&script, &output.stdout).unwrap();
            let mut bash = std::process::Command::new("bash");
            bash.arg("-n").arg(script);
            assert_eq!(finish(bash).code, Some(0));
        }
    }
}

#[test]
fn every_help_text_has_an_example() {
    let sandbox = Sandbox::new();
    let mut left = vec![vec![]];
    let mut seen = Vec::new();
    while let Some(path) = left.pop() {
        let help = sandbox.run(path.iter().map(String::as_str).chain(["--help"]));
        assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""), "{path:?}");
        let commands: Vec<&str> = help
            .stdout
            .lines()
            .skip_while(|l| *l != "Commands:")
            .skip(1)
            .take_while(|l| !l.is_empty())
            .filter_map(|l| l.strip_prefix("  ")?.split_whitespace().next())
            .filter(|c| *c != "help")
            .collect();
        left.extend(
            commands.iter().map(|c| path.iter().cloned().chain([(*c).to_owned()]).collect::<Vec<_>>()),
        );
        if commands.is_empty() || path.is_empty() {
            let example = help.stdout.lines().find(|l| l.starts_with("Example: ") && l.contains("hilrig "));
            let example = example.unwrap_or_else(|| panic!("{path:?} has no example: {}", help.stdout));
            assert!(example.contains(&format!("hilrig {}", path.join(" "))), "{path:?}: {example}");
        }
        seen.push(path.join(" "));
    }
    for command in [
        "serve",
        "stdio",
        "call",
        "status",
        "config get",
        "config set",
        "action list",
        "action invoke",
        "job get",
        "job cancel",
        "run",
        "link",
        "pair",
        "capture",
        "replay",
        "runs list",
        "runs show",
        "ports",
        "doctor",
        "init",
        "completions",
    ] {
        assert!(seen.iter().any(|s| s == command), "{command} is missing: {seen:?}");
    }
    assert!(!seen.iter().any(|s| s == "host"), "host is not for people");
    let nothing = sandbox.run::<[&str; 0]>([]);
    assert_eq!(nothing.code, Some(2), "{nothing:?}");
    let wrong = sandbox.run(["fly"]);
    assert_eq!(wrong.code, Some(2), "{wrong:?}");
    assert!(sandbox.run(["--version"]).stdout.starts_with("hilrig "));
}
