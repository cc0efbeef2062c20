//! Replays the corpora of the fuzz targets.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use hilrig_tests::replay;
use proptest::prelude::*;

#[path = "../../../tests/fuzz/bodies/csv_points.rs"]
mod csv_points;
#[path = "../../../tests/fuzz/bodies/expression.rs"]
mod expression;

/// Text of words that mean something, in any order.
fn soup(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(words), 0..40).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn any_expression(text in soup(&[
        "a", "b", "`x-1`", "u.a", "t", "pi", "1", "2.5e3", ".", "e", " ", " ", "(", ")", "(", ")", ",", "+", "-", "*",
        "**", "/", "%", "<", "<=", "==", "=", "!", "!=", " and ", " or ", " not ", "&&", "|", "if(", "max(", "bit(",
        "num(", "clamp(", "sin(", "true", "`", "ä", "\n", "0",
    ])) {
        expression::run(text.as_bytes());
    }

    #[test]
    fn any_csv_file(text in soup(&[
        "name,at,type,order,value,scale,min,expr\n", "name;at;bit;length;type\n", "time,a\n", "a", "b", "level", ",", ",", ",",
        ";", "\t", "\n", "\n", "\r\n", "\"", "\"\"", "#", " ", "holding:", "40001", "coil:3", "input:7", "0", "1", "65535",
        "u16", "f32", "u64", "string", "bcd16", "bool", "-1", "1e300", "NaN", "ABCD", "DCBA", "0.1", "a + 1", "ü", "\u{FEFF}", ".", "u.",
    ])) {
        csv_points::run(text.as_bytes());
    }

    #[test]
    fn points_of_any_types(rows in prop::collection::vec(
        (0usize..12, 0usize..4, any::<u16>(), prop::sample::select(vec!["", "0.1", "-3", "1e-9", "1e300"]), "[ -~]{0,5}|[0-9]{1,20}"), 0..8,
    )) {
        let types = ["bool", "u16", "i16", "u32", "i32", "u64", "i64", "f32", "f64", "bcd16", "bcd32", "string"];
        let orders = ["ABCD", "DCBA", "BADC", "CDAB"];
        let mut text = String::from("name,at,type,order,length,scale,value\n");
        for (i, (kind, order, at, scale, value)) in rows.into_iter().enumerate() {
            let (length, order) = if kind == 11 { ("3", "BADC") } else { ("", orders[order]) };
            let scale = if matches!(kind, 0 | 11) { "" } else { scale };
            let value = value.replace('"', "\"\"");
            text += &format!("p{i},holding:{at},{},{order},{length},{scale},\"{value}\"\n", types[kind]);
        }
        csv_points::run(text.as_bytes());
    }
}

#[test]
fn corpus_of_csv_files() {
    replay("csv_points", csv_points::run);
}

#[test]
fn corpus_of_expressions() {
    replay("expression", expression::run);
}
