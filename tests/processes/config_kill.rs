//! A config file is always whole, whenever the daemon dies.

use std::time::Duration;

use hilrig_tests::{Read, Sandbox, Seeded, text};
use serde_json::json;

const KILLS: usize = 1000;
/// Roots that are worked on at the same time.
const ROOTS: usize = 2;
const SETS: usize = 400;

const HEAD: &str = "# The bench on the left.\n\n";

fn by_hand() -> String {
    let padding: String =
        (0..60).map(|n| format!("# remark {n} of the person who set this bench up\n")).collect();
    format!("{HEAD}profile = \"sim\" # keep\n\n[near] # the device\nurl = \"pty:v0\"\n\n{padding}")
}

#[test]
fn a_thousand_kills_during_config_set_leave_the_file_whole() {
    let mut random = Seeded::from_env();
    let workers: Vec<_> = (0..ROOTS)
        .map(|_| {
            let random = random.fork();
            std::thread::spawn(move || kill_often(random, KILLS / ROOTS))
        })
        .collect();
    let changed: usize = workers.into_iter().map(|worker| worker.join().unwrap()).sum();
    println!("{KILLS} kills, {changed} of them after a change had reached the file");
    assert!(changed > KILLS / 4, "only {changed} lives changed anything: the kills come too early");
}

fn kill_often(mut random: Seeded, kills: usize) -> usize {
    let sandbox = Sandbox::new();
    let file = sandbox.root.join("config/bridge.toml");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, by_hand()).unwrap();
    let (mut changed, mut last) = (0, 0);
    for _ in 0..kills {
        let mut conn = sandbox.stdio();
        let lines: String = (0..SETS)
            .map(|n| {
                let params =
                    json!({"appId": "bridge", "key": "near.url", "value": format!("pty:v{}", last + n + 1)});
                json!({"method": "config.set", "params": params}).to_string() + "\n"
            })
            .collect();
        conn.send_blindly(lines.as_bytes(), Duration::ZERO);
        // Three in four die at work, one somewhere on the way there.
        if random.below(4) > 0 {
            let Read::Line(reply) = conn.read_line(hilrig_tests::PATIENCE) else { panic!("no reply") };
            let reply: serde_json::Value = serde_json::from_slice(&reply).unwrap();
            assert_eq!(reply["ok"], true, "{reply}");
        }
        random.pause(Duration::from_millis(4));
        conn.kill9();
        let now = value_of_whole(&text(&file));
        assert!(now == last || (now > last && now <= last + SETS), "v{now} after v{last}");
        changed += usize::from(now != last);
        last = now;
    }
    let left: Vec<_> = file.parent().unwrap().read_dir().unwrap().flatten().map(|e| e.file_name()).collect();
    assert!(left.len() <= 8, "the dead leave files behind: {left:?}");
    // The next life works on.
    let mut conn = sandbox.stdio();
    assert_eq!(conn.set("bridge", "near.url", "pty:end")["changed"], true);
    changed
}

/// The number in a file that has everything that was in it, and nothing else.
fn value_of_whole(content: &str) -> usize {
    let table: toml::Table = content.parse().unwrap_or_else(|e| panic!("{e}: {content:?}"));
    let url = table["near"]["url"].as_str().expect("near.url");
    let number = url.strip_prefix("pty:v").and_then(|n| n.parse().ok());
    assert_eq!(content, by_hand().replace("pty:v0", url), "comments and order are kept");
    number.unwrap_or_else(|| panic!("{url}"))
}
