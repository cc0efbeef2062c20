//! Points from CSV files and back.

use std::path::Path;

use hilrig_points::{Plant, Value};
use proptest::prelude::*;

use crate::{get, ms, number, try_build};

fn import(csv: &str) -> Result<Plant, String> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("points.csv"), csv).unwrap();
    try_build("[unit.u]\nid = 3\ncsv = 'points.csv'\n", dir.path()).map_err(|e| e.lines())
}

#[test]
fn a_file_of_points() {
    let mut plant = import(
        "\u{FEFF}# from the manual\nname,at,type,length,order,scale,offset,unit,min,max,access,on_write,bit,value,expr\r\n\
         level,40001,f32,,CDAB,,,\"m, above \"\"zero\"\"\",0,10,rw,,,1.5,\r\n\n\
         # more\n\
         temp,input:4,i16,,,0.1,-40,C,,,ro,,,20,\n\
         tag,holding:10,string,3,,,,,,,,,,\"a,b\",\n\
         flag,holding:20,,,,,,,,,,,7,true\n\
         sum,holding:21,f64,,,,,,,,,ignore,,,level * 2 + 1\n\
         u.own,coil:1\n\
         v.other,coil:1\n",
    )
    .unwrap();
    for (name, value) in
        [("level", "1.5"), ("temp", "20"), ("tag", "a,b"), ("flag", "true"), ("sum", "4"), ("own", "false")]
    {
        assert_eq!(get(&mut plant, ms(0), name).to_string(), value, "{name}");
    }
    assert_eq!(plant.point("other"), None);
    assert_eq!(plant.describe(plant.point("level").unwrap()).measure, "m, above \"zero\"");
    let german = "name;at;type;scale;value\ntemp;30001;i16;0,1;20,5\n";
    assert_eq!(number(&mut import(german).unwrap(), ms(0), "temp"), 20.5);
    let tabs = "name\tat\tvalue\na\tholding:3\t7\n";
    assert_eq!(number(&mut import(tabs).unwrap(), ms(0), "a"), 7.0);
}

#[test]
fn all_mistakes_are_told_with_their_places() {
    let error = import(
        "name,at,type,colour,at\n\
         a,holding:0\n\
         b,holding:99999,u16\n\
         c,holding:1,u17\n\
         \n\
         # a comment\n\
         a,holding:5\n\
         ,holding:6\n\
         d,,u16\n\
         e,holding:0,u16\n\
         f,holding:7,u16,,,,\n\
         \"g\"x,holding:8\n\
         b ad,holding:9\n\
         \"h,holding:10",
    )
    .unwrap_err();
    for (line, words) in [
        ("1:14", "unknown column `colour`"),
        ("1:21", "the column `at` comes twice"),
        ("3:11", "an address is a whole number"),
        ("4:13", "unknown type `u17`"),
        ("7:1", "two points have this name: the other is in line 2"),
        ("8:1", "without a name"),
        ("9:1", "has no place"),
        ("10:1", "`e` lies where `a` is: `a` in line 2 takes holding:0"),
        ("11:19", "too many fields"),
        ("12:4", "text behind a closed quote"),
        ("13:1", "this cannot be a name"),
        ("14:1", "a quote is not closed"),
    ] {
        let found = error.lines().any(|l| l.contains(&format!("points.csv:{line}: ")) && l.contains(words));
        assert!(found, "{line} {words}\n{error}");
    }
    assert_eq!(error.lines().count(), 12, "{error}");
    for (text, words) in [
        ("", "the file is empty"),
        ("# only this\n", "the file is empty"),
        ("at\nholding:0\n", "the column `name` is missing"),
        ("name,at,scale,bit\na,holding:0,x,1.5\n", "`x` is not a number"),
        ("name,at,scale,bit\na,holding:0,x,1.5\n", "`1.5` is not a whole number"),
        ("name,at,expr\na,holding:0,b + 1\n", "points.csv:2:13: unknown name `b`"),
        ("name,at,order\na,holding:0,ABDC\n", "known here: ABCD, DCBA, BADC, CDAB"),
    ] {
        let Err(error) = import(text) else { panic!("{text}") };
        assert!(error.contains(words) || words.starts_with("known"), "{text}: {error}");
    }
    let missing = try_build("[unit.u]\ncsv = 'nowhere.csv'\n", Path::new("/nonexistent")).unwrap_err();
    assert!(
        missing.lines().contains("model.toml:2:7: cannot read /nonexistent/nowhere.csv"),
        "{}",
        missing.lines()
    );
}

