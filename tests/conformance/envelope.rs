//! Cases 1 to 30, 65 and 66: the envelope, malformed input, and the order of checks.

use hilrig_tests::{
    APPS, BAD_ARG, UNSUPPORTED_APP, UNSUPPORTED_METHOD, bad_param, finished_record, refusal, response,
    timestamp,
};
use serde_json::{Value, json};

use crate::{Bench, cases};

cases! {
    1 ALL ping_is_exact;
    2 ALL ping_without_id;
    3 ALL id_null;
    4 ALL id_number;
    5 ALL id_with_any_characters;
    6 ALL unknown_envelope_key;
    7 ALL crlf_and_spaces;
    8 ALL blank_line;
    9 ALL escaped_method_name;
    10 ALL text;
    11 ALL empty_array;
    12 ALL json_string;
    13 ALL json_null;
    14 ALL json_number;
    15 ALL truncated_object;
    16 ALL trailing_garbage;
    17 ALL two_objects_on_a_line;
    18 ALL bad_utf8;
    19 ALL nan;
    20 ALL single_quotes;
    21 ALL raw_control_character;
    22 ALL method_missing_or_no_string;
    23 ALL method_empty;
    24 ALL method_unknown;
    25 ALL method_is_exact;
    26 ALL params_no_object;
    27 ALL app_id_missing;
    28 ALL app_unknown;
    29 ALL params_before_app;
    30 ALL app_id_is_exact;
    65 ALL legacy_methods;
    66 ALL interface_version;
}

