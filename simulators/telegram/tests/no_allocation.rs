//! Devices that speak telegrams do not allocate while they are driven, whatever comes over the line.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::Duration;

use hilrig_files::{At, Problems, read};
use hilrig_points::{Builder, Shared, UnitFile};
use hilrig_port::{LineEvent, Station, Time, Tx};
use hilrig_telegram::{TelegramFile, TelegramStation, build, frames};
use hilrig_tests::{Counting, allocator_calls};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const UNIT: &str = r#"
holding = { "100..199" = 7 }
coils = { "0..63" = 1 }
point.a = { at = "holding:0", type = "i32", value = 12565 }
point.b = { at = "holding:2", type = "f32", value = 50.1 }
point.c = { at = "holding:4", type = "string", length = 8, value = "abc" }
point.d = { at = "holding:20", type = "u64" }
point.e = { at = "holding:24", value = 2 }
point.f = { at = "holding:30", type = "f64", signal = { sine = { period = "10s", amplitude = 5 } } }
"#;

const FIELDS: &str = r#"
send.s = { every = "50ms", fields = [
    { text = "S" }, { counter = { to = 9 }, as = { decimal = {} } }, { point = "f", as = { decimal = { width = 8, decimals = 2 } } },
    { point = "c", as = { string = {} } }, { point = "d", as = { hex = { digits = 16 } } }, { time = "ms", as = { uint = { bytes = 2 } } } ] }
send.r = { fields = [{ text = "R" }, { point = "b", as = { decimal = { decimals = 3 } } }] }
receive.n = { reply = "r", delay = "3ms", fields = [
    { text = "N" }, { point = "b", as = { decimal = {} } }, { text = "," }, { point = "c", as = { string = {} } } ] }
receive.m = { reply = "r", fields = [
    { text = "M" }, { point = "e", as = { bcd = { bytes = 1 } }, match = true }, { point = "d", as = { uint = { bytes = 8 } } } ] }
"#;

/// A table, whether it is described by fields, and what it hears.
const DEVICES: [(&str, bool, &[&[u8]]); 6] = [
    (
        "profile = { hostlink = { node = 0, area = { DM = { unit = \"t\", first = 100 } } } }",
        false,
        &[b"@00RD0000000157*\r", b"@00WD0000123456*\r", b"@00WD0000123452*\r", b"@00RD9999000156*\r", b"\r"],
    ),
    (
        "profile = { melsec_1c = { station = 5, device = { D = { unit = \"t\", first = 100 }, X = { unit = \"t\", table = \"coils\" } } } }",
        false,
        &[
            b"\x0505FFBR0X002001\x33\x30",
            b"\x0505FFWR0D00000119",
            b"\x0505FFBW0X0020011\x00\x00",
            b"\x0505FFWR0Q00000100",
        ],
    ),
    (
        "profile = { ft12_mbus = { address = 2, id = \"12345678\", manufacturer = \"PAD\", medium = 7, record = [{ header = \"0313\", point = \"a\" }, { header = \"0513\", point = \"b\" }] } }",
        false,
        &[b"\x10\x40\xFE\x3E\x16", b"\x10\x5B\x02\x5D\x16", b"\x10\x7B\x02\x7D\x16", b"\x68\x03\x03\x68"],
    ),
    (
        "profile = { uss = { address = 3, parameter = { 700 = \"e\", 1082 = \"b\", 5 = \"d\" }, send = [{ point = \"b\" }], receive = [{ point = \"e\" }] } }",
        false,
        &[
            b"\x02\x0C\x03\x12\xBC\x00\x00\x00\x00\x00\x00\x00\x02\xA1",
            b"\x02\x0C\x03\x34\x3A\x00\x00\x42\x20\x00\x00\x00\x02\x63",
        ],
    ),
    ("profile = { \"3964r\" = {} }", true, &[b"\x02", b"N1.5,x\x10\x03\x48", b"\x10", b"\x15", b"noise"]),
    (
        "framing = { terminator = \"\\r\" }",
        true,
        &[
            b"N1.5,text\r",
            b"N-7,longer than sixteen b\r",
            b"N1,\xE4\xE4\xE4\xE4\xE4\xE4\xE4\xE4\xE4\xE4\xE4\xE4\r",
            b"M\x02\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFE\r",
            b"M\x03\r",
            b"x",
        ],
    ),
];

fn station(table: &str, by_fields: bool) -> TelegramStation {
    let name = At { value: "t".to_owned(), span: 0..0 };
    let mut problems = Problems::new("model", "model.toml", "");
    let mut builder = Builder::new(1);
    builder.unit(&name, &read::<UnitFile>(UNIT, &mut problems).unwrap(), Path::new("."), &mut problems);
    let plant = builder.finish(&mut problems);
    let table = format!("port = \"p\"\n{table}\n{}", if by_fields { FIELDS } else { "" });
    let file = read::<TelegramFile>(&table, &mut problems).unwrap();
    let plan = build(&name, &file, &plant, &mut problems);
    let (sink, _reader) = frames(16);
    TelegramStation::new(plan.unwrap(), Shared::new(plant)).frames(sink)
}

fn drive(station: &mut TelegramStation, from: Time, heard: &[&[u8]], tx: &mut Tx) -> usize {
    let (mut now, mut said) = (from, 0);
    for (i, bytes) in heard.iter().enumerate() {
        now = now + Duration::from_millis(if i % 3 == 0 { 1 } else { 300 });
        while let Some(due) = station.deadline().filter(|due| *due <= now) {
            station.on_deadline(due, tx);
            said += tx.pending().len();
            tx.clear();
        }
        station.on_bytes(now, bytes, tx);
        said += tx.pending().len();
        tx.clear();
    }
    said
}

#[test]
fn nothing_is_allocated_whatever_comes() {
    for (table, by_fields, heard) in DEVICES {
        let (mut station, mut tx) = (station(table, by_fields), Tx::default());
        station.on_line(Time(1), LineEvent::Opened, &mut tx);
        drive(&mut station, Time(1_000_000), heard, &mut tx);
        let before = allocator_calls();
        let mut said = 0;
        for round in 1..50 {
            said += drive(&mut station, Time(round * 10_000_000_000), heard, &mut tx);
        }
        assert_eq!(allocator_calls() - before, 0, "{table}");
        assert!(said > 100, "{table}: it said {said} bytes");
    }
}