#[test]
fn mistakes_in_recordings_are_told_too() {
    let dir = tempfile::tempdir().unwrap();
    let lines = |csv: &str, rest: &str| {
        std::fs::write(dir.path().join("t.csv"), csv).unwrap();
        let text =
            format!("[unit.u.point]\np = {{ at = 'holding:0', signal.csv = {{ file = 't.csv' {rest} }} }}");
        try_build(&text, dir.path()).map(drop).unwrap_err().lines()
    };
    assert!(lines("t,a\n1,2\n1,3\n0,4\nx,5\n7,y\n", "").contains("t.csv:3:1: time does not go on"));
    assert!(lines("t,a\n1,2\n1,3\n0,4\nx,5\n7,y\n", "").contains("t.csv:5:1: the time is missing"));
    assert!(lines("t,a\n1,2\n1,3\n0,4\nx,5\n7,y\n", "").contains("t.csv:6:3: the value is missing"));
    assert!(lines("t\n1\n", "").contains("no column of values"));
    assert!(lines("t,a\n", "").contains("the recording is empty"));
    assert!(lines("t,a\n1,2\n", ", column = 'b'").contains("model.toml:2:"));
}

/// A point as it may stand in a file: type, value, and the rest.
fn point() -> impl Strategy<Value = (usize, i64, f64, i16, String, bool)> {
    (0usize..12, any::<i64>(), 0.01f64..100.0, any::<i16>(), "\\PC{0,6}", any::<bool>())
}

proptest! {
    #[test]
    fn what_is_exported_is_imported_again(points in prop::collection::vec(point(), 0..12), unit in "\\PC{0,8}") {
        let types = ["bool", "u16", "i16", "u32", "i32", "u64", "i64", "f32", "f64", "bcd16", "bcd32", "string"];
        let mut text = String::from("name,at,type,length,order,scale,offset,unit,min,max,access,value,expr\n");
        for (i, (kind, n, scale, offset, word, flag)) in points.iter().enumerate() {
            let quoted = |s: &str| format!("\"{}\"", s.replace('"', "\"\"").replace('\0', ""));
            let scale = (scale * 100.0).round() / 100.0;
            let number = !matches!(kind, 0 | 11);
            let value = match kind {
                0 => (n & 1).to_string(),
                1 => (*n as u16).to_string(),
                2 => (*n as i16).to_string(),
                3 => (*n as u32).to_string(),
                4 => (*n as i32).to_string(),
                5 => (*n as u64).to_string(),
                7 | 8 => format!("{}", (*n as f64) / 8.0),
                9 => (n.unsigned_abs() % 10_000).to_string(),
                10 => (n.unsigned_abs() % 100_000_000).to_string(),
                11 => quoted(word),
                _ => n.to_string(),
            };
            let (scale, offset, value) = if number && *flag && (1..5).contains(kind) {
                (scale.to_string(), offset.to_string(), (f64::from(*offset) + scale * 3.0).to_string())
            } else {
                (String::new(), String::new(), value)
            };
            let (value, expr) = if number && *flag && *kind == 8 { (String::new(), "t + 1") } else { (value, "") };
            let length = if *kind == 11 { "13" } else { "" };
            let order = if *kind == 11 { "BADC" } else { ["ABCD", "DCBA", "BADC", "CDAB"][i % 4] };
            let limits = if number { ("-1e30", "1e30") } else { ("", "") };
            let access = if *flag { "ro" } else { "rw" };
            text += &format!(
                "p{i},holding:{},{},{length},{order},{scale},{offset},{},{},{},{access},{value},{expr}\n",
                i * 20, types[*kind], quoted(&unit), limits.0, limits.1,
            );
        }
        let mut first = import(&text).unwrap();
        let exported = first.export_csv(ms(0));
        let mut second = import(&exported).unwrap();
        prop_assert_eq!(second.export_csv(ms(0)), exported.clone());
        prop_assert_eq!(first.points().count(), points.len());
        let ids: Vec<_> = first.points().map(|(id, _)| id).collect();
        for id in ids {
            prop_assert_eq!(first.describe(id), second.describe(id));
            let (a, b) = (first.get(ms(0), id), second.get(ms(0), id));
            prop_assert_eq!(a.to_string(), b.to_string(), "{}", exported);
            let is_text = matches!(a, Value::Text(_));
            prop_assert!(is_text || a.number().is_some());
        }
    }
}
