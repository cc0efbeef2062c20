//! Types, byte orders, scales, places.

use hilrig_points::{Plant, PointId, SetError, Table, Unit, Value, place, places};
use proptest::prelude::*;

use crate::{build, get, holding, id, ms, points, registers, set};

#[test]
fn each_order_puts_the_bytes_where_it_says() {
    for (order, long, short, huge) in [
        ("ABCD", [0x1122, 0x3344], 0x1122, [0x1122, 0x3344, 0x5566, 0x7788]),
        ("DCBA", [0x4433, 0x2211], 0x2211, [0x8877, 0x6655, 0x4433, 0x2211]),
        ("BADC", [0x2211, 0x4433], 0x2211, [0x2211, 0x4433, 0x6655, 0x8877]),
        ("CDAB", [0x3344, 0x1122], 0x1122, [0x7788, 0x5566, 0x3344, 0x1122]),
    ] {
        let mut plant = points(&format!(
            "a = {{ at = 'holding:0', type = 'u32', order = '{order}', value = 0x11223344 }}
             b = {{ at = 'holding:2', order = '{order}', value = 0x1122 }}
             c = {{ at = 'holding:4', type = 'u64', order = '{order}', value = 0x1122334455667788 }}
             d = {{ at = 'holding:8', type = 'f32', order = '{order}', value = 1.5 }}"
        ));
        assert_eq!(holding(&mut plant, ms(0), 0, 3), [&long[..], &[short]].concat(), "{order}");
        assert_eq!(holding(&mut plant, ms(0), 4, 4), huge, "{order}");
        assert_eq!(get(&mut plant, ms(0), "a"), Value::Int(0x1122_3344));
        assert_eq!(get(&mut plant, ms(0), "c"), Value::Int(0x1122_3344_5566_7788));
        assert_eq!(get(&mut plant, ms(0), "d"), Value::Float(1.5));
        // 1.5 is 3F C0 00 00.
        let float = holding(&mut plant, ms(0), 8, 2);
        assert!(float.contains(&0x3FC0) != float.contains(&0xC03F) && float.contains(&0), "{order}");
    }
}

#[test]
fn values_are_as_people_write_them() {
    let mut plant = points(
        "t = { at = 'input:0', type = 'i16', scale = 0.1, value = 0.3 }
         f = { at = 'input:1', type = 'f32', value = 21.3 }
         k = { at = 'input:3', type = 'u16', scale = 0.5, offset = -40, value = 60.5 }
         d = { at = 'input:4', type = 'bcd32', value = 12345678 }
         s = { at = 'input:6', type = 'string', length = 3, value = 'Pump' }
         w = { at = 'input:9', type = 'string', length = 3, order = 'BADC', value = 'Pumpe' }
         h = { at = 'holding:0', type = 'u64', value = '18446744073709551615' }
         i = { at = 'holding:4', type = 'i64', value = -9223372036854775808 }
         b = { at = 'holding:9', bit = 3, value = true }
         c = { at = 'coil:5', value = true }
         n = { at = 'discrete:5' }",
    );
    for (name, text) in [
        ("t", "0.3"),
        ("f", "21.3"),
        ("k", "60.5"),
        ("d", "12345678"),
        ("s", "Pump"),
        ("w", "Pumpe"),
        ("h", "18446744073709551615"),
        ("i", "-9223372036854775808"),
        ("b", "true"),
        ("c", "true"),
        ("n", "false"),
    ] {
        assert_eq!(get(&mut plant, ms(0), name).to_string(), text, "{name}");
    }
    let inputs = registers(&mut plant, ms(0), Table::InputRegisters, 0, 12).unwrap();
    assert_eq!(inputs[0], 3);
    assert_eq!(inputs[3], 201);
    assert_eq!(inputs[4..6], [0x1234, 0x5678]);
    assert_eq!(inputs[6..9], [0x5075, 0x6D70, 0]);
    assert_eq!(inputs[9..12], [0x7550, 0x706D, 0x0065]);
    assert_eq!(holding(&mut plant, ms(0), 9, 1), [8]);
}

