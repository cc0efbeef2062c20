//! Devices that speak telegrams, on a line that carries anything at any time: they never panic, deal with every deadline,
//! and answer the good telegram that comes after silence. How bytes that come at once are handed to them changes nothing of
//! what is heard, but for the partner of 3964R, which answers single characters.
//!
//! The input is a device (1 byte), then bursts: pause in 8 ms, length, bytes. With an odd pause the device is asked to
//! send a telegram by itself, too.

use std::path::Path;
use std::time::Duration;

use hilrig_files::{At, Problems, read};
use hilrig_points::{Builder, Shared, UnitFile};
use hilrig_port::{LineEvent, Station, Time, Tx};
use hilrig_telegram::{TelegramFile, TelegramStation, build};

const UNIT: &str = r#"
holding = { "100..199" = 7 }
coils = { "0..63" = 1 }
point.a = { at = "holding:0", type = "i32", value = 12565 }
point.b = { at = "holding:2", type = "f32", value = 50.0 }
point.c = { at = "holding:4", type = "string", length = 8, value = "abc" }
point.d = { at = "holding:20", type = "u64" }
point.e = { at = "holding:24", value = 2 }
"#;

/// Fields of all kinds, sent and received.
const TELEGRAMS: &str = r#"
send.s = { every = "50ms", fields = [
    { text = "S" }, { counter = { to = 9 }, as = { decimal = { width = 2, pad = "0" } } },
    { point = "b", as = { decimal = { width = 8, decimals = 2 } } }, { point = "c", as = { string = { length = 6 } } },
    { time = "ms", as = { uint = { bytes = 2 } } } ] }
send.r = { fields = [{ text = "R" }, { point = "a", as = { decimal = {} } }] }
receive.n = { reply = "r", delay = "3ms", fields = [
    { text = "N" }, { point = "b", as = { decimal = { decimals = 2 } } }, { text = "," }, { point = "c", as = { string = {} } } ] }
receive.m = { reply = "r", fields = [
    { text = "M" }, { point = "e", as = { bcd = { bytes = 1 } }, match = true }, { skip = 1 },
    { point = "d", as = { int = { bytes = 4, order = "little" } } }, { point = "b", as = { float = { bytes = 4 } } } ] }
receive.q = { reply = "r", fields = [{ text = "Q" }] }
"#;

/// Tables; those of more than one key are described by fields. A good telegram, and the start of its answer, up to values
/// that may have been written before.
#[rustfmt::skip]
const DEVICES: [(&str, bool, &[u8], &[u8]); 12] = [
    ("profile = { hostlink = { node = 0, area = { DM = { unit = \"1\", first = 100 }, CIO = { unit = \"1\", table = \"coils\" } } } }",
        false, b"@00RD0000000157*\r", b"@00RD00"),
    ("profile = { melsec_1c = { station = 5, device = { D = { unit = \"1\", first = 100 }, X = { unit = \"1\", table = \"coils\" } } } }",
        false, b"\x0505FFBR0X002001\x33\x30", b"\x0205FF"),
    ("profile = { ft12_mbus = { address = 2, id = \"12345678\", manufacturer = \"PAD\", medium = 7, record = [{ header = \"0313\", point = \"a\" }, { header = \"DA023B\", point = \"e\" }] } }",
        false, b"\x10\x40\xFE\x3E\x16", b"\xE5"),
    ("profile = { uss = { address = 3, parameter = { 700 = \"e\", 1082 = \"b\", 5 = \"d\" }, send = [{ point = \"e\" }], receive = [{ point = \"e\" }] } }",
        false, b"\x02\x0C\x03\x12\xBC\x00\x00\x00\x00\x00\x00\x00\x02\xA1", b"\x02\x0C\x03\x12\xBC"),
    ("profile = { \"3964r\" = {} }", true, b"\x02", b"\x10"),
    ("profile = \"nmea\"", true, b"$Q*51\r\n", b"$R"),
    ("framing = { terminator = \"\\r\" }\nchecksum = { of = \"lrc\", as = \"hex_lower\" }", true, b"Qaf\r", b"R"),
    ("framing = { dle = {} }\nchecksum = { of = { crc = { width = 16, poly = 0x8005, refin = true, refout = true } }, as = \"little\", after_end = true, with_end = true }",
        true, b"\x10\x02Q\x10\x03\x7D\x91", b"\x10\x02R"),
    ("framing = { length = { start = \"h\", offset = 2, bytes = 2, encoding = \"little\", plus = 0, end = \"!\" } }", true, b"hQ\x05\x00!", b"hR"),
    ("framing = { silence = \"20ms\" }", true, b"Q", b"R"),
    ("framing = \"ft12\"", true, b"\x68\x0B\x0B\x68M\x02\x00\x05\x00\x00\x00\x40\xA0\x00\x00\x34\x16", b"\x68\x06\x06\x68R12565"),
    ("framing = { delimited = { start = \"\\u0002\", end = \"\\u0003\" } }\nchecksum = { of = \"sum16\", as = \"decimal\", after_end = true, with_end = true }",
        true, b"\x02Q\x0300084", b"\x02R"),
];

