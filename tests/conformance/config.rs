//! Cases 31 to 44: status and configuration.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use hilrig_tests::{APPS, BAD_ARG, CONFIG_INVALID, Conn, NOT_FOUND, bad_param, refusal, text};
use serde_json::{Map, Value, json};

use crate::{Bench, cases};

cases! {
    31 ALL status_of_four_apps;
    32 ALL config_get_of_four_apps;
    33 ALL config_set_of_a_legal_value;
    34 ALL config_set_of_the_same_value;
    35 ALL config_set_of_a_value_not_allowed;
    36 ALL config_set_of_an_unknown_key;
    37 ALL config_set_without_key;
    38 ALL config_set_without_value;
    39 ALL config_set_of_an_object_or_a_line_break;
    40 ALL config_set_keeps_the_type;
    41 ALL config_set_of_garbage;
    42 ALL config_set_of_what_cannot_be_set;
    43 ALL config_set_while_running;
    44 ALL config_file_broken_by_hand;
}

fn status_of_four_apps(bench: &Bench) {
    let mut conn = bench.connect();
    for (app, title) in APPS {
        let status = conn.status(app);
        assert_eq!(status["interfaceName"], "generic-process-interface");
        assert_eq!(status["interfaceVersion"], json!(1));
        assert_eq!(status["appId"], app);
        assert_eq!(status["appTitle"], title);
        assert_eq!(status["running"], json!(false));
        assert_eq!(status["pid"], json!(null));
        assert!(status["hostRunning"].is_boolean(), "{status:?}");
        let host_pid = &status["hostPid"];
        assert!(host_pid.is_null() || host_pid.as_u64().is_some_and(|p| p > 0), "{status:?}");
        assert_eq!(status["hostRunning"] == true, host_pid.is_u64(), "{status:?}");
        assert_eq!(status["bootId"], "");
        assert_eq!(status["error"], "");
        let role = if app.ends_with("-simulator") { json!(app) } else { Value::Null };
        assert_eq!(status.get("roleAppId").cloned().unwrap_or_default(), role, "{app}");
        let model = if role.is_null() { Value::Null } else { json!("hosted-role") };
        assert_eq!(status.get("processModel").cloned().unwrap_or_default(), model, "{app}");
        // The log is a file whose name the status says.
        let logs =
            status.values().filter_map(Value::as_str).filter(|v| v.ends_with(&format!("logs/{app}.log")));
        assert_eq!(logs.count(), 1, "{status:?}");
    }
}

fn entries(view: &Map<String, Value>) -> &Vec<Value> {
    view["entries"].as_array().expect("entries is a list")
}

fn value_of(conn: &mut Conn, app: &str, key: &str) -> Value {
    let view = conn.call("config.get", json!({"appId": app}));
    entries(&view).iter().find(|e| e["key"] == key).expect("the key is there")["value"].clone()
}

/// The file in which an app's settings are.
fn file(bench: &Bench, app: &str) -> PathBuf {
    bench.sandbox.root.join("config").join(format!("{app}.toml"))
}

fn config_get_of_four_apps(bench: &Bench) {
    let mut conn = bench.connect();
    for (app, _) in APPS {
        let view = conn.call("config.get", json!({"appId": app}));
        let root = bench.sandbox.root.canonicalize().unwrap();
        assert_eq!(view["repoRoot"].as_str().map(Path::new), Some(&*root), "{app}");
        assert_eq!(view["valid"], json!(true), "{app}");
        assert_eq!(view["errors"], json!([]), "{app}");
        let tree = view["configTree"].as_object().expect("configTree is an object");
        let paths = view["paths"].as_array().expect("paths is a list");
        for path in paths {
            assert!(
                path["key"].is_string() && (path["value"].is_string() || path["value"].is_null()),
                "{path}"
            );
        }
        let path_keys: HashSet<&str> = paths.iter().filter_map(|p| p["key"].as_str()).collect();
        let mut keys = HashSet::new();
        for entry in entries(&view) {
            check_entry(entry);
            let key = entry["key"].as_str().unwrap();
            assert!(keys.insert(key), "{app}: {key} twice");
            assert!(!path_keys.contains(key), "{app}: {key} is also a path");
            assert!(path_keys.contains(entry["fileKey"].as_str().unwrap()), "{app}: {entry}");
            let in_tree = key.split('.').try_fold(&Value::Object(tree.clone()), |v, k| v.get(k)).cloned();
            assert_eq!(in_tree.as_ref(), Some(&entry["value"]), "{app}: {key} in configTree");
        }
        let allowed = |key: &str| entries(&view).iter().find(|e| e["key"] == key).unwrap()["allowed"].clone();
        assert_eq!(allowed("profile"), json!(["sim", "lab", "prod"]), "{app}");
        assert_eq!(allowed("transportMode"), json!(["Com", "Tcp", "Ble"]), "{app}");
    }
}

