//! Cases 67 to 70: events, for those who asked for them and nobody else.

use hilrig_tests::{BAD_ARG, PATIENCE, Read, bad_param, refusal, timestamp};
use serde_json::{Value, json};

use crate::{Bench, cases};

cases! {
    67 ALL subscribe_to_known_topics;
    68 ALL topics_no_list;
    69 ALL events_reach_the_subscriber;
    70 ALL nothing_unasked;
}

fn subscribe_to_known_topics(bench: &Bench) {
    let mut conn = bench.connect();
    let topics = json!({"topics": ["status.changed", "log", "nope"]});
    assert_eq!(conn.call("events.subscribe", topics)["subscribed"], json!(["status.changed", "log"]));
    assert_eq!(conn.call("events.subscribe", json!({"topics": ["nope"]}))["subscribed"], json!([]));
    assert_eq!(conn.call("events.subscribe", json!({"topics": []}))["subscribed"], json!([]));
}

fn topics_no_list(bench: &Bench) {
    let mut conn = bench.connect();
    for topics in [json!("log"), json!({"log": true}), json!(null), json!(5)] {
        bad_param(&conn.request("events.subscribe", json!({"topics": topics})), "topics");
    }
    refusal(&conn.request("events.subscribe", json!({"topics": [1]})), &[BAD_ARG]);
    refusal(&conn.request("events.subscribe", json!({})), &[BAD_ARG]);
}

/// What every event has.
#[track_caller]
fn check(event: &Value, seq: &mut u64) {
    let keys: Vec<&String> = event.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["event", "params"]);
    let params = &event["params"];
    assert!(params["appId"].as_str().is_some_and(|id| !id.is_empty()), "{event}");
    let now = params["seq"].as_u64().expect("seq");
    assert!(now > *seq, "seq {now} after {seq}");
    *seq = now;
    timestamp(&params["ts"]);
    assert_eq!(params["dropped"], json!(0));
}

fn events_reach_the_subscriber(bench: &Bench) {
    let mut x = bench.connect();
    let mut y = bench.connect();
    y.call("events.subscribe", json!({"topics": ["status.changed", "job.changed"]}));
    let job = x.invoke("bridge", "run_start", json!({}));
    x.end_of_job("bridge", &job);
    let mut seq = 0;
    let (mut up, mut succeeded) = (false, false);
    while !(up && succeeded) {
        let event = y.event();
        check(&event, &mut seq);
        if event["params"]["appId"] == "bridge" {
            up |= event["event"] == "status.changed" && event["params"]["running"] == true;
            succeeded |= event["event"] == "job.changed"
                && event["params"]["jobId"] == job.as_str()
                && event["params"]["state"] == "succeeded";
        }
    }
    // Its own requests are answered under their ids, also with events in between.
    let stop = x.invoke("bridge", "run_stop", json!({}));
    for n in 0..50 {
        let id = format!("mine-{n}");
        let reply = y.ask(&json!({"id": id, "method": "status.get", "params": {"appId": "bridge"}}));
        assert_eq!(reply["id"], id);
    }
    x.end_of_job("bridge", &stop);
    let down = |e: &Value| e["event"] == "status.changed" && e["params"]["running"] == false;
    check(&y.event_with(down), &mut seq);
    y.call("events.unsubscribe", json!({"topics": ["status.changed", "job.changed"]}));
    y.events.clear();
    x.act("bridge", "run_start", json!({}));
    y.ping();
    assert!(y.events.is_empty(), "after the end of the subscription: {:?}", y.events);
}

fn nothing_unasked(bench: &Bench) {
    let mut first = bench.connect();
    let mut quiet = bench.connect();
    let mut subscriber = bench.connect();
    subscriber
        .call("events.subscribe", json!({"topics": ["status.changed", "job.changed", "log", "metrics"]}));
    first.act("bridge", "run_start", json!({}));
    first.act("bridge", "port_list", json!({}));
    first.act("bridge", "soak", json!({"durationSeconds": 1}));
    first.act("bridge", "run_stop", json!({}));
    subscriber.event_with(|e| e["event"] == "status.changed" && e["params"]["running"] == false);
    // Whoever subscribed has heard of it all; the first line for the others is the reply to their request.
    for conn in [&mut quiet, &mut bench.connect()] {
        conn.send(b"{\"id\":\"first\",\"method\":\"ping\"}\n").unwrap();
        let Read::Line(line) = conn.read_line(PATIENCE) else { panic!("no reply") };
        let line: Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(line["id"], "first", "unasked: {line}");
    }
}
