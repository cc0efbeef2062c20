//! Named links in the config: shown, set value by value, refused with their place.

use std::fs;

use hilrig_tests::{CONFIG_INVALID, refusal};
use serde_json::{Value, json};

use crate::{LINE, sandbox};

#[test]
fn tables_are_shown_and_set_and_wrong_ones_have_their_place() {
    let sandbox = sandbox(&format!("# the test line\n{LINE}[link.line.wire]\nbaud = 9600 # slow\n"));
    let file = sandbox.root.join("config/bridge.toml");
    let daemon = sandbox.daemon();
    let mut conn = daemon.connect();
    let entry = |conn: &mut hilrig_tests::Conn, key: &str| {
        let view = conn.call("config.get", json!({"appId": "bridge"}));
        assert_eq!(view["errors"], json!([]));
        let entries = view["entries"].as_array().unwrap().clone();
        entries.into_iter().find(|e| e["key"] == key).unwrap_or(Value::Null)
    };
    let baud = entry(&mut conn, "link.line.wire.baud");
    assert_eq!(
        (&baud["value"], &baud["settable"], &baud["valueType"]),
        (&json!(9600), &json!(true), &json!("int"))
    );
    // Consoles send text.
    conn.set("bridge", "link.line.wire.baud", "19200");
    conn.set("bridge", "link.line.reconnect", "false");
    conn.set("bridge", "link.more", r#"{"a": "pty:p", "b": "pty:q", "faults": []}"#);
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("# the test line\n[link.line]") && text.contains("baud = 19200 # slow"), "{text}");
    assert_eq!(entry(&mut conn, "link.line.reconnect")["value"], json!(false));
    assert_eq!(entry(&mut conn, "link.more.b")["value"], "pty:q");
    for (key, value) in [
        ("link.line.a", "plc:no"),
        ("link.line.a", "pty:y"),
        ("link.line.wire.noise", "2"),
        ("link.line.wire.speed", "9600"),
        ("link.line.faults", r#"[{"id": "x"}]"#),
        ("link.third.a", "pty:z"),
    ] {
        let reply = conn.request("config.set", json!({"appId": "bridge", "key": key, "value": value}));
        refusal(&reply, &[CONFIG_INVALID]);
        assert_eq!(fs::read_to_string(&file).unwrap(), text, "{key} = {value}");
    }
    fs::write(&file, format!("{LINE}dedicatd = true\n")).unwrap();
    let view = conn.call("config.get", json!({"appId": "bridge"}));
    let error = view["errors"][0].as_str().unwrap();
    assert!(error.starts_with("config/bridge.toml:4:") && error.contains("dedicatd"), "{error}");
    let record = conn.try_act("bridge", "validate_contract", json!({}));
    assert_eq!((&record["state"], &record["error"]["code"]), (&json!("failed"), &json!(CONFIG_INVALID)));
}