fn check_entry(entry: &Value) {
    let value = &entry["value"];
    let fits = match entry["valueType"].as_str().expect("valueType") {
        "bool" => value.is_boolean(),
        "int" => value.is_i64(),
        "float" => value.is_number(),
        "string" => value.is_string(),
        "null" => value.is_null(),
        other => panic!("valueType {other}"),
    };
    assert!(fits, "{entry}");
    assert!(entry["settable"].is_boolean(), "{entry}");
    assert!(!entry["key"].as_str().expect("key").is_empty());
    if let Some(allowed) = entry.get("allowed").and_then(Value::as_array)
        && !allowed.is_empty()
    {
        assert!(allowed.contains(value), "{entry}");
    }
    if let Some(constraint) = entry.get("constraint").filter(|c| !c.is_null()) {
        let constraint = constraint.as_str().expect("constraint is text");
        if let Some(range) = constraint.strip_prefix("int ") {
            let (min, max) = range.split_once("..").expect("int a..b");
            let range = min.parse::<i64>().unwrap()..=max.parse().unwrap();
            assert!(range.contains(&value.as_i64().expect("a whole number")), "{entry}");
        } else {
            assert!(constraint.starts_with('^'), "a console does not understand {entry}");
        }
    }
}

/// A file as people write one.
const BY_HAND: &str = "# what this bench is for\n\nprofile = \"sim\" # never real lines here\n\n[near]\n# the device\n\
                       url = \"pty:left\"\n\n[far]\ncom = \"pty:right\"  # the other side\n";

fn by_hand(bench: &Bench) -> (Conn, PathBuf) {
    let mut conn = bench.connect();
    conn.ping();
    let file = file(bench, "bridge");
    fs::write(&file, BY_HAND).unwrap();
    (conn, file)
}

fn config_set_of_a_legal_value(bench: &Bench) {
    let (mut conn, file) = by_hand(bench);
    let before = fs::metadata(&file).unwrap().ino();
    let open = fs::File::open(&file).unwrap();
    let set = conn.set("bridge", "far.com", "pty:elsewhere");
    assert_eq!(set["changed"], json!(true));
    let path = set["filePath"].as_str().expect("filePath");
    assert_eq!(Path::new(path).canonicalize().unwrap(), file.canonicalize().unwrap());
    assert_eq!(set["restartRequired"], json!(false));
    assert_eq!(set["pidAtSet"], json!(null));
    assert!(!set["message"].as_str().expect("message").is_empty());
    assert_eq!(value_of(&mut conn, "bridge", "far.com"), "pty:elsewhere");
    // Replaced whole: whoever has the old file open still sees the old one.
    assert_ne!(fs::metadata(&file).unwrap().ino(), before);
    assert_eq!(std::io::read_to_string(open).unwrap(), BY_HAND);
    assert_eq!(text(&file), BY_HAND.replace("pty:right", "pty:elsewhere"));
    // A key that is not in the file yet comes in, and everything else stays as it was.
    conn.set("bridge", "transportMode", "Tcp");
    let now = text(&file);
    for line in BY_HAND.replace("pty:right", "pty:elsewhere").lines() {
        assert!(now.lines().any(|l| l == line), "{line:?} is gone: {now}");
    }
    assert_eq!(now.parse::<toml::Table>().unwrap()["transportMode"].as_str(), Some("Tcp"));
}

fn config_set_of_the_same_value(bench: &Bench) {
    let (mut conn, file) = by_hand(bench);
    conn.set("bridge", "profile", "lab");
    let (content, inode) = (text(&file), fs::metadata(&file).unwrap().ino());
    for _ in 0..2 {
        let set = conn.set("bridge", "profile", "lab");
        assert_eq!(set["changed"], json!(false));
        assert_eq!(set["restartRequired"], json!(false));
    }
    assert_eq!(text(&file), content);
    assert_eq!(fs::metadata(&file).unwrap().ino(), inode, "written without need");
}

/// A `config.set` that has to be refused with one of `codes` and to change nothing.
#[track_caller]
fn refused(bench: &Bench, conn: &mut Conn, app: &str, key: &str, value: Value, codes: &[&str]) -> Value {
    let content = fs::read(file(bench, app)).ok();
    let reply = conn.request("config.set", json!({"appId": app, "key": key, "value": value}));
    refusal(&reply, codes);
    assert_eq!(fs::read(file(bench, app)).ok(), content, "{key} = {value} was refused and written");
    reply
}

