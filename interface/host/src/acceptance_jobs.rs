//! The conformance list of the contract, as far as it holds below the bindings: runs, arguments, jobs and events. Each
//! test names its cases.

use hilrig_contract::{ErrorCode, JobState};
use serde_json::{Value, json};

use crate::testing::{Bench, invoke, set};

#[tokio::test]
async fn cases_46_to_51_runs() {
    let bench = Bench::new();
    let status = async || bench.ok("status.get", json!({"appId": "bridge"})).await;
    let record = bench.run("run_start", json!({})).await;
    assert_eq!((record.state, record.error), (JobState::Succeeded, None));
    assert_eq!(record.result["running"], true);
    for stamp in [Some(record.accepted_at), record.started_at, record.finished_at] {
        assert!(stamp.is_some_and(|s| s.len() == 20 && s.ends_with('Z')));
    }
    let up = status().await;
    assert_eq!((&up["running"], &up["pid"]), (&json!(true), &json!(std::process::id())));
    let boot = up["bootId"].as_str().unwrap().to_owned();
    assert!(boot.starts_with(&format!("bridge:{}:", std::process::id())));
    assert_eq!(bench.run("run_start", json!({})).await.stdout, "already running\n");
    assert_eq!(status().await["bootId"], boot);
    for _ in 0..2 {
        assert_eq!(bench.run("run_stop", json!({})).await.state, JobState::Succeeded);
        let down = status().await;
        assert_eq!(
            (&down["running"], &down["pid"], &down["bootId"]),
            (&json!(false), &Value::Null, &json!(""))
        );
    }
    bench.run("run_start", json!({})).await;
    assert_ne!(status().await["bootId"], boot);
}

#[tokio::test]
async fn cases_52_to_58_arguments() {
    let bench = Bench::new();
    let no_args = json!({"appId": "bridge", "actionName": "run_stop"});
    bench.ok("action.invoke", no_args).await;
    for args in [json!([]), json!(null), json!("x")] {
        assert_eq!(bench.refused("action.invoke", invoke("run_stop", args)).await.1["param"], "args");
    }
    for name in [json!(5), json!(""), json!(null)] {
        let (code, details) = bench.refused("action.invoke", invoke(name, json!({}))).await;
        assert_eq!((code.as_str(), &details["param"]), ("E_BAD_ARG", &json!("actionName")));
    }
    let (code, details) = bench.refused("action.invoke", invoke("no_such", json!({}))).await;
    assert_eq!((code.as_str(), details), ("E_NOT_FOUND", json!({"actionName": "no_such"})));
    for (args, param) in [
        (json!({}), "count"),
        (json!({"count": ""}), "count"),
        (json!({"count": "many"}), "count"),
        (json!({"count": 11}), "count"),
        (json!({"count": 1, "flag": 5}), "flag"),
        (json!({"count": 1, "other": 5}), "other"),
        (json!({"count": 1, "word": "A B"}), "word"),
    ] {
        let (code, details) = bench.refused("action.invoke", invoke("echo", args)).await;
        assert_eq!((code.as_str(), &details["param"]), ("E_BAD_ARG", &json!(param)));
    }
    for count in [json!(5), json!("5"), json!("5.0"), json!(5.0)] {
        let record = bench.run("echo", json!({"count": count, "flag": "", "text": ""})).await;
        assert_eq!(Value::Object(record.result), json!({"count": 5}));
    }
    let record = bench.run("echo", json!({"count": 1, "flag": "true", "text": "$(id); `id` ../x"})).await;
    assert_eq!(record.result["text"], "$(id); `id` ../x");
    assert_eq!(record.result["flag"], true);
}

#[tokio::test]
async fn cases_59_and_60_job_ids() {
    let bench = Bench::new();
    let id = bench.start("run_stop", json!({}), None).await;
    for (app, id) in [
        ("plc-simulator", id.as_str()),
        ("bridge", "job-00000000000000000000000000000000"),
        ("bridge", "../../etc/passwd"),
        ("bridge", "job-../../../../../../../etc/passwd"),
    ] {
        for method in ["action.job.get", "action.job.cancel"] {
            let (code, details) = bench.refused(method, json!({"appId": app, "jobId": id})).await;
            assert_eq!((code.as_str(), &details["jobId"]), ("E_NOT_FOUND", &json!(id)));
        }
    }
    for id in [json!(null), json!(7), json!("")] {
        let (code, details) = bench.refused("action.job.get", json!({"appId": "bridge", "jobId": id})).await;
        assert_eq!((code.as_str(), &details["param"]), ("E_BAD_ARG", &json!("jobId")));
    }
    let own_id = json!({"appId": "bridge", "actionName": "run_stop", "jobId": "job-1"});
    assert_ne!(bench.ok("action.invoke", own_id).await["jobId"], "job-1", "ids are minted here");
}

