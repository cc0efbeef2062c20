use crate::testing::{Bench, try_model};

const UNIT: &str = "[unit.u]\nid = 3\nholding = { 0 = [1, 2, 3] }\npoint.p = { at = \"holding:0\" }\n";

/// What is wrong with a table.
fn wrong(table: &str) -> String {
    let text = format!("{UNIT}[telegram.t]\nport = \"a\"\n{table}\n");
    match try_model(&text) {
        Ok(_) => String::new(),
        Err(e) => e.lines(),
    }
}

#[test]
fn mistakes_are_told_with_what_to_do() {
    let frame = "framing = { terminator = \"\\r\" }\n";
    let one = "send.x.fields = [{ text = \"x\" }]\n";
    for (table, part) in [
        ("", "this has no framing: say how telegrams begin"),
        (frame, "neither sends nor understands anything"),
        (
            "profile = \"nmea\"\nframing = { silence = \"5ms\" }\nsend.x.fields = [{ text = \"x\" }]",
            "the profile says it",
        ),
        (&format!("{frame}send.x.fields = [{{ text = \"x\", hex = \"01\" }}]"), "exactly one of text, hex"),
        (
            &format!("{frame}send.x.fields = [{{ point = \"q\", as = {{ hex = {{ digits = 4 }} }} }}]"),
            "there is no such point: known points: u.p",
        ),
        (&format!("{frame}send.x.fields = [{{ point = \"p\" }}]"), "say how the value is written"),
        (&format!("{frame}send.x.fields = [{{ text = \"\u{20ac}\" }}]"), "a character that is no byte"),
        (&format!("{frame}send.x.fields = [{{ hex = \"0\" }}]"), "two hexadecimal digits each"),
        (
            &format!("{frame}send.x.fields = [{{ text = \"x\", as = {{ hex = {{ digits = 4 }} }} }}]"),
            "bytes already",
        ),
        (&format!("{frame}send.x.fields = [{{ value = 1, as = {{ uint = {{ bytes = 9 }} }} }}]"), "1 to 8"),
        (
            &format!("{frame}send.x.fields = [{{ value = 1, as = {{ float = {{ bytes = 2 }} }} }}]"),
            "4 or 8 bytes",
        ),
        (
            &format!(
                "{frame}send.x.fields = [{{ value = 1, as = {{ decimal = {{ width = 4, pad = \"7\" }} }} }}]"
            ),
            "change the number",
        ),
        (&format!("{frame}send.x.fields = [{{ skip = 1024 }}]"), "1025 bytes; 1024 are the most"),
        (
            &format!("{frame}{one}receive.y = {{ fields = [{{ text = \"a\" }}], reply = \"z\" }}"),
            "known telegrams to send: x",
        ),
        (
            &format!(
                "{frame}{one}receive.y = {{ fields = [{{ time = \"ms\", as = {{ hex = {{ digits = 4 }} }} }}] }}"
            ),
            "cannot be received",
        ),
        (
            &format!("{frame}{one}receive.y = {{ fields = [{{ text = \"a\" }}], delay = \"5ms\" }}"),
            "a delay without an answer",
        ),
        (
            &format!(
                "{frame}{one}receive.y.fields = [{{ point = \"p\", as = {{ string = {{}} }} }}, {{ skip = 1 }}]"
            ),
            "where this text ends",
        ),
        (&format!("{frame}send.x = {{ every = \"1us\", fields = [{{ text = \"x\" }}] }}"), "100us or more"),
        (&format!("{frame}send.x = {{ phase = \"1s\", fields = [{{ text = \"x\" }}] }}"), "add `every`"),
        (
            &format!("framing = {{ delimited = {{ start = \"~\", end = \"~\" }} }}\n{one}"),
            "cannot end a telegram",
        ),
        (
            &format!("framing = {{ fixed = {{ length = 4 }} }}\n{one}"),
            "it has 1 bytes with all that framing adds, not 4",
        ),
        (&format!("framing = {{ dle = {{ start = \"\\u0010\" }} }}\n{one}"), "three different characters"),
        (&format!("framing = {{ length = {{ offset = 3, bytes = 1, plus = 0 }} }}\n{one}"), "behind byte 3"),
        (&format!("{frame}checksum = {{ of = \"xor\", with_end = true }}\n{one}"), "add `after_end = true`"),
        (
            &format!("{frame}checksum = {{ of = {{ crc = {{ width = 8, poly = 0x107 }} }} }}\n{one}"),
            "a polynomial of this width",
        ),
        (&format!("framing = \"ft12\"\nchecksum = {{ of = \"xor\" }}\n{one}"), "a checksum of its own"),
        ("profile = { hostlink = { node = 32, area = { DM = { unit = \"u\" } } } }", "0 to 31"),
        ("profile = { hostlink = { node = 1, area = { XX = { unit = \"u\" } } } }", "known areas: CIO, LR"),
        ("profile = { hostlink = { node = 1, area = {} } }", "has no memory"),
        (
            "profile = { hostlink = { node = 1, area = { DM = { unit = \"v\" } } } }\nsend.x.fields = []",
            "known units: u",
        ),
        (
            "profile = { hostlink = { node = 1, area = { DM = { unit = \"u\" } } } }\nsend.x.fields = []",
            "answers by itself",
        ),
        (
            "profile = { ft12_mbus = { address = 1, id = \"1\", manufacturer = \"ab\", medium = 7, record = [{ header = \"0D 78\", point = \"p\" }] } }",
            "8 decimal digits",
        ),
        (
            "profile = { ft12_mbus = { address = 1, id = \"12345678\", manufacturer = \"ABC\", medium = 7, record = [{ header = \"0D 78\", point = \"p\" }] } }",
            "such a value cannot be made",
        ),
        ("profile = { uss = { address = 1, pkw = 2, send = [{ point = \"p\" }] } }", "0, 3 or 4 words"),
        ("profile = { uss = { address = 1, send = [{ point = \"p\" }] } }", "equally long"),
        (&format!("profile = {{ \"3964r\" = {{ qvz = \"0ms\" }} }}\n{one}"), "longer than zero"),
    ] {
        let found = wrong(table);
        assert!(found.contains(part), "{table}\n  {found}");
    }
}