fn config_set_of_a_value_not_allowed(bench: &Bench) {
    let (mut conn, _) = by_hand(bench);
    for (app, _) in APPS {
        for (key, value) in
            [("profile", "moon"), ("profile", "SIM"), ("transportMode", "com"), ("profile", "")]
        {
            refused(bench, &mut conn, app, key, json!(value), &[CONFIG_INVALID, BAD_ARG]);
        }
        assert_eq!(value_of(&mut conn, app, "profile"), "sim");
    }
    refused(bench, &mut conn, "bridge", "near.url", json!("plc:what"), &[CONFIG_INVALID, BAD_ARG]);
}

fn config_set_of_an_unknown_key(bench: &Bench) {
    let (mut conn, _) = by_hand(bench);
    for key in ["no.such", "Profile", "near", "profile.x", "", "../x", "near.url.more"] {
        refused(bench, &mut conn, "bridge", key, json!("sim"), &[NOT_FOUND, CONFIG_INVALID, BAD_ARG]);
    }
}

fn config_set_without_key(bench: &Bench) {
    let mut conn = bench.connect();
    for params in [
        json!({"appId": "bridge", "value": "sim"}),
        json!({"appId": "bridge", "value": "sim", "key": 5}),
        json!({"appId": "bridge", "value": "sim", "key": null}),
    ] {
        bad_param(&conn.request("config.set", params), "key");
    }
}

fn config_set_without_value(bench: &Bench) {
    let (mut conn, file) = by_hand(bench);
    let reply = conn.request("config.set", json!({"appId": "bridge", "key": "profile"}));
    refusal(&reply, &[BAD_ARG, CONFIG_INVALID]);
    assert_eq!(text(&file), BY_HAND);
}

fn config_set_of_an_object_or_a_line_break(bench: &Bench) {
    let (mut conn, _) = by_hand(bench);
    for value in [json!({"a": 1}), json!(["sim"]), json!("pty:a\nprofile = \"prod\""), json!("pty:a\u{0}b")] {
        refused(bench, &mut conn, "bridge", "near.url", value.clone(), &[CONFIG_INVALID, BAD_ARG]);
        refused(bench, &mut conn, "bridge", "profile", value, &[CONFIG_INVALID, BAD_ARG]);
    }
}

/// The settable entries of all apps of a type.
fn settable(conn: &mut Conn, value_type: &str) -> Vec<(&'static str, Value)> {
    let mut found = Vec::new();
    for (app, _) in APPS {
        let view = conn.call("config.get", json!({"appId": app}));
        let fits = |e: &&Value| e["valueType"] == value_type && e["settable"] == true;
        found.extend(entries(&view).iter().filter(fits).map(|e| (app, e.clone())));
    }
    found
}

fn range_of(entry: &Value) -> (i64, i64) {
    let (min, max) =
        entry["constraint"].as_str().unwrap().strip_prefix("int ").unwrap().split_once("..").unwrap();
    (min.parse().unwrap(), max.parse().unwrap())
}

fn config_set_keeps_the_type(bench: &Bench) {
    let mut conn = bench.connect();
    let ints = settable(&mut conn, "int");
    assert!(!ints.is_empty(), "no app has a whole number to set");
    let bools = settable(&mut conn, "bool");
    let floats = settable(&mut conn, "float");
    let mut sets = Vec::new();
    for (app, entry) in &ints {
        let (min, max) = range_of(entry);
        // Never first what the default may be: that is no change, and not written.
        let [first, last] = if entry["value"] == json!(max) { [min, max] } else { [max, min] };
        sets.push((app, entry, json!(first.to_string()), json!(first)));
        sets.push((app, entry, json!(last.to_string()), json!(last)));
        sets.push((app, entry, json!(first), json!(first)));
    }
    for (app, entry) in &bools {
        let was = entry["value"].as_bool().unwrap();
        sets.push((app, entry, json!((!was).to_string()), json!(!was)));
        sets.push((app, entry, json!(was.to_string()), json!(was)));
        sets.push((app, entry, json!(!was), json!(!was)));
    }
    for (app, entry) in &floats {
        sets.push((app, entry, json!("0.5"), json!(0.5)));
    }
    for (app, entry, given, kept) in sets {
        let key = entry["key"].as_str().unwrap();
        conn.set(app, key, given.clone());
        assert_eq!(value_of(&mut conn, app, key), kept, "{app} {key} given as {given}");
        let stored = text(&file(bench, app)).parse::<toml::Table>().unwrap();
        let mut at = toml::Value::Table(stored);
        for part in key.split('.') {
            at = at.get(part).unwrap_or_else(|| panic!("{key} is not in the file")).clone();
        }
        assert_eq!(at.is_integer(), kept.is_i64(), "{key}: {at}");
        assert_eq!(at.is_bool(), kept.is_boolean(), "{key}: {at}");
        assert_eq!(at.is_float(), kept.is_f64(), "{key}: {at}");
    }
}

