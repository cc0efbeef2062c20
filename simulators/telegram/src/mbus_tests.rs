use proptest::prelude::*;

use crate::testing::Bench;
use hilrig_points::Value;

const NOTHING: [u8; 0] = [];

/// The meter of the example in "The M-Bus: A Documentation", rev. 4.8, page 43: address 2, 12565 l, 113 l/h at most, 218.37 kWh.
const METER: &str = r#"
[unit.meter.point]
volume = { at = "holding:0", type = "i32", value = 12565 }
flow = { at = "holding:2", value = 113 }
energy = { at = "holding:3", type = "f64", value = 218.37 }

[telegram.m]
port = "line"
[telegram.m.profile.ft12_mbus]
address = 2
id = "12345678"
manufacturer = "PAD"
version = 1
medium = 7
access = 0x55
record = [
    { header = "03 13", point = "volume" },
    { header = "DA 02 3B", point = "flow" },
    { header = "8B 60 04", point = "energy", scale = 100 },
]
"#;

const ANSWER: [u8; 37] = [
    0x68, 0x1F, 0x1F, 0x68, 0x08, 0x02, 0x72, 0x78, 0x56, 0x34, 0x12, 0x24, 0x40, 0x01, 0x07, 0x55, 0x00,
    0x00, 0x00, 0x03, 0x13, 0x15, 0x31, 0x00, 0xDA, 0x02, 0x3B, 0x13, 0x01, 0x8B, 0x60, 0x04, 0x37, 0x18,
    0x02, 0x18, 0x16,
];

fn short(control: u8, address: u8) -> Vec<u8> {
    vec![0x10, control, address, control.wrapping_add(address), 0x16]
}

fn long(body: &[u8]) -> Vec<u8> {
    let len = body.len() as u8;
    let sum = body.iter().fold(0_u8, |sum, b| sum.wrapping_add(*b));
    [&[0x68, len, len, 0x68][..], body, &[sum, 0x16]].concat()
}

#[test]
fn the_answer_of_the_documentation_byte_for_byte() {
    let mut bench = Bench::new(METER);
    assert_eq!(bench.ask(&short(0x40, 2)), [0xE5], "SND_NKE");
    assert_eq!(bench.ask(&short(0x5B, 2)), ANSWER, "REQ_UD2");
}

#[test]
fn values_are_those_of_the_moment_and_the_access_number_counts() {
    let mut bench = Bench::new(METER);
    bench.ask(&short(0x5B, 2));
    bench.set("volume", Value::Int(-1));
    bench.set("flow", Value::Int(12_345));
    let answer = bench.ask(&short(0x7B, 2));
    assert_eq!(answer[15], 0x56);
    assert_eq!(answer[21..24], [0xFF; 3]);
    assert_eq!(answer[27..29], [0x99, 0x99], "more than four digits");
}

#[test]
fn a_request_with_the_same_frame_count_bit_gets_the_same_answer() {
    let mut bench = Bench::new(METER);
    let first = bench.ask(&short(0x5B, 2));
    bench.set("volume", Value::Int(0));
    assert_eq!(bench.ask(&short(0x5B, 2)), first);
    let second = bench.ask(&short(0x7B, 2));
    assert_ne!(second, first);
    assert_eq!(bench.ask(&short(0x7B, 2)), second);
    bench.ask(&short(0x40, 2));
    assert_ne!(bench.ask(&short(0x7B, 2)), second, "SND_NKE forgets the bit");
}

#[test]
fn all_addresses_mean_what_they_should() {
    let mut bench = Bench::new(METER);
    assert_eq!(bench.ask(&short(0x40, 254)), [0xE5]);
    assert_eq!(bench.ask(&short(0x40, 255)), NOTHING);
    assert_eq!(bench.ask(&short(0x40, 3)), NOTHING);
    assert_eq!(bench.ask(&short(0x5B, 253)), NOTHING, "nobody is selected");
    assert_eq!(bench.ask(&short(0x5A, 2)), [0xE5], "no alarms");
    // A new primary address: CI 51, DIF 01, VIF 7A.
    assert_eq!(bench.ask(&long(&[0x53, 2, 0x51, 0x01, 0x7A, 9])), [0xE5]);
    assert_eq!(bench.ask(&short(0x40, 2)), NOTHING);
    assert_eq!(bench.ask(&short(0x40, 9)), [0xE5]);
}

#[test]
fn a_secondary_address_selects_with_wildcards() {
    let mut bench = Bench::new(METER);
    let select = |id: [u8; 4], rest: [u8; 4]| long(&[&[0x53, 0xFD, 0x52][..], &id, &rest].concat());
    assert_eq!(bench.ask(&select([0x78, 0x56, 0x34, 0x12], [0x24, 0x40, 1, 7])), [0xE5]);
    let answer = bench.ask(&short(0x5B, 0xFD));
    assert_eq!(answer[..19], ANSWER[..19]);
    assert_eq!(bench.ask(&select([0x79, 0x56, 0x34, 0x12], [0xFF; 4])), NOTHING, "another one is selected");
    assert_eq!(bench.ask(&short(0x5B, 0xFD)), NOTHING);
    assert_eq!(bench.ask(&select([0xFF, 0xF6, 0xFF, 0x1F], [0xFF, 0xFF, 0xFF, 7])), [0xE5]);
    assert_eq!(bench.ask(&short(0x40, 0xFD)), [0xE5]);
    assert_eq!(bench.ask(&short(0x5B, 0xFD)), NOTHING, "SND_NKE ends the selection");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn after_anything_and_silence_the_meter_answers(bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(0x68), Just(0x10), Just(0x16)], 0..80)) {
        let mut bench = Bench::new(METER);
        bench.ask(&bytes);
        prop_assert_eq!(bench.ask(&short(0x40, 254)), [0xE5]);
        prop_assert_eq!(bench.ask(&short(0x5B, 254)).len(), ANSWER.len());
    }
}
