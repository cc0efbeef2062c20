use proptest::prelude::*;

use crate::testing::{Bench, ms};
use hilrig_points::Value;

const NOTHING: [u8; 0] = [];

/// P0700 and others as in the examples of the MICROMASTER 420 reference manual (issue A1), 3.3.5.
const DRIVE: &str = r#"
[unit.drive.point]
control = { at = "holding:0" }
setpoint = { at = "holding:1", type = "i16" }
status = { at = "holding:2", value = 0xFA31 }
speed = { at = "holding:3", type = "f32", value = 25.0 }
p700 = { at = "holding:10", value = 2 }
p1082 = { at = "holding:12", type = "f32", value = 50.0, max = 650 }
p2000 = { at = "holding:14", type = "f32", value = 50.0 }
p3 = { at = "holding:16", type = "i16", value = -2 }

[telegram.d]
port = "line"
[telegram.d.profile.uss]
address = 3
parameter = { 700 = "p700", 1082 = "p1082", 2000 = "p2000", 3 = "p3" }
receive = [{ point = "control" }, { point = "setpoint", signed = true }]
send = [{ point = "status" }, { point = "speed", scale = 327.68, signed = true }]
"#;

fn telegram(address: u8, words: &[u16]) -> Vec<u8> {
    let mut all = vec![0x02, 2 * words.len() as u8 + 2, address];
    words.iter().for_each(|word| all.extend(word.to_be_bytes()));
    all.push(all.iter().fold(0, |bcc, byte| bcc ^ byte));
    all
}

/// The words of an answer from the drive.
fn words(answer: &[u8]) -> Vec<u16> {
    let words: Vec<u16> =
        answer[3..answer.len() - 1].chunks_exact(2).map(|w| u16::from_be_bytes([w[0], w[1]])).collect();
    assert_eq!(answer, telegram(3, &words), "marks, length and BCC");
    words
}

#[test]
fn process_data_go_both_ways() {
    let mut bench = Bench::new(DRIVE);
    let answer = bench.ask(&telegram(3, &[0, 0, 0, 0, 0x047F, 0xF000]));
    assert_eq!(words(&answer), [0, 0, 0, 0, 0xFA31, 0x2000]);
    assert_eq!((bench.get("control"), bench.get("setpoint")), (Value::Int(0x047F), Value::Int(-0x1000)));
}

#[test]
fn parameters_as_in_the_examples_of_the_manual() {
    let mut bench = Bench::new(DRIVE);
    let mut ask = |pkw: [u16; 4]| {
        let request = telegram(3, &[pkw[0], pkw[1], pkw[2], pkw[3], 0, 0]);
        let words = words(&bench.ask(&request));
        [words[0], words[1], words[2], words[3]]
    };
    // A word stands in the last of four; the manual leaves the one before out, having a channel of variable length.
    assert_eq!(ask([0x12BC, 0, 0, 0]), [0x12BC, 0, 0, 2], "read P0700");
    assert_eq!(ask([0x143A, 0, 0, 0]), [0x243A, 0, 0x4248, 0], "read P1082: 50.00");
    assert_eq!(ask([0x1000, 0x8000, 0, 0]), [0x2000, 0x8000, 0x4248, 0], "read P2000");
    assert_eq!(ask([0x343A, 0, 0x4220, 0]), [0x243A, 0, 0x4220, 0], "change P1082 to 40.00");
    assert_eq!(ask([0x243A, 0, 0x4220, 0]), [0x743A, 0, 0, 5], "as a word: wrong data type");
    assert_eq!(ask([0x143A, 0, 0, 0]), [0x243A, 0, 0x4220, 0]);
    // Not in the manual.
    assert_eq!(ask([0x22BC, 0, 0, 5]), [0x12BC, 0, 0, 5]);
    assert_eq!(ask([0x62BC, 0, 0, 0]), [0x42BC, 0, 0, 5], "with an index");
    assert_eq!(ask([0x1003, 0, 0, 0]), [0x1003, 0, 0, 0xFFFE]);
    assert_eq!(ask([0x2003, 0, 0, 0xFFFF]), [0x1003, 0, 0, 0xFFFF]);
    assert_eq!(ask([0x1123, 0, 0, 0]), [0x7123, 0, 0, 0], "no such parameter");
    assert_eq!(ask([0x42BC, 0, 0, 0]), [0x72BC, 0, 0, 101], "no such task");
    assert_eq!(bench.get("p3"), Value::Int(-1));
}

#[test]
fn addresses_broadcasts_and_mirrors() {
    let mut bench = Bench::new(DRIVE);
    let data = [0, 0, 0, 0, 7, 8];
    assert_eq!(bench.ask(&telegram(4, &data)), NOTHING);
    assert_eq!(bench.ask(&telegram(0x83, &data)), NOTHING, "special telegrams");
    assert_eq!(bench.get("control"), Value::Int(0));
    assert_eq!(bench.ask(&telegram(0x20, &data)), NOTHING);
    assert_eq!(bench.get("control"), Value::Int(7), "a broadcast is obeyed without an answer");
    let mirror = telegram(0x43, &[1, 2, 3, 4, 5, 6]);
    assert_eq!(bench.ask(&mirror), mirror);
    assert_eq!(bench.ask(&telegram(3, &[0; 5])), NOTHING, "another length");
    let mut bad = telegram(3, &data);
    bad[5] ^= 1;
    assert_eq!(bench.ask(&bad), NOTHING);
    assert_eq!(bench.station.stats().totals().checksum_errors, 1);
}

#[test]
fn a_master_asks_in_its_period_and_takes_what_comes() {
    let master = DRIVE.replace("address = 3", "address = 3\nmaster_every = \"10ms\"\npkw = 0");
    let mut bench = Bench::new(&master);
    bench.until(ms(25));
    let at: Vec<_> = bench.said.iter().map(|(at, _)| *at).collect();
    assert_eq!(at, [ms(0), ms(10), ms(20)]);
    assert_eq!(bench.said[0].1, telegram(3, &[0xFA31, 0x2000]));
    bench.hear(&telegram(3, &[0x1234, 0xFFFF]));
    assert_eq!((bench.get("control"), bench.get("setpoint")), (Value::Int(0x1234), Value::Int(-1)));
    bench.hear(&telegram(5, &[1, 1]));
    assert_eq!(bench.get("control"), Value::Int(0x1234));
    assert_eq!(bench.said.len(), 3, "an answer is not answered");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_net_data_are_answered_in_their_length_or_not(address in any::<u8>(), net in prop::collection::vec(any::<u16>(), 0..9)) {
        let mut bench = Bench::new(DRIVE);
        let request = telegram(address, &net);
        let answer = bench.ask(&request);
        prop_assert!(answer.is_empty() || answer.len() == request.len());
        prop_assert_eq!(bench.ask(&telegram(3, &[0; 6])).len(), 16);
    }

    #[test]
    fn after_anything_and_silence_the_drive_answers(bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(2)], 0..80)) {
        let mut bench = Bench::new(DRIVE);
        bench.ask(&bytes);
        prop_assert_eq!(bench.ask(&telegram(3, &[0; 6])).len(), 16);
    }
}