fn config_set_of_garbage(bench: &Bench) {
    let mut conn = bench.connect();
    let mut bad = Vec::new();
    for (app, entry) in settable(&mut conn, "int") {
        let (min, max) = range_of(&entry);
        let out = [json!(min - 1), json!((max + 1).to_string()), json!("99999999999999999999"), json!(1e300)];
        let garbage =
            [json!("nine"), json!("9x"), json!(""), json!("1.5"), json!(1.5), json!(null), json!(true)];
        bad.extend(out.into_iter().chain(garbage).map(|v| (app, entry.clone(), v)));
    }
    for (app, entry) in settable(&mut conn, "bool") {
        bad.extend([json!("maybe"), json!(2), json!(""), json!(null)].map(|v| (app, entry.clone(), v)));
    }
    for (app, entry) in settable(&mut conn, "float") {
        bad.extend([json!("fast"), json!("NaN"), json!("inf"), json!("")].map(|v| (app, entry.clone(), v)));
    }
    for (app, entry, value) in bad {
        refused(bench, &mut conn, app, entry["key"].as_str().unwrap(), value, &[CONFIG_INVALID]);
        assert_eq!(value_of(&mut conn, app, entry["key"].as_str().unwrap()), entry["value"]);
    }
}

fn config_set_of_what_cannot_be_set(bench: &Bench) {
    let mut conn = bench.connect();
    for (app, _) in APPS {
        let view = conn.call("config.get", json!({"appId": app}));
        for entry in entries(&view).iter().filter(|e| e["settable"] == false) {
            let key = entry["key"].as_str().unwrap();
            refused(bench, &mut conn, app, key, entry["value"].clone(), &[CONFIG_INVALID]);
        }
        // What `config.get` shows beside the entries cannot be set either.
        for path in view["paths"].as_array().unwrap() {
            let key = path["key"].as_str().unwrap();
            refused(bench, &mut conn, app, key, json!("x"), &[CONFIG_INVALID, NOT_FOUND, BAD_ARG]);
        }
    }
}

fn config_set_while_running(bench: &Bench) {
    let mut conn = bench.connect();
    conn.act("bridge", "run_start", json!({}));
    let pid = conn.status("bridge")["pid"].clone();
    assert!(pid.is_u64());
    let set = conn.set("bridge", "far.com", "pty:new");
    assert_eq!((&set["changed"], &set["restartRequired"]), (&json!(true), &json!(true)));
    assert_eq!(set["pidAtSet"], pid);
    let set = conn.set("bridge", "far.com", "pty:new");
    assert_eq!((&set["changed"], &set["restartRequired"]), (&json!(false), &json!(false)));
    assert_eq!(set["pidAtSet"], pid);
    // The run goes on as it was started.
    let status = conn.status("bridge");
    assert_eq!(status["pid"], pid);
    assert!(!bench.sandbox.port("new").exists());
    let other = conn.set("40318", "profile", "lab");
    assert_eq!((&other["restartRequired"], &other["pidAtSet"]), (&json!(false), &json!(null)));
}

fn config_file_broken_by_hand(bench: &Bench) {
    let (mut conn, file) = by_hand(bench);
    for (broken, line, names) in [
        ("profile = \"sim\"\n[near\nurl = \"pty:a\"\n", 2, ""),
        ("profile = \"moon\"\n", 1, "moon"),
        ("profile = \"sim\"\n\n[near]\nurl = 5\n", 4, "near.url"),
        ("profile = \"sim\"\n[near]\nurl = \"pty:\"\n", 3, "pty:"),
    ] {
        fs::write(&file, broken).unwrap();
        let view = conn.call("config.get", json!({"appId": "bridge"}));
        assert_eq!(view["valid"], json!(false), "{broken:?}");
        let errors = view["errors"].as_array().expect("errors is a list");
        let first = errors.first().and_then(Value::as_str).expect("an error, as text");
        assert!(first.contains(&format!("bridge.toml:{line}:")), "where: {first}");
        assert!(first.contains(names), "what: {first}");
        assert!(view["entries"].is_array() && view["paths"].is_array() && view["configTree"].is_object());
        entries(&view).iter().for_each(|e| assert!(!e["value"].is_object() && !e["value"].is_array(), "{e}"));
        if names.is_empty() {
            refused(bench, &mut conn, "bridge", "transportMode", json!("Tcp"), &[CONFIG_INVALID]);
        }
        let record = conn.try_act("bridge", "run_start", json!({}));
        assert_eq!(record["state"], "failed");
        assert_eq!(conn.status("bridge")["running"], json!(false));
    }
    // Not text at all.
    fs::write(&file, b"profile = \"\xff\"\n").unwrap();
    let view = conn.call("config.get", json!({"appId": "bridge"}));
    assert_eq!(view["valid"], json!(false));
    fs::write(&file, BY_HAND).unwrap();
    assert_eq!(conn.call("config.get", json!({"appId": "bridge"}))["valid"], json!(true));
}