#[test]
fn json_says_values_as_they_are() {
    for (value, json) in [
        (Value::Bool(true), "true"),
        (Value::Int(-3), "-3"),
        (Value::Uint(u64::MAX), "18446744073709551615"),
        (Value::Float(0.5), "0.5"),
        (Value::Float(f64::NAN), "\"NaN\""),
        (Value::Text("x y".to_owned()), "\"x y\""),
    ] {
        assert_eq!(serde_json::to_string(&value).unwrap(), json);
        let back: Value = serde_json::from_str(json).unwrap();
        assert_eq!(back.to_string(), value.to_string());
    }
    for (text, value) in [
        ("true", Value::Bool(true)),
        (" 7 ", Value::Int(7)),
        ("-7", Value::Int(-7)),
        ("18446744073709551615", Value::Uint(u64::MAX)),
        ("1e3", Value::Float(1000.0)),
        ("-.5", Value::Float(-0.5)),
        ("-inf", Value::Float(f64::NEG_INFINITY)),
        ("infinity", Value::Text("infinity".to_owned())),
        ("nano", Value::Text("nano".to_owned())),
        ("", Value::Text(String::new())),
    ] {
        assert_eq!(Value::parse(text), value, "{text}");
    }
}

#[test]
fn what_a_type_cannot_hold_is_refused_by_hand() {
    let mut plant = points(
        "u = { at = 'holding:0', value = 5 }
         s = { at = 'holding:1', type = 'i16', scale = 0.1 }
         b = { at = 'coil:0' }
         d = { at = 'holding:2', type = 'bcd16' }
         t = { at = 'holding:3', type = 'string', length = 2 }
         f = { at = 'holding:5', type = 'f32' }",
    );
    for (name, value, words) in [
        ("u", Value::Int(65_536), "65536 does not fit u.u, which is u16: 0 to 65535"),
        ("u", Value::Int(-1), "-1 does not fit"),
        ("u", Value::Float(f64::NAN), "NaN does not fit"),
        ("u", Value::Bool(true), "u.u takes a number, not \"true\""),
        ("u", Value::Text("x".to_owned()), "a number"),
        ("s", Value::Float(3276.8), "-3276.8 to 3276.7"),
        ("b", Value::Int(2), "true or false"),
        ("d", Value::Int(10_000), "0 to 9999"),
        ("t", Value::Text("abcde".to_owned()), "5 bytes long; u.t holds 4"),
        ("f", Value::Float(1e39), "does not fit"),
    ] {
        let point = id(&plant, name);
        let error: SetError = plant.set(ms(0), point, &value).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
    assert_eq!(get(&mut plant, ms(0), "u"), Value::Int(5), "a refused value changes nothing");
    set(&mut plant, ms(0), "b", 1);
    set(&mut plant, ms(0), "s", -0.04);
    assert_eq!(get(&mut plant, ms(0), "s").to_string(), "0");
    plant.set(ms(0), id(&plant, "u"), &Value::Text("17".to_owned())).unwrap();
    assert_eq!(get(&mut plant, ms(0), "u"), Value::Int(17));
}

#[test]
fn old_numbers_and_new_ones_mean_the_same_places() {
    use Table::{Coils, DiscreteInputs, HoldingRegisters, InputRegisters};
    for (text, found) in [
        ("40001", (HoldingRegisters, 0)),
        ("49999", (HoldingRegisters, 9998)),
        ("400001", (HoldingRegisters, 0)),
        ("465536", (HoldingRegisters, 65_535)),
        ("30008", (InputRegisters, 7)),
        ("10002", (DiscreteInputs, 1)),
        ("00004", (Coils, 3)),
        ("holding:7", (HoldingRegisters, 7)),
        (" coil : 65535 ", (Coils, 65_535)),
    ] {
        assert_eq!(place(text), Ok(found), "{text}");
    }
    for bad in
        ["40000", "465537", "20001", "4001", "holding:65536", "holding", "reg:1", "holding:-1", "4000x"]
    {
        assert!(place(bad).is_err(), "{bad}");
    }
    assert_eq!(places("holding:0..9"), Ok((HoldingRegisters, 0, 9)));
    assert_eq!(places("40001..40010"), Ok((HoldingRegisters, 0, 9)));
    assert_eq!(places("coil:3"), Ok((Coils, 3, 3)));
    for bad in ["holding:9..0", "40001..30010", "holding:0..", "..", "holding:0..70000"] {
        assert!(places(bad).is_err(), "{bad}");
    }
}

#[test]
fn points_are_found_by_name_and_place() {
    let plant = build(
        "[unit.pump]\nid = 1\npoint.level = { at = 40002, type = 'f32' }\npoint.run = { at = '00001' }
         [unit.tank]\nid = 2\npoint.level = { at = 'holding:5' }",
    );
    let level = plant.point("pump.level").unwrap();
    assert_eq!(plant.point("level"), None, "two have this name");
    assert_eq!(plant.point("run"), plant.point("pump.run"));
    for (address, found) in [(0, None), (1, Some(level)), (2, Some(level)), (3, None)] {
        assert_eq!(plant.point_at(1, Table::HoldingRegisters, address), found);
    }
    assert_eq!(plant.describe(level).place(), "holding:1");
    assert_eq!((plant.describe(level).unit_name(), plant.describe(level).short_name()), ("pump", "level"));
    assert_eq!(
        plant.points().map(|(_, p)| p.name.as_str()).collect::<Vec<_>>(),
        ["pump.level", "pump.run", "tank.level"]
    );
    assert_eq!(plant.unit_name(2), Some("tank"));
}

#[test]
fn what_stands_in_cells_and_is_no_value_is_still_read() {
    let mut plant = build(
        "[unit.u]\nholding = { 0 = 0xFA19, 1 = 0xFF41, 2 = 0xE9 }
         [unit.u.point]\na = { at = 'holding:0', type = 'bcd16' }\nb = { at = 'holding:1', type = 'string', length = 2 }",
    );
    assert_eq!(get(&mut plant, ms(0), "a"), Value::Int(9919));
    // No UTF-8, so Latin-1; and written back it is the same.
    let text = get(&mut plant, ms(0), "b");
    assert_eq!(text.to_string(), "\u{FF}A\0\u{E9}");
    plant.set(ms(0), id(&plant, "b"), &text).unwrap();
    assert_eq!(holding(&mut plant, ms(0), 1, 2), [0xFF41, 0xE9]);
}

#[test]
fn a_point_takes_the_value_of_raw_cells_below_it() {
    let mut plant = build(
        "[unit.u]\nholding = { '0..9' = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10] }\ncoils = { 3 = true }
         [unit.u.point]\na = { at = 'holding:2', type = 'u32' }\nb = { at = 'holding:5', value = 77 }
         c = { at = 'coil:3' }",
    );
    assert_eq!(get(&mut plant, ms(0), "a"), Value::Int(0x0003_0004));
    assert_eq!(get(&mut plant, ms(0), "c"), Value::Bool(true));
    assert_eq!(holding(&mut plant, ms(0), 0, 10), [1, 2, 3, 4, 5, 77, 7, 8, 9, 10]);
}

fn one(kind: &str, order: &str, extra: &str) -> (Plant, PointId) {
    let plant = points(&format!("p = {{ at = 'holding:10', type = '{kind}', order = '{order}'{extra} }}"));
    let id = id(&plant, "p");
    (plant, id)
}

fn orders() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["ABCD", "DCBA", "BADC", "CDAB"])
}

