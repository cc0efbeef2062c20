use proptest::prelude::*;

use super::*;

#[test]
fn what_is_read_and_written_becomes_a_unit_table() {
    let mut map = LearnMap::default();
    let mut pair = |request: &[u8], data: &[u8]| {
        map.asked(17, request);
        map.answered(17, request, data);
    };
    pair(&[3, 0, 0, 0, 3], &[0, 1, 0, 2, 0, 3]);
    pair(&[6, 0, 1, 0, 9], &[]);
    pair(&[16, 1, 0, 0, 2, 4, 1, 2, 3, 4], &[]);
    pair(&[1, 0, 6, 0, 10], &[0b1000_0001, 0b10]);
    pair(&[5, 0, 7, 0xFF, 0], &[]);
    pair(&[22, 0, 2, 0xFF, 0, 0, 0x55], &[]);
    // Not known, so masks give nothing known.
    pair(&[22, 0, 9, 0xFF, 0, 0, 0x55], &[]);
    pair(&[23, 2, 0, 0, 1, 2, 0, 0, 1, 2, 0, 7], &[0, 7]);
    // Refused, and never answered.
    map.asked(17, &[4, 0, 0, 0, 5]);
    map.refused(17, &[4, 0, 0, 0, 5]);
    map.asked(17, &[2, 0, 3, 0, 2]);
    map.asked(3, &[3, 0xFF, 0xFF, 0, 9]);
    assert_eq!(map.units(), [3, 17]);
    assert_eq!(
        map.to_toml(17, "pump"),
        "[unit.pump]\nid = 17\n\n\
         [unit.pump.coils]\n6 = 1 # read\n7 = 1 # read and written\n\"8..15\" = [0, 0, 0, 0, 0, 1, 0, 1] # read\n\n\
         [unit.pump.discrete]\n\"3..4\" = [0, 0] # read, no value seen\n\n\
         [unit.pump.holding]\n0 = 1 # read\n\"1..2\" = [9, 85] # read and written\n\
         9 = 0 # written, no value seen\n\"256..257\" = [258, 772] # written\n512 = 7 # read and written\n"
    );
    assert_eq!(map.ranges(3).iter().map(|r| (r.first, r.values.len())).collect::<Vec<_>>(), [(65535, 1)]);
    assert_eq!(map.value(17, Table::HoldingRegisters, 256), Some(258));
    assert_eq!(map.value(17, Table::HoldingRegisters, 9), None);
    // It is a table as TOML has it.
    let toml: toml::Table = map.to_toml(17, "pump").parse().unwrap();
    assert_eq!(toml["unit"]["pump"]["holding"]["1..2"][1].as_integer(), Some(85));
}

#[test]
fn a_full_map_counts_and_goes_on() {
    let mut map = LearnMap::default();
    for unit in 1..=200 {
        map.asked(unit, &[3, 0, 0, 0, 1]);
        map.asked(unit, &[4, 0, 0, 0, 1]);
    }
    assert_eq!(map.missed(), 400 - 256);
    assert_eq!(map.units().len(), 128);
}

proptest! {
    #[test]
    fn nothing_that_is_heard_panics(
        pairs in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..30),
            prop::collection::vec(any::<u8>(), 0..30)), 0..20),
    ) {
        let mut map = LearnMap::default();
        for (unit, request, data) in &pairs {
            map.asked(*unit, request);
            map.answered(*unit, request, data);
            map.refused(*unit, data);
        }
        for unit in map.units() {
            prop_assert!(map.to_toml(unit, "unit").parse::<toml::Table>().is_ok());
        }
    }
}
