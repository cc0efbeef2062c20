//! What the daemon offers beyond V0: it describes itself rightly, and its logs can be read.

use hilrig_tests::{
    BAD_ARG, Line, NOT_FOUND, Sandbox, UNSUPPORTED_APP, UNSUPPORTED_METHOD, bad_param, pattern, refusal,
    text, wait_for,
};
use serde_json::{Value, json};
use std::io::{Read, Write};

#[test]
fn interface_describe_tells_the_truth() {
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon();
    let mut conn = daemon.connect();
    let described = conn.call("interface.describe", json!({}));
    assert_eq!(
        (&described["interfaceName"], &described["interfaceVersion"]),
        (&json!("generic-process-interface"), &json!(1))
    );
    let schemas = described["schemas"].as_object().expect("schemas");
    let mut names = Vec::new();
    for method in described["methods"].as_array().expect("methods") {
        let name = method["name"].as_str().unwrap();
        names.push(name);
        // A required param that is missing is asked for by its name, so the method is there and checks it.
        let required = method["params"].as_array().unwrap().iter().find(|p| p["required"] == true);
        let reply = conn.request(name, json!({}));
        match required {
            Some(param) => bad_param(&reply, param["name"].as_str().unwrap()),
            None => assert_eq!(reply["ok"], true, "{name}: {reply}"),
        }
        let schema = &schemas[method["response"].as_str().expect("response")];
        assert!(schema.get("properties").is_some() || schema.get("$ref").is_some(), "{name}: {schema}");
        if let Some(alias) = method.get("alias").and_then(Value::as_str) {
            let reply = conn.request(alias, json!({}));
            assert_ne!(reply["error"]["code"], UNSUPPORTED_METHOD, "{alias}");
        }
    }
    for name in [
        "ping",
        "status.get",
        "config.get",
        "config.set",
        "action.list",
        "action.invoke",
        "action.job.get",
        "events.subscribe",
        "app.list",
        "interface.describe",
        "action.job.list",
        "action.job.cancel",
        "log.tail",
        "events.unsubscribe",
    ] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    // What the schema of a status demands is there.
    let status = conn.status("bridge");
    for key in schemas["Status"]["required"].as_array().expect("required") {
        assert!(status.contains_key(key.as_str().unwrap()), "{key}");
    }
    let topics = described["topics"].clone();
    assert_eq!(conn.call("events.subscribe", json!({"topics": topics}))["subscribed"], topics);
    assert_eq!(described["limits"]["lineBytes"], json!(1 << 20));
}

#[test]
fn logs_are_files_and_can_be_read_on() {
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon();
    let mut conn = daemon.connect();
    conn.act("bridge", "run_start", json!({}));
    let tail = |conn: &mut hilrig_tests::Conn, more: Value| {
        let mut params = json!({"appId": "bridge"});
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        conn.call("log.tail", params)
    };
    let first = wait_for("something is in the log", || {
        let tail = tail(&mut conn, json!({}));
        (!tail["lines"].as_array().unwrap().is_empty()).then_some(tail)
    });
    let path = first["path"].as_str().expect("path");
    assert_eq!(conn.status("bridge")["logPath"], path);
    let file = text(path.as_ref());
    for line in first["lines"].as_array().unwrap() {
        assert!(file.lines().any(|l| l == line), "{line} is in the file");
    }
    // From the cursor on, only what is new.
    conn.act("bridge", "run_stop", json!({}));
    let next = wait_for("the stop is in the log", || {
        let next = tail(&mut conn, json!({"cursor": first["cursor"]}));
        (!next["lines"].as_array().unwrap().is_empty()).then_some(next)
    });
    for line in next["lines"].as_array().unwrap() {
        assert!(!first["lines"].as_array().unwrap().contains(line), "{line} twice");
    }
    assert_eq!(tail(&mut conn, json!({"lines": 1}))["lines"].as_array().unwrap().len(), 1);
    for wrong in
        [json!({"lines": 0}), json!({"lines": "many"}), json!({"cursor": 5}), json!({"cursor": "../x"})]
    {
        let mut params = json!({"appId": "bridge"});
        params.as_object_mut().unwrap().extend(wrong.as_object().unwrap().clone());
        refusal(&conn.request("log.tail", params), &[BAD_ARG]);
    }
}

