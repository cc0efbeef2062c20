//! Faults over the contract: exact accounts in the job's result and in the status, and news of each firing.

use hilrig_tests::pattern;
use serde_json::json;

use crate::{LINE, adds_up, ends, sandbox, until};

#[test]
fn every_firing_is_told_and_every_byte_accounted_for() {
    let sandbox = sandbox(&format!("{LINE}seed = 5\n"));
    let daemon = sandbox.daemon();
    let mut conn = daemon.connect();
    let (mut changes, mut log) = (daemon.connect(), daemon.connect());
    changes.call("events.subscribe", json!({"topics": ["status.changed"]}));
    log.call("events.subscribe", json!({"topics": ["log"]}));
    conn.act("bridge", "run_start", json!({}));
    let (x, y) = ends(&sandbox, &mut conn);
    let drops =
        r#"{"id": "drops", "direction": "a->b", "on": "byte", "when": {"every": 100}, "effect": "drop"}"#;
    conn.act("bridge", "fault_arm", json!({"rule": drops}));
    let never = "id = 'never', direction = 'b->a', when = { byte = 1000000 }, effect = 'drop', link = 'line'";
    conn.act("bridge", "fault_arm", json!({"rule": never}));
    let sent: Vec<u8> = (0..20_000).map(|i| pattern(1, i)).collect();
    let back: Vec<u8> = (0..5_000).map(|i| pattern(2, i)).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| x.write(&sent).unwrap());
        scope.spawn(|| y.write(&back).unwrap());
        let got = y.read(20_000 - 200).unwrap();
        let want: Vec<u8> = sent.chunks(100).flat_map(|c| &c[..99]).copied().collect();
        assert!(got == want, "each hundredth byte is gone, and no other");
        assert!(x.read(5_000).unwrap() == back, "the other direction is whole");
    });
    let status = until(&mut conn, "all firings are counted", |s| s["faults"][0]["fired"] == 200);
    assert_eq!(
        (&status["faults"][0]["bytes"], &status["faults"][1]["neverFired"]),
        (&json!(200), &json!(true))
    );
    let last = status["faultFirings"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(
        (&last["rule"], &last["position"], &last["direction"]),
        (&json!("drops"), &json!(19_999), &json!("a->b"))
    );
    // Subscribers hear of it in both ways.
    changes.event_with(|e| {
        let rows = e["params"]["status"]["faultFirings"].as_array();
        rows.is_some_and(|rows| rows.iter().any(|row| row["rule"] == "drops"))
    });
    log.event_with(|e| {
        e["params"]["line"].as_str().is_some_and(|l| l.contains("fault drops fired a->b at byte"))
    });
    let list = conn.act("bridge", "fault_list", json!({}));
    assert_eq!(list["result"]["faults"][0]["fired"], 200);
    let cleared = conn.act("bridge", "fault_clear", json!({}));
    assert_eq!(cleared["result"]["cleared"], 2);
    x.write(&sent).unwrap();
    assert!(y.read(20_000).unwrap() == sent, "nothing fires any more");
    let stopped = conn.act("bridge", "run_stop", json!({}));
    let result = &stopped["result"];
    adds_up(&result["traffic"]);
    assert_eq!(
        (&result["traffic"][0]["faultBytes"], &result["traffic"][1]["faultBytes"]),
        (&json!(200), &json!(0))
    );
    assert_eq!((&result["faults"][0]["fired"], &result["faults"][1]["fired"]), (&json!(200), &json!(0)));
    assert!(stopped["stderr"].as_str().unwrap().contains("fault never never fired"), "{stopped:?}");
}