#[test]
fn all_mistakes_are_told_at_once() {
    let found = wrong(
        "framing = { terminator = \"\" }\nsend.x.fields = [{ point = \"q\", as = { decimal = {} } }, {}]",
    );
    assert_eq!(found.lines().count(), 3, "{found}");
}

#[test]
fn units_are_found_by_name_and_by_id() {
    for unit in ["u", "3"] {
        let table = format!(
            "{UNIT}[telegram.t]\nport = \"a\"\nprofile = {{ hostlink = {{ node = 0, area = {{ DM = {{ unit = \"{unit}\" }} }} }} }}\n"
        );
        let mut bench = Bench::new(&table);
        assert_eq!(bench.ask(b"@00RD0000000355*\r"), b"@00RD0000010002000356*\r");
    }
}

#[test]
fn the_profile_of_nmea_is_the_framing_of_all_sentences() {
    let table = format!(
        "{UNIT}[telegram.t]\nport = \"a\"\nprofile = \"nmea\"\n\
         send.x.fields = [{{ text = \"GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,\" }}]\n\
         receive.y = {{ fields = [{{ text = \"PASK,\" }}, {{ point = \"p\", as = {{ decimal = {{}} }} }}], reply = \"x\" }}\n"
    );
    let mut bench = Bench::new(&table);
    let said = bench.ask(b"$PASK,9*1C\r\n");
    assert_eq!(
        said,
        b"$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*47\r\n",
        "{}",
        String::from_utf8_lossy(&said)
    );
}

#[test]
fn what_the_reference_shows_is_right() {
    let reference = include_str!("../TELEGRAMS.md");
    let blocks: Vec<&str> =
        reference.split("```toml\n").skip(1).map(|block| block.split_once("```").unwrap().0).collect();
    let unit = format!("[unit.scale]\nholding = {{ \"20..29\" = 0 }}\n{}", blocks[0]);
    for block in &blocks[1..] {
        if let Err(e) = try_model(&format!("{unit}\n{block}")) {
            panic!("{block}\n{}", e.lines());
        }
    }
    assert_eq!(blocks.len(), 9);
}

#[test]
fn the_schema_is_made() {
    let schema = serde_json::to_string(&schemars::schema_for!(crate::TelegramFile)).unwrap();
    for key in ["melsec_1c", "terminator", "A data record of a meter"] {
        assert!(schema.contains(key), "{key}");
    }
}