#[tokio::test]
async fn case_61_fifty_invokes_at_once() {
    let bench = Bench::new();
    let starts = (0..50).map(|_| bench.start("sleep", json!({"seconds": 0.01}), None));
    let mut ids = vec![];
    for start in starts {
        ids.push(start.await);
    }
    for id in &ids {
        assert_eq!(bench.end_of(id).await.state, JobState::Succeeded);
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 50);
    let list = bench.ok("action.job.list", json!({"appId": "bridge"})).await;
    assert_eq!(list["jobs"].as_array().unwrap().len(), 50);
}

#[tokio::test]
async fn case_62_a_failed_start_names_its_port() {
    let bench = Bench::new();
    bench.ok("config.set", set("port", "absent")).await;
    let record = bench.run("run_start", json!({})).await;
    let error = record.error.unwrap();
    assert_eq!((record.state, error.code), (JobState::Failed, ErrorCode::ActionFailed));
    assert_eq!(error.message, "absent cannot be opened: no such file");
    assert_eq!(record.stderr.lines().last(), Some(error.message.as_str()));
}

#[tokio::test]
async fn cases_63_and_64_a_timeout_stops_the_work_and_nobody_waits_for_it() {
    let bench = Bench::new();
    let id = bench.start("hold", json!({}), Some(0.2)).await;
    assert_eq!(bench.until(&id, |s| s == JobState::Running).await.error, None);
    bench.ok("ping", json!({})).await;
    let record = bench.end_of(&id).await;
    let error = record.error.unwrap();
    assert_eq!((record.state, error.code), (JobState::Timeout, ErrorCode::ActionTimeout));
    assert_eq!(record.stderr, format!("{}\n", error.message));
    assert_eq!(bench.run("run_start", json!({})).await.state, JobState::Succeeded, "its place is free");
}

#[tokio::test]
async fn cases_67_to_69_events() {
    let bench = Bench::new();
    let topics = json!({"topics": ["job.changed", "nope", "log", "job.changed"]});
    assert_eq!(bench.ok("events.subscribe", topics).await["subscribed"], json!(["job.changed", "log"]));
    for topics in [json!("log"), json!({}), json!(null), json!([5])] {
        let (code, details) = bench.refused("events.subscribe", json!({"topics": topics})).await;
        assert_eq!((code.as_str(), &details["param"]), ("E_BAD_ARG", &json!("topics")));
    }
    let other = json!({"topics": ["log"], "appId": "nope"});
    assert_eq!(bench.refused("events.subscribe", other).await.0, "E_UNSUPPORTED_APP");
    let id = bench.start("run_start", json!({}), None).await;
    let subscription = bench.session.subscription().unwrap();
    let mut states = vec![];
    while states.last() != Some(&json!("succeeded")) {
        let mut line = vec![];
        let event = tokio::time::timeout(crate::testing::DEADLINE, subscription.next()).await.unwrap();
        event.write_line(&mut line);
        let event: Value = serde_json::from_slice(&line).unwrap();
        assert!(event.get("id").is_none() && event.get("ok").is_none());
        assert_eq!(event["params"]["appId"], "bridge");
        if event["event"] == "job.changed" {
            assert_eq!(event["params"]["jobId"], id);
            states.push(event["params"]["state"].clone());
        }
    }
    assert_eq!(states, ["queued", "running", "succeeded"]);
    let unsubscribed = bench.ok("events.unsubscribe", json!({})).await["unsubscribed"].clone();
    assert_eq!(unsubscribed.as_array().unwrap().len(), hilrig_contract::Topic::ALL.len());
    bench.run("run_stop", json!({})).await;
    assert!(bench.session.subscription().unwrap().try_next().is_none_or(|e| e.to_event().params.seq < 8));
}
