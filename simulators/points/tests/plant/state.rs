//! Snapshots and hot reload: what is kept, what is not, and that nothing else can be told apart afterwards.

use std::time::Duration;

use hilrig_points::{Plant, Snapshot, Table, Value};
use proptest::prelude::*;

use crate::{build, get, holding, id, ms, number, points, set, write};

const MODEL: &str = "
[unit.u]
holding = { '50..55' = 5 }
coils = { '10..12' = false }
file = { 1 = [1, 2, 3] }
[unit.u.point]
level = { at = 'holding:0', type = 'f32', value = 1.5 }
name = { at = 'holding:2', type = 'string', length = 4, value = 'abc' }
count = { at = 'holding:6', signal = { counter = { every = '100ms' } } }
lag = { at = 'holding:8', type = 'f64', signal = { lag = { input = 'level', tau = '1s', dead_time = '300ms', start = 0 } } }
mode = { at = 'holding:12', signal = { states = { state = { a = { value = 1, to = [{ state = 'b', after = '3s' }] }, b = { value = 2 } } } } }
over = { at = 'holding:13', signal = { expr = 'round(t)' } }
noise = { at = 'holding:14', type = 'f64', signal = { random_walk = { step = 1 } } }
ramp = { at = 'holding:18', value = 0 }
bits = { at = 'holding:19', bit = 3 }
go = { at = 'coil:0' }
lamp = { at = 'coil:1' }
[[unit.u.on_write]]
point = 'go'
do = [{ wait = '5s' }, { set = { point = 'lamp', value = true } }]
";

/// A plant that has lived for four seconds.
fn lived() -> Plant {
    let mut plant = build(MODEL);
    plant.begin(ms(0));
    set(&mut plant, ms(1000), "level", 7.25);
    let name = id(&plant, "name");
    plant.set(ms(1000), name, &Value::Text("xyz".to_owned())).unwrap();
    write(&mut plant, ms(1000), 13, &[77]).unwrap();
    write(&mut plant, ms(1000), 51, &[1, 2, 3]).unwrap();
    write(&mut plant, ms(1000), 19, &[0xF008]).unwrap();
    plant.write_bits(ms(1000), 1, 11, 1, &[1]).unwrap();
    plant.write_bits(ms(2000), 1, 0, 1, &[1]).unwrap();
    plant.file_write(1, 1, 1, &[0, 99]).unwrap();
    let ramp = id(&plant, "ramp");
    plant.ramp(ms(3000), ramp, 1000.0, Duration::from_secs(10)).unwrap();
    plant.advance(ms(4000));
    plant
}

fn everything(plant: &mut Plant, ms_now: u64) -> Vec<String> {
    let ids: Vec<_> = plant.points().map(|(id, _)| id).collect();
    let mut all: Vec<String> = ids.into_iter().map(|id| plant.get(ms(ms_now), id).to_string()).collect();
    all.push(format!("{:?} {:?}", holding(plant, ms(ms_now), 50, 6), holding(plant, ms(ms_now), 19, 1)));
    let mut records = [0; 6];
    plant.file_read(1, 1, 0, 3, &mut records).unwrap();
    all.push(format!("{records:?} {:?}", plant.unit(1).unwrap().get(Table::Coils, 11)));
    all
}

#[test]
fn a_restored_plant_cannot_be_told_from_the_one_that_went_on() {
    let mut first = lived();
    let text = serde_json::to_string(&first.snapshot(ms(4000))).unwrap();
    let snapshot: Snapshot = serde_json::from_str(&text).unwrap();
    let mut second = build(MODEL);
    assert_eq!(second.restore(ms(4000), &snapshot), Vec::<String>::new());
    assert_eq!(second.snapshot(ms(4000)), snapshot);
    for t in [4000, 4567, 5000, 6999, 7000, 8888, 13_000, 20_000] {
        assert_eq!(everything(&mut first, t), everything(&mut second, t), "{t}");
    }
    assert_eq!(get(&mut second, ms(20_000), "lamp"), Value::Bool(true));
    // Another day, the clock of another machine: time goes on from where it was.
    let mut third = build(MODEL);
    third.restore(hilrig_port::Time(17), &snapshot);
    let at = hilrig_port::Time(17) + Duration::from_millis(5000);
    assert_eq!(number(&mut third, at, "count"), number(&mut lived(), ms(9000), "count"));
}

