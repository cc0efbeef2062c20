//! Cases 59 to 64: job ids, many jobs, failures, time limits, and who waits for whom.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use hilrig_tests::{
    ACTION_FAILED, ACTION_TIMEOUT, Conn, NOT_FOUND, Tarpit, bad_param, finished_record, refusal, response,
};
use serde_json::json;

use crate::{Bench, Binding, cases};

cases! {
    59 ALL job_unknown;
    60 ALL job_id_missing;
    61 ALL fifty_invokes_at_once;
    62 ALL run_start_with_an_absent_port;
    63 ALL timeout_stops_the_work;
    64 ALL ping_during_a_long_action;
}

fn job_unknown(bench: &Bench) {
    let mut conn = bench.connect();
    let other = conn.invoke("40318", "run_stop", json!({}));
    conn.end_of_job("40318", &other);
    let planted =
        json!({"jobId": "planted", "state": "succeeded", "stdout": "read from the disk"}).to_string();
    std::fs::write(bench.sandbox.root.join("planted"), &planted).unwrap();
    std::fs::write(bench.sandbox.root.join("planted.json"), &planted).unwrap();
    let absolute = bench.sandbox.root.join("planted.json").display().to_string();
    let ids = [
        "job-00000000000000000000000000000000",
        &other,
        "../planted",
        "../../planted",
        "state/../../planted.json",
        &absolute,
        "..",
        "/",
        "job-*",
        "job-\u{0}",
        "x",
    ];
    for id in ids {
        for method in ["action.job.get", "action.job.cancel"] {
            let reply = conn.request(method, json!({"appId": "bridge", "jobId": id}));
            refusal(&reply, &[NOT_FOUND]);
            assert!(!reply.to_string().contains("read from the disk"));
        }
    }
    let long = "x".repeat(100_000);
    let reply = conn.request("action.job.get", json!({"appId": "bridge", "jobId": long}));
    refusal(&reply, &[NOT_FOUND]);
}

fn job_id_missing(bench: &Bench) {
    let mut conn = bench.connect();
    bad_param(&conn.request("action.job.get", json!({"appId": "bridge"})), "jobId");
    for id in [json!(5), json!(null), json!(""), json!({})] {
        bad_param(&conn.request("action.job.get", json!({"appId": "bridge", "jobId": id})), "jobId");
    }
}

fn fifty_invokes_at_once(bench: &Bench) {
    let mut conn = bench.connect();
    let params = json!({"appId": "bridge", "actionName": "port_list", "args": {}});
    let request = json!({"method": "action.invoke", "params": params}).to_string();
    let mut ids = HashSet::new();
    if bench.binding == Binding::Stdio {
        conn.send(format!("{request}\n").repeat(50).as_bytes()).unwrap();
        ids.extend((0..50).map(|_| response(&conn.reply())["jobId"].as_str().unwrap().to_owned()));
    } else {
        let mut conns: Vec<Conn> = (0..50).map(|_| bench.connect()).collect();
        conns.iter_mut().for_each(|c| c.send(format!("{request}\n").as_bytes()).unwrap());
        ids.extend(conns.iter_mut().map(|c| response(&c.reply())["jobId"].as_str().unwrap().to_owned()));
    }
    assert_eq!(ids.len(), 50, "distinct ids");
    for id in &ids {
        assert_eq!(conn.end_of_job("bridge", id)["state"], "succeeded");
    }
    let listed = conn.call("action.job.list", json!({"appId": "bridge"}));
    let listed: HashSet<String> = listed["jobs"]
        .as_array()
        .expect("jobs is a list")
        .iter()
        .map(|job| job["jobId"].as_str().expect("jobId").to_owned())
        .collect();
    assert!(ids.is_subset(&listed));
}

fn run_start_with_an_absent_port(bench: &Bench) {
    let mut conn = bench.connect();
    for (app, key) in [("bridge", "far.com"), ("plc-simulator", "port")] {
        let port = "/dev/hilrig-absent-42";
        conn.set(app, "profile", "lab");
        conn.set(app, key, port);
        let record = conn.try_act(app, "run_start", json!({}));
        assert_eq!(record["state"], "failed", "{record:?}");
        assert_eq!(record["error"]["code"], ACTION_FAILED);
        let why = record["error"]["message"].as_str().unwrap();
        assert!(why.contains(port), "names the port: {why}");
        assert_eq!(record["stderr"].as_str().unwrap().lines().last(), Some(why));
        let status = conn.status(app);
        assert_eq!((&status["running"], &status["pid"]), (&json!(false), &json!(null)));
        assert_eq!(status["bootId"], "");
    }
    // The near port had been opened by then.
    let links: Vec<_> = bench.sandbox.runtime_files().into_iter().filter(|p| p.is_symlink()).collect();
    assert!(links.is_empty(), "left behind: {links:?}");
}

