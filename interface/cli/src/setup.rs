//! Commands about the machine and the installation: `ports`, `doctor`, `init`, `completions`.

use std::path::Path;
use std::process::ExitCode;

use clap::CommandFactory;
use hilrig_host::{Outcome, Root, doctor as checks};
use serde_json::json;

use crate::output::{Exit, Failure, say, say_json, table};

pub fn ports(as_json: bool) -> Result<ExitCode, Failure> {
    let ports = hilrig_port::list_ports();
    if ports.is_empty() && !as_json {
        eprintln!("no serial ports on this machine; virtual ones are made by `hilrig pair NAME` or pty:NAME");
        return Ok(ExitCode::SUCCESS);
    }
    let mut rows = vec![
        ["PORT", "DRIVER", "PRODUCT", "SERIAL", "USB NAME", "HELD BY", "BY ID"].map(str::to_owned).to_vec(),
    ];
    let mut list = Vec::new();
    for port in ports {
        let held: Vec<String> = port.held_by.iter().map(|(pid, name)| format!("{name} ({pid})")).collect();
        let by_id = port.by_id.first().map(|p| p.display().to_string()).unwrap_or_default();
        let text = |t: &str| if t.is_empty() { "-".to_owned() } else { t.to_owned() };
        rows.push(vec![
            port.device.display().to_string(),
            text(&port.driver),
            text(&port.product),
            text(&port.serial_number),
            text(&port.usb_url().unwrap_or_default()),
            if held.is_empty() { "-".to_owned() } else { held.join(", ") },
            by_id,
        ]);
        list.push(json!({
            "device": port.device, "byId": port.by_id, "byPath": port.by_path, "driver": port.driver,
            "manufacturer": port.manufacturer, "product": port.product, "serialNumber": port.serial_number,
            "usbId": port.usb_id, "usbName": port.usb_url().unwrap_or_default(), "heldBy": held,
        }));
    }
    if as_json {
        say_json(&json!({ "ports": list }))
    } else {
        table(&rows)
    }
    Ok(ExitCode::SUCCESS)
}

pub fn doctor(as_json: bool) -> Result<ExitCode, Failure> {
    let checks = checks();
    if as_json {
        say_json(&json!({ "checks": checks }));
    } else {
        let rows: Vec<Vec<String>> = checks
            .iter()
            .map(|c| {
                let mark = match c.outcome {
                    Outcome::Ok => "ok",
                    Outcome::Missing => "missing",
                    Outcome::Broken => "BROKEN",
                };
                vec![mark.to_owned(), c.name.to_owned(), c.found.clone()]
            })
            .collect();
        table(&rows);
        for check in checks.iter().filter(|c| !c.advice.is_empty()) {
            say(&format!("\n{}: {}", check.name, check.advice));
        }
    }
    let broken = checks.iter().any(|c| c.outcome == Outcome::Broken);
    Ok(if broken { Exit::Infrastructure.into() } else { ExitCode::SUCCESS })
}

pub fn init(dir: &Path) -> Result<ExitCode, Failure> {
    let failed = |what: &Path, e: &dyn std::fmt::Display| {
        Failure::infrastructure(format!("{}: cannot create it: {e}", what.display()))
    };
    let root = Root::create(dir).map_err(|e| failed(dir, &e))?;
    let mut files: Vec<(std::path::PathBuf, String)> = crate::apps::specs()
        .iter()
        .map(|spec| (root.config_file(spec.id), hilrig_host::default_config(spec)))
        .collect();
    files.push((root.dir().join("rigs/first.toml"), include_str!("../../../rigs/first.toml").to_owned()));
    for (path, text) in files {
        if path.exists() {
            eprintln!("kept    {}", path.display());
            continue;
        }
        std::fs::write(&path, text).map_err(|e| failed(&path, &e))?;
        say(&format!("created {}", path.display()));
    }
    eprintln!("start the daemon with: hilrig serve --root {}", dir.display());
    Ok(ExitCode::SUCCESS)
}

pub fn completions(shell: clap_complete::Shell) -> ExitCode {
    clap_complete::generate(shell, &mut crate::args::Args::command(), "hilrig", &mut std::io::stdout());
    ExitCode::SUCCESS
}
