use std::path::Path;

use hilrig_files::{Entries, read};
use hilrig_points::{Builder, UnitFile};

use super::*;

#[derive(serde::Deserialize)]
struct ModelFile {
    #[serde(default)]
    unit: Entries<UnitFile>,
    #[serde(default)]
    master: Entries<MasterFile>,
    #[serde(default)]
    gateway: Entries<GatewayFile>,
    #[serde(default)]
    sniff: Entries<SniffFile>,
}

const UNIT: &str = r#"
[unit.mirror]
id = 5
holding = { "0..9" = 0 }
[unit.mirror.point]
level = { at = "holding:100", type = "f32" }
wave = { at = "holding:110", type = "u16", signal = { const = 5 } }
"#;

type Plans = (Vec<MasterPlan>, Vec<GatewayPlan>, Vec<SniffPlan>);

fn check(text: &str) -> Result<Plans, String> {
    let text = format!("{UNIT}{text}");
    let mut problems = Problems::new("model", "model.toml", &text);
    let file = read::<ModelFile>(&text, &mut problems);
    let plans = file.map(|file| {
        let mut builder = Builder::new(1);
        for (name, unit) in &file.unit.0 {
            builder.unit(name, &unit.value, Path::new("."), &mut problems);
        }
        let plant = builder.finish(&mut problems);
        (
            file.master.0.iter().map(|(_, m)| MasterPlan::check(&m.value, &plant, &mut problems)).collect(),
            file.gateway.0.iter().map(|(_, g)| GatewayPlan::check(&g.value, &mut problems)).collect(),
            file.sniff.0.iter().map(|(_, s)| SniffPlan::check(&s.value, &mut problems)).collect(),
        )
    });
    if problems.is_empty() { Ok(plans.unwrap()) } else { Err(problems.into_error().lines()) }
}

#[test]
fn a_master_is_what_its_file_says() {
    let (masters, gateways, sniffers) = check(
        r#"
[master.scada]
port = "bus"
unit = 3
turnaround = "150ms"
[master.scada.poll]
levels = { holding = "10..11", every = "1s", phase = "250ms", priority = 2, into = { point = "level" } }
flags = { unit = 255, coils = 7, every = "20ms", timeout = "10ms", retries = 3, phase = "0ms" }
raw = { input = "0..2", into = { cells = { unit = 5, holding = 4 } } }
one = { holding = 4, write = 17 }
many = { unit = 0, holding = "4..6", write = [1, 2, 65535] }
on = { coils = 4, write = true }
same = { coils = "0..9", write = 1 }
mask = { request = "16 00 04 00 f2 00 25" }

[gateway.plant]
port = "lan"
line = "bus"
units = { 10 = 1, 255 = 2 }
queue = 4

[sniff.bus]
port = "bus"
"#,
    )
    .unwrap();
    let master = &masters[0];
    assert_eq!((master.port.as_str(), master.turnaround), ("bus", Duration::from_millis(150)));
    let pdus: Vec<_> =
        master.polls.iter().map(|(name, p)| (name.as_str(), p.exchange.unit(), p.exchange.pdu())).collect();
    assert_eq!(
        pdus,
        [
            ("levels", 3, &[3, 0, 10, 0, 2][..]),
            ("flags", 255, &[1, 0, 7, 0, 1]),
            ("raw", 3, &[4, 0, 0, 0, 3]),
            ("one", 3, &[6, 0, 4, 0, 17]),
            ("many", 0, &[16, 0, 4, 0, 3, 6, 0, 1, 0, 2, 255, 255]),
            ("on", 3, &[5, 0, 4, 255, 0]),
            ("same", 3, &[15, 0, 0, 0, 10, 2, 255, 3]),
            ("mask", 3, &[22, 0, 4, 0, 0xF2, 0, 0x25]),
        ]
    );
    let ms = Duration::from_millis;
    let times = |i: usize| {
        let p = &master.polls[i].1;
        (p.every, p.phase, p.timeout, p.retries, p.priority)
    };
    assert_eq!(times(0), (Some(ms(1000)), ms(250), ms(500), 0, 2));
    assert_eq!(times(1), (Some(ms(20)), ms(0), ms(10), 3, 0));
    assert_eq!(times(2).0, Some(ms(100)));
    let holding = |address| Some(Cells { unit: 5, table: Table::HoldingRegisters, address });
    assert_eq!([0, 1, 2].map(|i| master.polls[i].1.into), [holding(100), None, holding(4)]);
    let gateway = &gateways[0];
    assert_eq!((&gateway.units[..], gateway.queue, gateway.max_callers), (&[(10, 1), (255, 2)][..], 4, 32));
    assert_eq!((sniffers[0].port.as_str(), sniffers[0].response_time), ("bus", ms(1000)));
}

#[test]
fn each_mistake_is_told_where_it_is() {
    let told = check(
        r#"
[master.m]
port = "bus"
[master.m.poll]
a = { holding = "0..125" }
b = { holding = 0, coils = 0 }
c = { every = "1s" }
d = { input = 0, write = 1 }
e = { holding = "0..3", write = [1, 2] }
f = { holding = 0, write = 70000 }
g = { request = "83 00" }
h = { request = "3z" }
i = { holding = 0, unit = 0 }
j = { holding = 0, unit = 250 }
k = { holding = 0, into = { point = "nowhere" } }
l = { holding = 0, into = { point = "level" } }
m = { holding = 0, into = { point = "wave" } }
n = { coils = 0, into = { cells = { unit = 5, holding = 0 } } }
o = { holding = "0..9", into = { cells = { unit = 5, holding = 1 } } }
p = { holding = 0, into = { cells = { unit = 6, holding = 1 } } }
q = { holding = 0, into = { cells = { unit = 5 } } }
r = { holding = 0, write = 1, into = { point = "level" } }
s = { holding = 0, retries = 1000 }
t = { coils = "0..1999", write = 1 }

[gateway.g]
port = "lan"
line = "bus"
units = { 300 = 1, 7 = 250 }
"#,
    )
    .unwrap_err();
    let lines: Vec<&str> = told.lines().collect();
    let words = [
        "125 at most",
        "exactly one table",
        "exactly one table",
        "takes no writes",
        "2 values for 4",
        "0 to 65535",
        "codes are 1 to 127",
        "row of bytes",
        "nobody answers",
        "0 to 247",
        "unknown point",
        "f32 with 2",
        "its own values",
        "bits go to",
        "no address 10",
        "no unit 6",
        "exactly one table",
        "nothing to put",
        "0 to 100",
        "1 to 1968",
        "not a unit id",
        "0 to 247",
    ];
    assert_eq!(lines.len(), words.len(), "{told}");
    for (line, words) in lines.iter().zip(words) {
        assert!(line.contains(words), "{line}\nshould contain {words}");
    }
}

#[test]
fn the_schemas_can_be_made() {
    let text = serde_json::to_string(&schemars::schema_for!(MasterFile)).unwrap();
    assert!(text.contains("priority") && text.contains("turnaround"));
}
