use super::*;

const LOG: &str = r#"{"t":0,"what":"run","log":1,"rig":"r","seed":1,"time":"TIME","steps":1}
{"t":5,"what":"sent","of":"m","role":"master","unit":1,"function":3,"hex":"0103"}
{"t":7,"what":"sent","of":"s","role":"simulator","unit":1,"function":3,"hex":"0103aa"}
{"t":9,"what":"result","of":"m.x","outcome":"ok","attempts":1,"values":[1,2]}
{"t":15,"what":"result","of":"m.x","outcome":"ok","attempts":1,"values":[1,2]}
{"t":1000000,"what":"result","of":"m.x","outcome":"ok","attempts":2,"values":[1,3]}
{"t":2000000,"what":"verdict","step":1,"verdict":"pass","got":"3"}
{"t":2000001,"what":"end","verdict":"pass"}
"#;

fn golden(time: &str, tolerance: Option<Duration>) -> Golden {
    Golden::parse("g", LOG.replace("TIME", time), tolerance).unwrap()
}

#[test]
fn in_virtual_time_every_line_counts() {
    let log = LOG.replace("TIME", "virtual");
    golden("virtual", None).compare(&log).unwrap();
    let why = golden("virtual", None).compare(&log.replace("\"t\":15", "\"t\":16")).unwrap_err();
    assert!(why.starts_with("the run is not as in g: line 5 differs\n    {\"t\":5,"), "{why}");
    assert!(why.contains("\n  - {\"t\":15,") && why.contains("\n  + {\"t\":16,"), "{why}");
    let cut = log.rsplit_once("{").unwrap().0;
    let why = golden("virtual", None).compare(cut).unwrap_err();
    assert!(why.ends_with("+ the end of the log"), "{why}");
}

#[test]
fn in_real_time_order_and_content_count() {
    let log = LOG.replace("TIME", "real");
    let same = |log: &str| golden("virtual", None).compare(log);
    same(&log).unwrap();
    // Other moments, another number of polls, another second try.
    let result =
        "{\"t\":17,\"what\":\"result\",\"of\":\"m.x\",\"outcome\":\"ok\",\"attempts\":1,\"values\":[1,2]}\n";
    let more =
        log.replace("\"t\":15", "\"t\":16").replace("{\"t\":1000000", &format!("{result}{{\"t\":1000000"));
    same(&more.replace("\"attempts\":2", "\"attempts\":1")).unwrap();
    // One new thing at the end, but no more than one.
    let late = |value: u32| result.replace("1,2", &value.to_string());
    same(&(log.clone() + &late(4))).unwrap();
    assert!(same(&(log.clone() + &late(4) + &late(5))).is_err());

    for (from, to, what) in [
        ("[1,3]", "[1,4]", "poll m.x differs\n    outcome \"ok\", values [1,2] (at 9 ns"),
        ("0103aa", "0103ab", "what s sends to 0103 differs"),
        ("\"0103\"", "\"0104\"", "the request 0103 of m differs"),
        ("step\":1,\"verdict\":\"pass", "step\":1,\"verdict\":\"fail", "a step differs"),
        ("\"seed\":1", "\"seed\":2", "the run differs"),
    ] {
        let why = same(&log.replacen(from, to, 1)).unwrap_err();
        let what = what.split(" (at").next().unwrap();
        assert!(why.contains(what), "{from} {to}: {why}");
    }
}

#[test]
fn what_one_line_is_asked_says_nothing_of_another() {
    let asked = |line: u32, t: u32, hex: &str| {
        format!(
            "{{\"t\":{t},\"what\":\"sent\",\"of\":\"m{line}\",\"role\":\"master\",\"line\":{line},\"unit\":1,\"function\":3,\"hex\":\"{hex}\"}}\n"
        )
    };
    let told = |line: u32, t: u32, hex: &str| {
        format!(
            "{{\"t\":{t},\"what\":\"sent\",\"of\":\"s\",\"role\":\"simulator\",\"line\":{line},\"unit\":1,\"function\":3,\"hex\":\"{hex}\"}}\n"
        )
    };
    let (run, _) = LOG.split_once('\n').unwrap();
    let apart = [asked(0, 1, "a0"), told(0, 2, "b0"), asked(1, 3, "a1"), told(1, 4, "b1")];
    let mixed = [asked(0, 1, "a0"), asked(1, 2, "a1"), told(0, 3, "b0"), told(1, 4, "b1")];
    let log = |lines: [String; 4]| format!("{run}\n{}", lines.concat());
    let golden = Golden::parse("g", log(apart).replace("TIME", "virtual"), None).unwrap();
    golden.compare(&log(mixed.clone()).replace("TIME", "real")).unwrap();
    let why = golden.compare(&log(mixed).replace("TIME", "real").replace("b1", "b2")).unwrap_err();
    assert!(why.contains("what s sends to a1 differs"), "{why}");
}

#[test]
fn times_count_as_far_as_they_are_asked_for() {
    let log = LOG.replace("TIME", "real").replace("1000000", "1400000");
    golden("virtual", Some(Duration::from_millis(1))).compare(&log).unwrap();
    let why = golden("virtual", Some(Duration::from_micros(300))).compare(&log).unwrap_err();
    assert!(why.contains("poll m.x came 400 us off its time, more than 300 us"), "{why}");
}

#[test]
fn what_is_no_log_is_told() {
    let parse = |text: &str| Golden::parse("g", text.to_owned(), None).unwrap_err().to_string();
    assert!(parse("").starts_with("g: this is no log of a run"));
    assert!(parse("{}\n{").starts_with("g:2: this is no line of a log"));
    assert!(parse("3").contains("it is no object"));
    let missing = Golden::load(Path::new("no/such/file"), None).unwrap_err().to_string();
    assert!(missing.starts_with("cannot read the golden log no/such/file: "), "{missing}");
}