fn timeout_stops_the_work(bench: &Bench) {
    let mut conn = bench.connect();
    let tarpit = Tarpit::new();
    let before = conn.call("config.get", json!({"appId": "bridge"}))["entries"].clone();
    conn.set("bridge", "far.com", tarpit.url.clone());
    let params = json!({"appId": "bridge", "actionName": "run_start", "args": {}, "timeoutSeconds": 0.5});
    let began = Instant::now();
    let job = conn.invoke_with(params);
    let record = conn.end_of_job("bridge", &job);
    assert_eq!((&record["state"], &record["error"]["code"]), (&json!("timeout"), &json!(ACTION_TIMEOUT)));
    assert!(began.elapsed() >= Duration::from_millis(400), "timed out before its time");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(conn.status("bridge")["running"], json!(false));
    let links: Vec<_> = bench.sandbox.runtime_files().into_iter().filter(|p| p.is_symlink()).collect();
    assert!(links.is_empty(), "left behind: {links:?}");
    // Its resources are free: the same ports open at once.
    let far = before.as_array().unwrap().iter().find(|e| e["key"] == "far.com").unwrap()["value"].clone();
    conn.set("bridge", "far.com", far);
    conn.act("bridge", "run_start", json!({}));
    // An action that would go on for long, with the time limit as a number and as text.
    for limit in [json!(0.5), json!("0.5")] {
        let args = json!({"durationSeconds": 600});
        let params = json!({"appId": "bridge", "actionName": "soak", "args": args, "timeoutSeconds": limit});
        let job = conn.invoke_with(params);
        let record = conn.end_of_job("bridge", &job);
        assert_eq!((&record["state"], &record["error"]["code"]), (&json!("timeout"), &json!(ACTION_TIMEOUT)));
    }
    for limit in [json!(0), json!(-1), json!("soon"), json!([])] {
        let params = json!({"appId": "bridge", "actionName": "port_list", "timeoutSeconds": limit});
        bad_param(&conn.request("action.invoke", params), "timeoutSeconds");
    }
    assert_eq!(conn.status("bridge")["running"], json!(true));
}

fn ping_during_a_long_action(bench: &Bench) {
    let mut conn = bench.connect();
    let mut other = bench.connect();
    conn.act("bridge", "run_start", json!({}));
    let job = conn.begin("bridge", "soak", json!({"durationSeconds": 10}));
    for conn in [&mut conn, &mut other] {
        let mut times: Vec<Duration> = (0..20)
            .map(|n| {
                let asked = Instant::now();
                if n % 2 == 0 {
                    conn.ping()
                } else {
                    drop(conn.status("bridge"))
                }
                asked.elapsed()
            })
            .collect();
        times.sort_unstable();
        // The median: another program on the machine may hold up one of them, but not ten.
        assert!(times[10] < Duration::from_millis(100), "{times:?}");
    }
    assert_eq!(conn.job("bridge", &job)["state"], "running", "the action was to outlast the pings");
    // An action that excludes another fails at once and says which job is in its way.
    conn.call("action.job.cancel", json!({"appId": "bridge", "jobId": job}));
    let record = conn.end_of_job("bridge", &job);
    assert_eq!(record["state"], "canceled");
    finished_record(&record);
    conn.act("bridge", "run_stop", json!({}));
    let tarpit = Tarpit::new();
    conn.set("bridge", "far.com", tarpit.url.clone());
    let first = conn.invoke("bridge", "run_start", json!({}));
    let reply = other.request("action.invoke", json!({"appId": "bridge", "actionName": "run_start"}));
    let message = if reply["ok"] == true {
        let id = reply["response"]["jobId"].as_str().unwrap();
        other.end_of_job("bridge", id)["error"]["message"].clone()
    } else {
        refusal(&reply, &[ACTION_FAILED])["message"].clone()
    };
    assert!(message.as_str().unwrap().contains(&format!("busy: {first}")), "{message}");
    // run_stop takes the place of a start that hangs.
    conn.act("bridge", "run_stop", json!({}));
    assert_eq!(conn.end_of_job("bridge", &first)["state"], "canceled");
}
