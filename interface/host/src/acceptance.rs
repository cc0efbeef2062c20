//! The conformance list of the contract, as far as it holds below the bindings: envelope, methods and config. Each test
//! names its cases.

use std::sync::atomic::Ordering;

use hilrig_contract::{ErrorCode, JobState, MAX_DEPTH};
use serde_json::{Value, json};

use crate::testing::{Bench, code_of, invoke, set};

/// The methods of one app, with their other parameters.
fn app_methods() -> [(&'static str, Value); 6] {
    [
        ("status.get", json!({})),
        ("config.get", json!({})),
        ("config.set", json!({"key": "profile", "value": "sim"})),
        ("action.list", json!({})),
        ("action.invoke", json!({"actionName": "echo"})),
        ("action.job.get", json!({"jobId": "job-1"})),
    ]
}

fn with_app(params: &Value, app: Value) -> Value {
    let mut params = params.clone();
    params["appId"] = app;
    params
}

#[tokio::test]
async fn cases_1_to_9_ping_and_ids() {
    let bench = Bench::new();
    let pong = json!({"pong": true, "interfaceName": "generic-process-interface", "interfaceVersion": 1});
    for params in ["", r#","params":{}"#, r#","params":{"x":1,"appId":"nope"}"#, r#","unknown":[]"#] {
        let reply = bench.line(format!(r#"{{"method":"ping"{params}}}"#)).await;
        assert_eq!(reply, json!({"ok": true, "response": pong}), "no id when none came");
    }
    for id in [
        "null",
        "7",
        "7.50",
        "1e2",
        r#""a\"b\\ü😀""#,
        r#""\ud83d\ude00""#,
        r#"{"a":[1]}"#,
        "123456789012345678901",
    ] {
        let line = format!(r#"{{"id":{id},"method":"ping"}}"#);
        let reply = bench.dispatcher.answer(line.as_bytes(), &bench.session).await;
        let reply = String::from_utf8(reply).unwrap();
        assert!(reply.starts_with(&format!(r#"{{"id":{id},"ok":true,"#)), "{reply}");
    }
    for line in [
        "\u{feff}{\"method\":\"ping\"}",
        "  {\"method\":\"ping\"}  \r",
        "{\"method\":\"p\\u0069ng\"}",
        "{\"method\":\"no\",\"method\":\"ping\"}",
        "{\"m\\u0065thod\":\"ping\"}",
    ] {
        assert_eq!(bench.line(line).await["response"], pong, "{line}");
    }
    let reply = bench.line("{\"id\":[1,\r2],\"method\":\"ping\"}").await;
    assert_eq!(reply["id"], json!([1, 2]));
}

#[tokio::test]
async fn cases_10_to_23_malformed_requests() {
    let bench = Bench::new();
    for line in [
        &b"hello"[..],
        b"[]",
        b"\"x\"",
        b"null",
        b"5",
        b"{\"method\":\"ping\"",
        b"{\"method\":\"ping\"} x",
        b"{\"method\":\"ping\"}{\"method\":\"ping\"}",
        b"{\"method\":\"p\xffng\"}",
        b"{\"method\":\"ping\",\"params\":{\"x\":NaN}}",
        b"{'method':'ping'}",
        b"{\"method\":\"pi\x01ng\"}",
        b"{\"method\":\"ping\",}",
    ] {
        let reply = bench.line(line).await;
        assert_eq!(code_of(&reply).0, "E_BAD_ARG", "{}", String::from_utf8_lossy(line));
        assert!(reply.get("id").is_none());
    }
    for line in [r#"{"id":"a"}"#, r#"{"id":"a","method":5}"#, r#"{"id":"a","method":null}"#] {
        let reply = bench.line(line).await;
        assert_eq!((code_of(&reply).0.as_str(), &reply["id"]), ("E_BAD_ARG", &json!("a")));
    }
    assert_eq!(bench.refused("", json!({})).await.0, "E_UNSUPPORTED_METHOD");
}

#[tokio::test]
async fn cases_24_to_30_order_of_checks() {
    let bench = Bench::new();
    for method in ["no.such", "PING", " ping", "config.show ", "interface"] {
        let (code, details) = bench.refused(method, json!({"appId": "bridge"})).await;
        assert_eq!((code.as_str(), details), ("E_UNSUPPORTED_METHOD", json!({"method": method})));
    }
    for params in [json!([]), json!("x"), json!(1), json!(null), json!(true)] {
        assert_eq!(bench.refused("ping", params.clone()).await.0, "E_BAD_ARG", "{params}");
        assert_eq!(bench.refused("no.such", params).await.0, "E_BAD_ARG", "params before the method");
    }
    for (method, params) in app_methods() {
        for given in [params.clone(), with_app(&params, json!("")), with_app(&params, json!(5)), json!({})] {
            let (code, details) = bench.refused(method, given).await;
            assert_eq!((code.as_str(), details), ("E_BAD_ARG", json!({"param": "appId"})), "{method}");
        }
        for app in ["nope", "BRIDGE", "bridge ", "../bridge"] {
            let (code, details) = bench.refused(method, with_app(&params, json!(app))).await;
            assert_eq!((code.as_str(), details), ("E_UNSUPPORTED_APP", json!({"appId": app})), "{method}");
        }
    }
    assert_eq!(bench.refused("config.set", json!({"appId": "nope"})).await.1["param"], "key");
    let reply = bench.ask("status.get", json!({})).await;
    assert_eq!(reply["error"]["message"], "missing required key: params.appId");
}

#[tokio::test]
async fn case_31_status() {
    let bench = Bench::new();
    for (app, role) in [("bridge", None), ("plc-simulator", Some("plc-simulator"))] {
        let status = bench.ok("status.get", json!({"appId": app})).await;
        assert_eq!(status["interfaceName"], "generic-process-interface");
        assert_eq!((&status["interfaceVersion"], &status["appId"]), (&json!(1), &json!(app)));
        assert_eq!((&status["running"], &status["pid"]), (&json!(false), &Value::Null));
        assert_eq!((&status["hostRunning"], &status["hostPid"]), (&json!(true), &json!(std::process::id())));
        assert_eq!((&status["bootId"], &status["error"]), (&json!(""), &json!("")));
        assert_eq!((&status["state"], &status["bytes"]), (&json!("x"), &json!(7)));
        assert_eq!(status.get("roleAppId").and_then(Value::as_str), role);
        assert_eq!(status.get("processModel").is_some(), role.is_some());
        let log = status["logPath"].as_str().unwrap();
        assert!(log.ends_with(&format!("/logs/{app}.log")), "{log}");
        assert!(status["configPath"].as_str().unwrap().ends_with(&format!("/config/{app}.toml")));
    }
    bench.apps[0].panic_in_status.store(true, Ordering::Relaxed);
    assert_eq!(bench.refused("status.get", json!({"appId": "bridge"})).await.0, "E_INTERNAL");
    bench.ok("ping", json!({})).await;
}

#[tokio::test]
async fn case_32_config_view() {
    let bench = Bench::new();
    let view = bench.ok("config.get", json!({"appId": "bridge"})).await;
    assert_eq!((&view["valid"], &view["errors"]), (&json!(true), &json!([])));
    assert_eq!(view["repoRoot"], bench.root.dir().to_str().unwrap());
    assert_eq!(view["configTree"]["serial"]["baud"], 9600);
    let paths: Vec<&str> =
        view["paths"].as_array().unwrap().iter().map(|p| p["key"].as_str().unwrap()).collect();
    assert_eq!(paths, ["configPath", "logPath"]);
    let mut keys = vec![];
    for entry in view["entries"].as_array().unwrap() {
        let key = entry["key"].as_str().unwrap();
        assert!(!keys.contains(&key) && !paths.contains(&key));
        keys.push(key);
        assert!(!entry["value"].is_object() && !entry["value"].is_array());
        assert_eq!(entry["fileKey"], "configPath");
        if let Some(allowed) = entry.get("allowed") {
            assert!(allowed.as_array().unwrap().contains(&entry["value"]));
        }
        if let Some(constraint) = entry.get("constraint") {
            let constraint = constraint.as_str().unwrap();
            assert!(constraint.starts_with("int ") || constraint.starts_with('^'));
        }
    }
    assert_eq!(keys, ["profile", "transportMode", "port", "serial.baud", "gap", "on", "fixed"]);
}

async fn value_of(bench: &Bench, key: &str) -> Value {
    let view = bench.ok("config.get", json!({"appId": "bridge"})).await;
    let entries = view["entries"].as_array().unwrap();
    entries.iter().find(|e| e["key"] == key).unwrap()["value"].clone()
}

#[tokio::test]
async fn cases_33_to_42_config_set() {
    let bench = Bench::new();
    let done = bench.ok("config.set", set("transportMode", "Tcp")).await;
    assert_eq!((&done["changed"], &done["restartRequired"]), (&json!(true), &json!(false)));
    assert_eq!((&done["pidAtSet"], &done["message"]), (&Value::Null, &json!("transportMode is now \"Tcp\"")));
    assert_eq!(
        std::fs::read_to_string(done["filePath"].as_str().unwrap()).unwrap(),
        "transportMode = \"Tcp\"\n"
    );
    assert_eq!(value_of(&bench, "transportMode").await, "Tcp");
    assert_eq!(bench.ok("config.set", set("transportMode", "Tcp")).await["changed"], false);
    for (key, value, code) in [
        ("transportMode", json!("Usb"), "E_CONFIG_INVALID"),
        ("nope", json!("1"), "E_NOT_FOUND"),
        ("port", json!({"a": 1}), "E_CONFIG_INVALID"),
        ("port", json!(["a"]), "E_CONFIG_INVALID"),
        ("port", json!("a\nb"), "E_CONFIG_INVALID"),
        ("port", json!(null), "E_CONFIG_INVALID"),
        ("on", json!("maybe"), "E_CONFIG_INVALID"),
        ("serial.baud", json!("fast"), "E_CONFIG_INVALID"),
        ("serial.baud", json!("49"), "E_CONFIG_INVALID"),
        ("gap", json!("inf"), "E_CONFIG_INVALID"),
        ("fixed", json!("y"), "E_CONFIG_INVALID"),
    ] {
        assert_eq!(bench.refused("config.set", set(key, value.clone())).await.0, code, "{key} = {value}");
    }
    assert_eq!(value_of(&bench, "transportMode").await, "Tcp");
    for params in [json!({"appId": "bridge", "value": 1}), json!({"appId": "bridge", "key": 5, "value": 1})] {
        assert_eq!(bench.refused("config.set", params).await.1["param"], "key");
    }
    let no_value = json!({"appId": "bridge", "key": "port"});
    assert_eq!(bench.refused("config.set", no_value).await.1["param"], "value");
    for (key, text, value) in [
        ("on", "false", json!(false)),
        ("serial.baud", "19200", json!(19200)),
        ("gap", "0.5", json!(0.5)),
        ("port", "", json!("")),
        ("port", "C:\\a \"b\" ü", json!("C:\\a \"b\" ü")),
    ] {
        assert_eq!(bench.ok("config.set", set(key, text)).await["changed"], true);
        assert_eq!(value_of(&bench, key).await, value);
    }
}

#[tokio::test]
async fn cases_43_and_44_config_of_a_running_app_and_broken_file() {
    let bench = Bench::new();
    bench.run("run_start", json!({})).await;
    let done = bench.ok("config.set", set("profile", "lab")).await;
    assert_eq!((&done["restartRequired"], &done["pidAtSet"]), (&json!(true), &json!(std::process::id())));
    assert_eq!(bench.ok("config.set", set("profile", "lab")).await["restartRequired"], false);
    let file = bench.root.config_file("bridge");
    std::fs::write(&file, "profile = 'lab'\nport = \n").unwrap();
    let view = bench.ok("config.get", json!({"appId": "bridge"})).await;
    assert_eq!(view["valid"], false);
    let error = view["errors"][0].as_str().unwrap();
    assert!(error.starts_with("config/bridge.toml:2:"), "{error}");
    assert_eq!(bench.refused("config.set", set("profile", "sim")).await.0, "E_CONFIG_INVALID");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "profile = 'lab'\nport = \n");
    let record = bench.run("run_start", json!({})).await;
    assert_eq!(record.error.unwrap().code, ErrorCode::ConfigInvalid);
    assert_eq!(
        bench.run("run_stop", json!({})).await.state,
        JobState::Succeeded,
        "a stop works all the same"
    );
}

#[tokio::test]
async fn case_45_action_list() {
    let bench = Bench::new();
    let list = bench.ok("action.list", json!({"appId": "bridge"})).await;
    let names: Vec<&str> =
        list["actions"].as_array().unwrap().iter().map(|a| a["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"run_start") && names.contains(&"run_stop"));
    assert!(!list.to_string().contains("\"cmd\""));
}

#[tokio::test]
async fn cases_65_and_66_aliases_and_versions() {
    let bench = Bench::new();
    let app = json!({"appId": "bridge"});
    for (old, new) in
        [("status", "status.get"), ("config.show", "config.get"), ("actions.list", "action.list")]
    {
        assert_eq!(bench.ok(old, app.clone()).await, bench.ok(new, app.clone()).await);
    }
    let record = bench.ok("action.run", invoke("sleep", json!({"seconds": 0.05}))).await;
    assert_eq!((&record["state"], &record["actionName"]), (&json!("succeeded"), &json!("sleep")));
    for version in ["1", "1.0", "\"1\"", "\"1.4\"", "null"] {
        let reply = bench.line(format!(r#"{{"method":"ping","interfaceVersion":{version}}}"#)).await;
        assert_eq!(reply["ok"], true, "{version}");
    }
    for version in ["2", "0", "\"2.0\"", "true", "\"\"", "-1", "1e300", "[]"] {
        let reply = bench.line(format!(r#"{{"id":1,"method":"ping","interfaceVersion":{version}}}"#)).await;
        assert_eq!(code_of(&reply).1["reason"], "interfaceVersion", "{version}");
        assert_eq!(reply["id"], 1);
    }
}

#[tokio::test]
async fn case_78_nesting() {
    let bench = Bench::new();
    let nested = |depth: usize| {
        format!(r#"{{"method":"ping","x":{}{}}}"#, "[".repeat(depth - 1), "]".repeat(depth - 1))
    };
    assert_eq!(bench.line(nested(MAX_DEPTH)).await["ok"], true);
    for depth in [MAX_DEPTH + 1, 100_000] {
        let (code, details) = code_of(&bench.line(nested(depth)).await);
        assert_eq!((code.as_str(), &details["reason"]), ("E_BAD_ARG", &json!("depth")));
    }
    let deep_params =
        format!(r#"{{"method":"ping","params":{{"x":{}{}}}}}"#, "[".repeat(126), "]".repeat(126));
    assert_eq!(bench.line(deep_params).await["ok"], true);
    let brackets_in_text = format!(r#"{{"method":"ping","x":"\"{}"}}"#, "[".repeat(500));
    assert_eq!(bench.line(brackets_in_text).await["ok"], true);
    let unclosed = "[".repeat(500_000);
    assert_eq!(code_of(&bench.line(unclosed).await).0, "E_BAD_ARG");
}

proptest::proptest! {
    /// Any bytes, and anything near a request: one line comes back, and it is a reply.
    #[test]
    fn whatever_comes_is_answered_by_one_reply(
        method in "(ping|status.get|config.get|action.list|events.subscribe|log.tail|[a-z.]{0,9})",
        bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..80),
        params in json_value(),
        cut in 0usize..200,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let bench = Bench::new();
            bench.line(&bytes).await;
            let id = params.to_string();
            let mut line = format!(r#"{{"id":{id},"method":{},"params":{id}}}"#, Value::from(method)).into_bytes();
            let reply = String::from_utf8(bench.dispatcher.answer(&line, &bench.session).await).unwrap();
            assert!(reply.starts_with(&format!(r#"{{"id":{id},"ok":"#)), "{reply}");
            line.truncate(cut);
            bench.line(&line).await;
            let spliced = line.len() / 2;
            line.splice(spliced..spliced, bytes);
            bench.line(&line).await;
        });
    }
}

fn json_value() -> impl proptest::strategy::Strategy<Value = Value> {
    use proptest::prelude::*;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        Just(json!("bridge")),
    ];
    let key = "(appId|topics|lines|cursor|args|value|.{0,3})";
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key, inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

#[tokio::test]
async fn additions() {
    let bench = Bench::new();
    let apps = bench.ok("app.list", json!({})).await;
    assert_eq!(apps["apps"][1]["appId"], "plc-simulator");
    assert_eq!(apps["apps"][0]["kind"], "built-in");
    let description = bench.ok("interface.describe", json!({})).await;
    assert_eq!(description["serverName"], "hilrig");
    let again = bench.ok("interface.describe", json!({})).await;
    assert_eq!(again["instanceId"], description["instanceId"]);
    for _ in 0..2 {
        bench.run("run_start", json!({})).await;
    }
    let tail = bench.ok("log.tail", json!({"appId": "bridge", "lines": "5"})).await;
    let lines: Vec<&str> = tail["lines"].as_array().unwrap().iter().map(|l| l.as_str().unwrap()).collect();
    assert_eq!(lines.len(), 3, "what an action says is in the log, and its end");
    assert!(lines[1].ends_with("INFO  run_start: already running"), "{}", lines[1]);
    assert!(lines[2].starts_with("20") && lines[2].ends_with("): done"), "{}", lines[2]);
    let cursor = tail["cursor"].clone();
    let tail = bench.ok("log.tail", json!({"appId": "bridge", "cursor": cursor})).await;
    assert_eq!(tail["lines"], json!([]));
    for (key, value) in
        [("lines", json!(0)), ("lines", json!("x")), ("cursor", json!("x")), ("cursor", json!(7))]
    {
        let mut params = json!({"appId": "bridge"});
        params[key] = value;
        assert_eq!(bench.refused("log.tail", params).await.1["param"], key);
    }
}