/// The six methods about an app, with params that are right except for the app.
fn app_methods() -> [(&'static str, Value); 6] {
    [
        ("status.get", json!({})),
        ("config.get", json!({})),
        ("config.set", json!({"key": "profile", "value": "sim"})),
        ("action.list", json!({})),
        ("action.invoke", json!({"actionName": "run_stop", "args": {}})),
        ("action.job.get", json!({"jobId": "job-00000000000000000000000000000000"})),
    ]
}

#[track_caller]
fn is_pong(reply: &Value) {
    let exact = json!({"pong": true, "interfaceName": "generic-process-interface", "interfaceVersion": 1});
    assert_eq!(response(reply), exact.as_object().unwrap());
}

fn ping_is_exact(bench: &Bench) {
    let mut conn = bench.connect();
    for request in [
        json!({"id": "req-1", "method": "ping"}),
        json!({"id": "req-1", "method": "ping", "params": {}}),
        json!({"id": "req-1", "method": "ping", "params": {"appId": "bridge", "more": [1, 2]}}),
    ] {
        let reply = conn.ask(&request);
        is_pong(&reply);
        assert_eq!(reply["id"], "req-1");
    }
}

fn ping_without_id(bench: &Bench) {
    let reply = bench.connect().ask(&json!({"method": "ping"}));
    is_pong(&reply);
    assert!(reply.get("id").is_none(), "{reply}");
}

fn id_null(bench: &Bench) {
    let reply = bench.connect().ask(&json!({"id": null, "method": "ping"}));
    is_pong(&reply);
    assert!(reply.get("id").is_none_or(Value::is_null), "{reply}");
}

fn id_number(bench: &Bench) {
    let reply = bench.connect().ask(&json!({"id": 7, "method": "ping"}));
    is_pong(&reply);
    assert!(reply.get("id").is_none_or(|id| *id == json!(7)), "{reply}");
}

fn id_with_any_characters(bench: &Bench) {
    let mut conn = bench.connect();
    for id in ["a \"quoted\" id", "back\\slash\\", "\u{1f680} rocket", "tab\tand\nline", "", "{\"x\":1}"] {
        let reply = conn.ask(&json!({"id": id, "method": "ping"}));
        is_pong(&reply);
        // Empty is the only one that may be left out.
        assert!(reply["id"] == id || id.is_empty() && reply.get("id").is_none(), "{id:?}: {reply}");
        let reply = conn.ask(&json!({"id": id, "method": "no.such"}));
        assert!(reply["id"] == id || id.is_empty() && reply.get("id").is_none(), "{id:?}: {reply}");
    }
}

fn unknown_envelope_key(bench: &Bench) {
    let request = json!({"id": "1", "method": "ping", "trace": {"a": [1]}, "Method": "x", "params2": 5});
    is_pong(&bench.connect().ask(&request));
}

fn crlf_and_spaces(bench: &Bench) {
    let mut conn = bench.connect();
    is_pong(&conn.raw("{\"method\":\"ping\"}\r"));
    is_pong(&conn.raw("  \t {\"method\" : \"ping\" , \"params\" : { } }  \t "));
    is_pong(&conn.raw(" {\"method\":\"ping\"} \r"));
}

fn blank_line(bench: &Bench) {
    let mut conn = bench.connect();
    for blank in ["\n", "\r\n", "   \n"] {
        conn.send(format!("{blank}{{\"id\":\"after\",\"method\":\"ping\"}}\n").as_bytes()).unwrap();
        let mut reply = conn.reply();
        if reply.get("id").is_none() {
            refusal(&reply, &[BAD_ARG]);
            reply = conn.reply();
        }
        is_pong(&reply);
        assert_eq!(reply["id"], "after");
    }
}

fn escaped_method_name(bench: &Bench) {
    let mut conn = bench.connect();
    is_pong(&conn.raw(r#"{"method":"\u0070in\u0067"}"#));
    is_pong(&conn.raw(r#"{"meth\u006fd":"ping"}"#));
}

/// `E_BAD_ARG`, and the same connection answers the next ping.
#[track_caller]
fn malformed(bench: &Bench, line: &[u8]) {
    let mut conn = bench.connect();
    for _ in 0..2 {
        conn.send(line).unwrap();
        conn.send(b"\n").unwrap();
        let reply = conn.reply();
        refusal(&reply, &[BAD_ARG]);
        assert!(reply.get("id").is_none_or(Value::is_null), "an id from nowhere: {reply}");
        conn.ping();
    }
}

fn text(bench: &Bench) {
    malformed(bench, b"hello");
}

fn empty_array(bench: &Bench) {
    malformed(bench, b"[]");
}

fn json_string(bench: &Bench) {
    malformed(bench, b"\"x\"");
}

fn json_null(bench: &Bench) {
    malformed(bench, b"null");
}

fn json_number(bench: &Bench) {
    malformed(bench, b"5");
}

fn truncated_object(bench: &Bench) {
    malformed(bench, br#"{"method":"ping","params":{"#);
}

fn trailing_garbage(bench: &Bench) {
    malformed(bench, br#"{"method":"ping"} x"#);
}

fn two_objects_on_a_line(bench: &Bench) {
    malformed(bench, br#"{"method":"ping"}{"method":"ping"}"#);
}

fn bad_utf8(bench: &Bench) {
    malformed(bench, b"{\"method\":\"ping\",\"x\":\"\xff\xfe\"}");
}

fn nan(bench: &Bench) {
    malformed(bench, br#"{"method":"ping","params":{"x":NaN}}"#);
}

fn single_quotes(bench: &Bench) {
    malformed(bench, b"{'method':'ping'}");
}

fn raw_control_character(bench: &Bench) {
    malformed(bench, b"{\"method\":\"ping\",\"x\":\"a\x01b\"}");
}

fn method_missing_or_no_string(bench: &Bench) {
    let mut conn = bench.connect();
    for request in [
        json!({"id": "m-1", "params": {}}),
        json!({"id": "m-1", "method": 5}),
        json!({"id": "m-1", "method": null}),
        json!({"id": "m-1", "method": ["ping"]}),
    ] {
        let reply = conn.ask(&request);
        refusal(&reply, &[BAD_ARG]);
        assert_eq!(reply["id"], "m-1");
    }
}

fn method_empty(bench: &Bench) {
    let reply = bench.connect().ask(&json!({"id": "e", "method": ""}));
    refusal(&reply, &[BAD_ARG, UNSUPPORTED_METHOD]);
    assert_eq!(reply["id"], "e");
}

fn method_unknown(bench: &Bench) {
    let mut conn = bench.connect();
    for params in [json!({}), json!({"appId": "bridge"}), json!({"appId": "nobody"})] {
        let reply = conn.request("no.such", params);
        assert_eq!(refusal(&reply, &[UNSUPPORTED_METHOD])["details"]["method"], "no.such");
    }
}

fn method_is_exact(bench: &Bench) {
    let mut conn = bench.connect();
    for method in ["PING", " ping", "ping ", "Ping", "status.Get"] {
        let reply = conn.request(method, json!({"appId": "bridge"}));
        assert_eq!(refusal(&reply, &[UNSUPPORTED_METHOD])["details"]["method"], method);
    }
}

fn params_no_object(bench: &Bench) {
    let mut conn = bench.connect();
    for method in ["ping", "status.get", "no.such"] {
        for params in [json!([]), json!("x"), json!(1), json!(null), json!(true)] {
            refusal(&conn.request(method, params), &[BAD_ARG]);
        }
    }
}

fn app_id_missing(bench: &Bench) {
    let mut conn = bench.connect();
    for (method, params) in app_methods() {
        for app in [None, Some(json!("")), Some(json!(5)), Some(json!(null)), Some(json!(["bridge"]))] {
            let mut params = params.clone();
            if let Some(app) = app {
                params["appId"] = app;
            }
            bad_param(&conn.request(method, params), "appId");
        }
        bad_param(&conn.ask(&json!({"id": "t", "method": method})), "appId");
    }
}

fn app_unknown(bench: &Bench) {
    let mut conn = bench.connect();
    for (method, mut params) in app_methods() {
        params["appId"] = json!("no-such-app");
        let reply = conn.request(method, params);
        assert_eq!(refusal(&reply, &[UNSUPPORTED_APP])["details"]["appId"], "no-such-app", "{method}");
    }
}

fn params_before_app(bench: &Bench) {
    let reply = bench.connect().request("config.set", json!({"appId": "no-such-app", "value": "sim"}));
    bad_param(&reply, "key");
}

fn app_id_is_exact(bench: &Bench) {
    let mut conn = bench.connect();
    for app in ["BRIDGE", "Bridge", " bridge", "bridge ", "40318 ", "PLC-Simulator", "../bridge"] {
        for (method, mut params) in app_methods() {
            params["appId"] = json!(app);
            refusal(&conn.request(method, params), &[UNSUPPORTED_APP]);
        }
    }
}

fn legacy_methods(bench: &Bench) {
    let mut conn = bench.connect();
    let mut same = |old: &str, new: &str| {
        let params = json!({"appId": "bridge"});
        let (old, new) = (conn.call(old, params.clone()), conn.call(new, params));
        assert_eq!(old.keys().collect::<Vec<_>>(), new.keys().collect::<Vec<_>>());
        assert_eq!(old.get("appId"), new.get("appId"));
    };
    same("status", "status.get");
    same("config.show", "config.get");
    same("actions.list", "action.list");
    let reply = conn.request("status", json!({"appId": "no-such-app"}));
    refusal(&reply, &[UNSUPPORTED_APP]);
    // action.run is action.invoke and action.job.get in one: the answer is the record of the job, over.
    let run = json!({"appId": "bridge", "actionName": "run_stop", "args": {}});
    let record = conn.call("action.run", run);
    finished_record(&record);
    assert_eq!(record["state"], "succeeded", "{record:?}");
    timestamp(&record["finishedAt"]);
}

fn interface_version(bench: &Bench) {
    let mut conn = bench.connect();
    is_pong(&conn.ask(&json!({"id": "1", "method": "ping", "interfaceVersion": 1})));
    let reply = conn.ask(&json!({"id": "2", "method": "ping", "interfaceVersion": 2}));
    refusal(&reply, &[BAD_ARG]);
    assert_eq!(reply["id"], "2");
    for (app, _) in APPS {
        let request = json!({"method": "status.get", "interfaceVersion": 1, "params": {"appId": app}});
        response(&conn.ask(&request));
    }
}