proptest! {
    #[test]
    fn what_is_set_is_what_is_got(bits in any::<u64>(), order in orders()) {
        for (kind, value) in [
            ("u16", Value::Int(i64::from(bits as u16))),
            ("i16", Value::Int(i64::from(bits as i16))),
            ("u32", Value::Int(i64::from(bits as u32))),
            ("i32", Value::Int(i64::from(bits as i32))),
            ("i64", Value::Int(bits as i64)),
            ("u64", Value::parse(&bits.to_string())),
            ("f64", Value::Float((bits as i64) as f64 / 3.0)),
            ("f32", Value::Float((f32::from_bits(bits as u32)).to_string().parse().unwrap())),
            ("bcd16", Value::Int((bits % 10_000) as i64)),
            ("bcd32", Value::Int((bits % 100_000_000) as i64)),
        ] {
            let (mut plant, id) = one(kind, order, "");
            let value = if matches!(value, Value::Float(x) if !x.is_finite()) { Value::Float(0.0) } else { value };
            plant.set(ms(0), id, &value).unwrap();
            prop_assert_eq!(plant.get(ms(0), id), value.clone(), "{}", kind);
            // A snapshot of the text is the same value again.
            plant.set(ms(0), id, &Value::parse(&value.to_string())).unwrap();
            prop_assert_eq!(plant.get(ms(0), id), value, "{}", kind);
        }
    }

    /// Each order is its own inverse, and the orders differ from each other by the same swaps for all lengths.
    #[test]
    fn orders_are_swaps(bits in any::<u64>()) {
        for kind in ["u32", "u64"] {
            let words = |order| {
                let (mut plant, id) = one(kind, order, "");
                let value = if kind == "u32" { bits & 0xFFFF_FFFF } else { bits };
                plant.set(ms(0), id, &Value::parse(&value.to_string())).unwrap();
                let count = plant.describe(id).cells;
                holding(&mut plant, ms(0), 10, count)
            };
            let plain = words("ABCD");
            let reversed: Vec<u16> = plain.iter().rev().copied().collect();
            let swapped = |words: &[u16]| words.iter().map(|w| w.swap_bytes()).collect::<Vec<_>>();
            prop_assert_eq!(words("CDAB"), reversed.clone());
            prop_assert_eq!(words("BADC"), swapped(&plain));
            prop_assert_eq!(words("DCBA"), swapped(&reversed));
        }
    }

    /// Any cells are some value, and a value that was read can be written back.
    #[test]
    fn any_cells_are_read(words in prop::collection::vec(any::<u16>(), 4), order in orders(), scale in 1u16..1000) {
        for kind in ["bool", "u16", "i16", "u32", "i32", "u64", "i64", "f32", "f64", "bcd16", "bcd32"] {
            let scaled = format!(", scale = {}", f64::from(scale) / 100.0);
            let (mut plant, id) = one(kind, order, if kind == "bool" { "" } else { &scaled });
            let count = usize::from(plant.describe(id).cells);
            let written = crate::write(&mut plant, ms(0), 10, &words[..count]);
            prop_assert!(written.is_ok() || kind.starts_with('b'));
            let value = plant.get(ms(0), id);
            let bad = plant.number(ms(0), id);
            prop_assert!(bad.is_finite() || kind.starts_with('f'));
            let again = plant.set(ms(0), id, &value);
            prop_assert!(again.is_ok() || kind.starts_with('f') || kind.ends_with("64"), "{} {:?}", kind, value);
        }
    }

    #[test]
    fn tables_hold_what_was_defined_and_nothing_else(
        runs in prop::collection::vec((any::<u16>(), 1u16..600), 1..8),
        probe in any::<u16>(), count in 1u16..126,
    ) {
        let mut unit = Unit::new();
        let mut model = std::collections::BTreeMap::new();
        for (n, (first, length)) in runs.into_iter().enumerate() {
            let length = length.min(u16::MAX - first);
            unit.define(Table::InputRegisters, first, (0..length).map(|i| i ^ n as u16)).unwrap();
            model.extend((0..length).map(|i| (first + i, i ^ n as u16)));
        }
        let mut plant = Plant::default();
        plant.add_unit(1, unit).unwrap();
        for first in model.keys().copied().step_by(97).chain([probe]) {
            let there: Option<Vec<u16>> =
                (0..count).map(|i| model.get(&first.checked_add(i)?).copied()).collect();
            prop_assert_eq!(registers(&mut plant, ms(0), Table::InputRegisters, first, count).ok(), there);
        }
    }

    #[test]
    fn places_never_panic(text in "\\PC{0,12}|[0-9]{3,7}|(holding|coil):[0-9.]{0,8}") {
        let _ = (place(&text), places(&text));
    }
}