proptest! {
    /// Whatever stands in the cells, also what no value would put there.
    #[test]
    fn cells_come_back_to_the_bit(words in prop::collection::vec(any::<u16>(), 40), order in 0usize..4) {
        let order = ["ABCD", "DCBA", "BADC", "CDAB"][order];
        let text = order != "DCBA" && order != "CDAB";
        let text_order = if text { order } else { "ABCD" };
        let model = format!(
            "[unit.u]\nholding = {{ '0..39' = 0 }}\n[unit.u.point]
             a = {{ at = 'holding:0', type = 'f32', order = '{order}' }}
             b = {{ at = 'holding:2', type = 'f64', order = '{order}', scale = 0.3 }}
             c = {{ at = 'holding:6', type = 'u64', order = '{order}', scale = 1.7 }}
             d = {{ at = 'holding:10', type = 'i64', order = '{order}' }}
             e = {{ at = 'holding:14', type = 'bcd32', order = '{order}' }}
             f = {{ at = 'holding:16', type = 'string', length = 5, order = '{text_order}' }}
             g = {{ at = 'holding:22' }}
             h = {{ at = 'holding:22', bit = 3 }}
             i = {{ at = 'holding:23', bit = 0 }}
             j = {{ at = 'holding:24', type = 'bool' }}"
        );
        let mut first = build(&model);
        for (a, w) in (0..).zip(&words) {
            let _ = first.unit_mut(1).unwrap().set(Table::HoldingRegisters, a, *w);
        }
        let snapshot = first.snapshot(ms(0));
        let snapshot: Snapshot = serde_json::from_str(&serde_json::to_string(&snapshot).unwrap()).unwrap();
        let mut second = build(&model);
        prop_assert_eq!(second.restore(ms(0), &snapshot), Vec::<String>::new());
        prop_assert_eq!(holding(&mut second, ms(0), 0, 40), words);
    }
}

#[test]
fn a_reload_keeps_what_has_the_same_name_and_type() {
    let mut old = lived();
    let changed = MODEL
        .replace(
            "at = 'holding:0', type = 'f32', value = 1.5",
            "at = 'holding:30', type = 'f32', order = 'CDAB', value = 3",
        )
        .replace(
            "'holding:6', signal = { counter = { every = '100ms' } }",
            "'holding:6', type = 'u32', value = 5",
        )
        .replace("lamp =", "light =")
        .replace("'lamp'", "'light'")
        .replace("dead_time = '300ms'", "dead_time = '400ms'")
        .replace("'50..55' = 5", "'50..51' = 6, '60' = 9")
        .replace("file = { 1 = [1, 2, 3] }", "");
    let mut new = build(&changed);
    let misfits = new.adopt(ms(4000), &mut old);
    for words in [
        "u.count is u32 now, and was u16",
        "there is no point u.lamp any more",
        "the lag of u.lag starts anew",
        "4 addresses of unit 1 are not there any more",
        "file 1 of unit 1",
    ] {
        assert!(misfits.iter().any(|m| m.contains(words)), "{words}: {misfits:?}");
    }
    assert_eq!(misfits.len(), 5, "{misfits:?}");
    assert_eq!(get(&mut new, ms(4000), "level"), Value::Float(7.25));
    assert_eq!(holding(&mut new, ms(4000), 30, 2), [0, 0x40E8]);
    assert_eq!(get(&mut new, ms(4000), "name").to_string(), "xyz");
    assert_eq!(number(&mut new, ms(4000), "count"), 5.0);
    assert_eq!(number(&mut new, ms(4000), "over"), 77.0);
    assert_eq!(number(&mut new, ms(8000), "ramp"), 500.0);
    assert_eq!(number(&mut new, ms(8000), "noise"), number(&mut lived(), ms(8000), "noise"));
    assert_eq!(holding(&mut new, ms(4000), 50, 2), [5, 1]);
    assert_eq!(number(&mut new, ms(8000), "light"), 1.0, "the sequence went on");
}

#[test]
fn a_state_of_something_else_changes_nothing_and_says_so() {
    let snapshot = lived().snapshot(ms(4000));
    let mut other = points("p = { at = 'holding:0', value = 3 }");
    let misfits = other.restore(ms(0), &snapshot);
    assert!(misfits.len() > 10, "{misfits:?}");
    assert_eq!(holding(&mut other, ms(0), 0, 1), [3]);
    let mut none = Plant::default();
    assert!(!none.restore(ms(0), &snapshot).is_empty());
    assert_eq!(none.snapshot(ms(0)), none.snapshot(ms(0)));
    for bad in ["{}", "{\"time\":1,\"units\":[],\"points\":[],\"x\":1}", "[]"] {
        assert!(serde_json::from_str::<Snapshot>(bad).is_err());
    }
}