#[test]
fn jobs_are_listed_and_canceled() {
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon();
    let mut conn = daemon.connect();
    conn.act("bridge", "run_start", json!({}));
    let done = conn.invoke("bridge", "port_list", json!({}));
    conn.end_of_job("bridge", &done);
    let live = conn.invoke("bridge", "soak", json!({"durationSeconds": 600}));
    let jobs = conn.call("action.job.list", json!({"appId": "bridge"}))["jobs"].clone();
    let ids: Vec<&str> = jobs.as_array().unwrap().iter().map(|j| j["jobId"].as_str().unwrap()).collect();
    assert_eq!(ids[..2], [&*live, &*done], "newest first");
    // A cancel ends what is under way and changes nothing that is over.
    conn.call("action.job.cancel", json!({"appId": "bridge", "jobId": live}));
    assert_eq!(conn.end_of_job("bridge", &live)["state"], "canceled");
    for (job, state) in [(&done, "succeeded"), (&live, "canceled")] {
        let before = conn.job("bridge", job);
        conn.call("action.job.cancel", json!({"appId": "bridge", "jobId": job}));
        assert_eq!(conn.job("bridge", job), before);
        assert_eq!(before["state"], state);
    }
    refusal(&conn.request("action.job.cancel", json!({"appId": "bridge", "jobId": "job-1"})), &[NOT_FOUND]);
    refusal(&conn.request("action.job.list", json!({"appId": "nobody"})), &[UNSUPPORTED_APP]);
    assert_eq!(conn.status("bridge")["running"], true, "a canceled soak is not the end of the run");
}

#[test]
fn events_can_be_limited_to_an_app() {
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon();
    let mut conn = daemon.connect();
    let mut one = daemon.connect();
    one.call("events.subscribe", json!({"topics": ["job.changed"], "appId": "bridge"}));
    conn.act("40318", "run_stop", json!({}));
    let job = conn.invoke("bridge", "run_stop", json!({}));
    conn.end_of_job("bridge", &job);
    let over = |e: &Value| e["params"]["state"] == "succeeded";
    assert_eq!(one.event_with(over)["params"]["appId"], "bridge", "the first end that it hears of");
}

/// The far port as a TCP listener: one client after the other, every byte.
#[test]
fn a_bridge_to_tcp_carries_every_byte() {
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon();
    let mut conn = daemon.connect();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    conn.set("bridge", "transportMode", "Ble");
    let record = conn.try_act("bridge", "run_start", json!({}));
    assert_eq!(record["state"], "failed");
    assert!(record["error"]["message"].as_str().unwrap().contains("BLE"), "{record:?}");
    conn.set("bridge", "transportMode", "Tcp");
    conn.set("bridge", "far.tcp", format!("tcp-listen:{free}"));
    conn.act("bridge", "run_start", json!({}));
    let near = Line::open(&sandbox.port("bridge-a"));
    let mut carried = [0, 0];
    for life in 0..3 {
        let mut far = std::net::TcpStream::connect(free).unwrap();
        conn.wait_for_peers([true, true]);
        let bytes: Vec<u8> = (0..50_000).map(|at| pattern(life, at)).collect();
        let (there, sent) = (far.try_clone().unwrap(), bytes.clone());
        std::thread::scope(|scope| {
            scope.spawn(|| near.write(&sent).unwrap());
            scope.spawn(|| (&there).write_all(&sent).unwrap());
            let mut got = vec![0; bytes.len()];
            far.read_exact(&mut got).unwrap();
            assert!(got == bytes, "near to far");
            assert!(near.read(bytes.len()).unwrap() == bytes, "far to near");
        });
        carried = carried.map(|n| n + bytes.len() as u64);
        drop((far, there));
        conn.wait_for_peers([true, false]);
    }
    let status = conn.status("bridge");
    let rows = status["traffic"].as_array().unwrap();
    let out: Vec<u64> = rows.iter().map(|r| r["bytesOut"].as_u64().unwrap()).collect();
    assert_eq!(out, carried, "{rows:?}");
    assert_eq!(status["bytesLost"], 0);
}