fn file<T: serde::de::DeserializeOwned>(text: &str) -> T {
    let mut problems = Problems::new("model", "model.toml", text);
    let file = read(text, &mut problems);
    file.unwrap_or_else(|| panic!("{}", problems.into_error().lines()))
}

struct Bench {
    station: TelegramStation,
    now: Time,
    tx: Tx,
    said: Vec<u8>,
}

impl Bench {
    fn new(table: &str, by_fields: bool) -> Self {
        let name = At { value: "t".to_owned(), span: 0..0 };
        let mut problems = Problems::new("model", "model.toml", "");
        let mut builder = Builder::new(1);
        builder.unit(&name, &file::<UnitFile>(UNIT), Path::new("."), &mut problems);
        let plant = builder.finish(&mut problems);
        let table = format!("port = \"p\"\n{table}\n{}", if by_fields { TELEGRAMS } else { "" });
        let plan = build(&name, &file::<TelegramFile>(&table), &plant, &mut problems);
        let plan = plan.unwrap_or_else(|| panic!("{table}\n{}", problems.into_error().lines()));
        let mut station = TelegramStation::new(plan, Shared::new(plant));
        let (now, mut tx) = (Time(1_000_000_000), Tx::default());
        station.on_line(now, LineEvent::Opened, &mut tx);
        Self { station, now, tx, said: Vec::new() }
    }

    fn note(&mut self) {
        self.said.extend_from_slice(self.tx.pending());
        self.tx.clear();
    }

    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.station.deadline().filter(|due| *due <= end) {
            self.now = due.max(self.now);
            self.station.on_deadline(self.now, &mut self.tx);
            self.note();
            assert!(self.station.deadline().is_none_or(|next| next > self.now), "a deadline is dealt with");
        }
        self.now = end;
    }

    fn hear(&mut self, bytes: &[u8]) {
        self.station.on_bytes(self.now, bytes, &mut self.tx);
        self.note();
    }
}

pub fn run(data: &[u8]) {
    let Some((&device, mut rest)) = data.split_first() else { return };
    let (table, by_fields, good, answer) = DEVICES[usize::from(device) % DEVICES.len()];
    let (mut bench, mut cut) = (Bench::new(table, by_fields), Bench::new(table, by_fields));
    while let [pause, len, tail @ ..] = rest {
        let time = Duration::from_millis(8 * u64::from(*pause));
        bench.wait(time);
        cut.wait(time);
        let (burst, tail) = tail.split_at(tail.len().min(usize::from(*len)));
        if pause & 1 == 1 {
            let _ = bench.station.send(bench.now, "s", &mut bench.tx);
            bench.note();
        }
        bench.hear(burst);
        burst.iter().for_each(|byte| cut.hear(&[*byte]));
        rest = tail;
    }
    if !table.contains("3964r") {
        let heard = |bench: &Bench| {
            let t = bench.station.stats().totals();
            (t.received, t.strangers, t.checksum_errors, t.noise_bytes, t.refused, t.unwritten)
        };
        assert_eq!(heard(&bench), heard(&cut), "{table}");
    }
    // Longer than any telegram may pause. A partner of 3964R then waits for a DLE to its STX at most, and gives way.
    bench.wait(Duration::from_secs(5));
    bench.said.clear();
    bench.hear(good);
    bench.wait(Duration::from_millis(45));
    let found = bench.said.windows(answer.len()).any(|said| said == answer);
    assert!(found, "{table}\n{:02x?} gets {:02x?}", good, bench.said);
}
