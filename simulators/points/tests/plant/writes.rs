//! Writes of a master: limits, access, what becomes of signals, and what writes set off.

use hilrig_points::{Refusal, Table, Value};

use crate::{build, get, holding, id, ms, number, points, registers, set, write};

#[test]
fn writes_outside_the_limits_change_nothing() {
    let mut plant = points(
        "a = { at = 'holding:0', min = 10, max = 20, value = 15 }
         b = { at = 'holding:1', type = 'i32', order = 'CDAB', scale = 0.1, min = -5, max = 5 }
         c = { at = 'holding:3', type = 'bcd16', value = 1234 }
         d = { at = 'holding:4', type = 'f32', max = 1 }
         e = { at = 'holding:6' }",
    );
    let before = holding(&mut plant, ms(0), 0, 7);
    for (first, words) in [
        (0, &[9][..]),
        (0, &[21]),
        (0, &[15, 51, 0]),
        (1, &[0xFFCD, 0xFFFF]),
        (3, &[0x123A]),
        (4, &[0x4000, 0]),
        (4, &[0x7FC0, 0]),
        (0, &[15, 0, 0, 0xF000, 0, 0, 7]),
    ] {
        assert_eq!(write(&mut plant, ms(0), first, words), Err(Refusal::Value), "{first} {words:?}");
        assert_eq!(holding(&mut plant, ms(0), 0, 7), before);
    }
    for (first, words) in
        [(0, &[10][..]), (0, &[20, 50, 0]), (1, &[0xFFCE, 0xFFFF]), (3, &[0x9999]), (4, &[0x3F80, 0])]
    {
        assert_eq!(write(&mut plant, ms(0), first, words), Ok(()), "{first} {words:?}");
    }
    // Half of a value: the other half is what is there.
    assert_eq!(write(&mut plant, ms(0), 1, &[50]), Err(Refusal::Value));
    // By hand the limits are no limits.
    set(&mut plant, ms(0), "a", 21);
    assert_eq!(plant.mask_write(ms(0), 1, 0, 0xFFF0, 0), Ok(()));
    assert_eq!(number(&mut plant, ms(0), "a"), 16.0);
    assert_eq!(plant.mask_write(ms(0), 1, 0, 0, 0xFFFF), Err(Refusal::Value));
    assert_eq!(plant.mask_write(ms(0), 1, 6, 0x00F2, 0x0025), Ok(()));
    write(&mut plant, ms(0), 6, &[0x12]).unwrap();
    // The example of AP 6.16.
    assert_eq!(plant.mask_write(ms(0), 1, 6, 0xF2, 0x25), Ok(()));
    assert_eq!(holding(&mut plant, ms(0), 6, 1), [0x17]);
    assert_eq!(plant.mask_write(ms(0), 1, 7, 0, 0), Err(Refusal::Address));
}

#[test]
fn access_is_exact_to_the_cell() {
    let mut plant = build(
        "[unit.u]
holding = { '0..9' = 7 }
coils = { '0..3' = true }
read_only = ['holding:2..3', '00002']
write_only = ['holding:5']
[unit.u.point]
ro = { at = 'holding:20', type = 'u32', access = 'ro' }
wo = { at = 'holding:22', access = 'wo' }",
    );
    let table = Table::HoldingRegisters;
    for (first, count, good) in
        [(0, 5, true), (0, 6, false), (5, 1, false), (6, 4, true), (20, 2, true), (22, 1, false)]
    {
        assert_eq!(registers(&mut plant, ms(0), table, first, count).is_ok(), good, "{first}");
    }
    for (first, count, good) in
        [(0, 2, true), (1, 2, false), (4, 3, true), (2, 1, false), (20, 1, false), (22, 1, true)]
    {
        let written = write(&mut plant, ms(0), first, &vec![1; count]);
        assert_eq!(written, if good { Ok(()) } else { Err(Refusal::Address) }, "{first}");
    }
    assert_eq!(plant.write_bits(ms(0), 1, 0, 2, &[0]), Err(Refusal::Address));
    assert_eq!(plant.write_bits(ms(0), 1, 2, 2, &[0]), Ok(()));
    assert_eq!(get(&mut plant, ms(0), "wo"), Value::Int(1));
    set(&mut plant, ms(0), "ro", 5);
    assert_eq!(holding(&mut plant, ms(0), 20, 2), [0, 5]);
    assert_eq!(plant.read_registers(ms(0), 9, table, 0, 1, &mut [0; 2]), Err(Refusal::Failure));
}

#[test]
fn a_write_to_a_live_point_does_what_the_point_says() {
    let mut plant = points(
        "o = { at = 'holding:0', type = 'u32', signal = { expr = '65536 * round(t) + 5' } }
         i = { at = 'holding:2', on_write = 'ignore', signal = { expr = 'round(t)' } }
         r = { at = 'holding:3', on_write = 'refuse', signal = { expr = 'round(t)' } }
         t = { at = 'holding:4', on_write = 'take', signal = { counter = { every = '1s' } } }
         f = { at = 'holding:5' }",
    );
    plant.begin(ms(0));
    // The half that is not written is what it was at that moment.
    write(&mut plant, ms(7000), 1, &[9]).unwrap();
    assert_eq!(holding(&mut plant, ms(8000), 0, 2), [7, 9]);
    assert!(plant.is_overridden(id(&plant, "o")));
    let o = id(&plant, "o");
    plant.release(o);
    assert_eq!(holding(&mut plant, ms(8000), 0, 2), [8, 5]);
    write(&mut plant, ms(8000), 2, &[99]).unwrap();
    assert_eq!(holding(&mut plant, ms(8000), 2, 1), [8]);
    assert_eq!(write(&mut plant, ms(8000), 3, &[99]), Err(Refusal::Address));
    assert_eq!(write(&mut plant, ms(8000), 2, &[1, 1]), Err(Refusal::Address));
    assert_eq!(holding(&mut plant, ms(8000), 3, 2), [8, 8]);
    write(&mut plant, ms(8500), 4, &[100, 1]).unwrap();
    assert_eq!(holding(&mut plant, ms(10_000), 4, 2), [102, 1]);
    // A hand is stronger.
    for name in ["i", "r"] {
        set(&mut plant, ms(10_000), name, 50);
        assert_eq!(number(&mut plant, ms(20_000), name), 50.0);
    }
    assert_eq!(write(&mut plant, ms(20_000), 3, &[99]), Ok(()), "its signal is off");
    set(&mut plant, ms(20_500), "t", 0);
    assert_eq!(number(&mut plant, ms(22_000), "t"), 2.0);
    let written: Vec<_> = plant.written().collect();
    let names: Vec<_> = written.iter().map(|id| plant.describe(*id).short_name()).collect();
    assert_eq!(names, ["o", "i", "t", "f", "r"]);
    assert_eq!(plant.written().count(), 0);
    write(&mut plant, ms(22_000), 5, &[1]).unwrap();
    assert_eq!(plant.written().count(), 1);
}

const SEQUENCE: &str = "
[unit.u.point]
start = { at = 'coil:0' }
stop = { at = 'coil:1' }
running = { at = 'discrete:0' }
speed = { at = 'input:0', type = 'f32' }
text = { at = 'input:2', type = 'string', length = 4 }
limit = { at = 'holding:0', value = 5 }
twice = { at = 'holding:1' }
any = { at = 'holding:2' }
count = { at = 'holding:3' }
ramped = { at = 'holding:4', signal = { expr = '7' } }
flag = { at = 'holding:5', bit = 4 }
other = { at = 'holding:5', bit = 5, value = true }
[[unit.u.on_write]]
point = 'start'
when = 'rising'
do = [
  { set = { point = 'running', value = true } },
  { set = { point = 'text', value = 'up' } },
  { set = { point = 'flag', value = true } },
  { wait = '1s' },
  { ramp = { point = 'speed', to = 1500, over = '3s' } },
  { wait = '4s' },
  { set = { point = 'text', value = 'run' } },
]
[[unit.u.on_write]]
point = 'limit'
when = 'value > 10 and old <= 10'
do = [{ set = { point = 'twice', expr = 'limit * 2' } }]
[[unit.u.on_write]]
point = 'any'
do = [{ set = { point = 'count', expr = 'count + 1' } }, { set = { point = 'ramped', value = 1 } }, { wait = '1s' }, { release = 'ramped' }]
[[unit.u.on_write]]
point = 'stop'
when = 'change'
do = [{ set = { point = 'running', value = false } }, { set = { point = 'speed', value = 0 } }]
[[unit.u.on_write]]
point = 'start'
when = 'falling'
do = [{ set = { point = 'running', value = false } }]
";

#[test]
fn a_write_sets_off_a_sequence_that_keeps_its_times() {
    let mut plant = build(SEQUENCE);
    plant.begin(ms(0));
    plant.write_bits(ms(1000), 1, 0, 1, &[0]).unwrap();
    assert_eq!(get(&mut plant, ms(1000), "running"), Value::Bool(false), "no edge");
    plant.write_bits(ms(2000), 1, 0, 1, &[1]).unwrap();
    assert_eq!(get(&mut plant, ms(2000), "running"), Value::Bool(true));
    assert_eq!(get(&mut plant, ms(2000), "text").to_string(), "up");
    assert_eq!(holding(&mut plant, ms(2000), 5, 1), [0x30]);
    // Nobody looks while the ramp begins.
    assert_eq!(number(&mut plant, ms(4500), "speed"), 750.0);
    plant.write_bits(ms(4600), 1, 0, 1, &[1]).unwrap();
    assert_eq!(number(&mut plant, ms(6999), "speed"), 1500.0);
    assert_eq!(get(&mut plant, ms(6999), "text").to_string(), "up");
    assert_eq!(get(&mut plant, ms(7000), "text").to_string(), "run");
    plant.write_bits(ms(8000), 1, 1, 1, &[1]).unwrap();
    assert_eq!(number(&mut plant, ms(8000), "speed"), 0.0);
    plant.write_bits(ms(8000), 1, 0, 1, &[0]).unwrap();
    assert_eq!(get(&mut plant, ms(8000), "running"), Value::Bool(false));
    // Started anew in the middle: the first life's steps are gone.
    plant.write_bits(ms(10_000), 1, 0, 1, &[1]).unwrap();
    plant.write_bits(ms(10_500), 1, 0, 1, &[0]).unwrap();
    plant.write_bits(ms(10_600), 1, 0, 1, &[1]).unwrap();
    assert_eq!(number(&mut plant, ms(11_600), "speed"), 0.0);
    assert_eq!(number(&mut plant, ms(13_100), "speed"), 750.0);
}

#[test]
fn triggers_see_the_value_before_and_after_and_by_hand_too() {
    let mut plant = build(SEQUENCE);
    write(&mut plant, ms(0), 0, &[10]).unwrap();
    assert_eq!(number(&mut plant, ms(0), "twice"), 0.0);
    write(&mut plant, ms(0), 0, &[11]).unwrap();
    assert_eq!(number(&mut plant, ms(0), "twice"), 22.0);
    set(&mut plant, ms(0), "limit", 12);
    assert_eq!(number(&mut plant, ms(0), "twice"), 22.0);
    set(&mut plant, ms(0), "limit", 1);
    set(&mut plant, ms(0), "limit", 13);
    assert_eq!(number(&mut plant, ms(0), "twice"), 26.0);
    for n in 1..4 {
        write(&mut plant, ms(0), 2, &[0]).unwrap();
        assert_eq!(number(&mut plant, ms(0), "count"), f64::from(n));
    }
    assert_eq!(number(&mut plant, ms(500), "ramped"), 1.0);
    assert_eq!(number(&mut plant, ms(1000), "ramped"), 7.0);
}

#[test]
fn extras_answer_as_the_file_says() {
    let mut plant = build(
        "[unit.u]
id = 17
identity = { vendor = 'hilrig', product_code = 'P1', revision = '1.2', model_name = 'M', extended = { 0x80 = 'x', 200 = 'y' } }
server_id = { hex = '11 FF', running = false, additional = '01 02' }
exception_status = ['a', 'u.b', 'a']
file = { 4 = [1, 2, 0x1234], 65535 = [9] }
fifo = { 1246 = [440, 4740], 7 = [0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31] }
[unit.u.user_function]
65 = [{ request = '01 ??', reply = 'AA' }, { request = '02', exception = 3 }, { reply = '' }]
0x42 = [{ request = '', reply = '01 02' }]
[unit.u.point]
a = { at = 'coil:0', value = true }
b = { at = 'coil:1', signal = { square = { period = '2s' } } }
[unit.v]
id = 18
exception_status = 0x6D",
    );
    plant.begin(ms(0));
    assert_eq!(plant.identity(17, 0), Some(&b"hilrig"[..]));
    assert_eq!(
        [3, 5, 0x80, 200].map(|o| plant.identity(17, o)),
        [None, Some(&b"M"[..]), Some(b"x"), Some(b"y")]
    );
    assert_eq!(plant.identity(18, 0), None);
    let server = plant.server_id(17).unwrap();
    assert_eq!(
        (&server.id[..], server.running, &server.additional[..]),
        (&[0x11, 0xFF][..], false, &[1, 2][..])
    );
    assert_eq!(plant.server_id(18), None);
    assert_eq!([0, 1000].map(|t| plant.exception_status(ms(t), 17)), [0b111, 0b101]);
    assert_eq!(plant.exception_status(ms(0), 18), 0x6D);

    let mut out = [0; 4];
    assert_eq!(plant.file_read(17, 4, 1, 2, &mut out), Ok(()));
    assert_eq!(out, [0, 2, 0x12, 0x34]);
    for (file, record, length) in [(4, 2, 2), (4, 3, 1), (5, 0, 1), (4, 10_000, 0), (4, 65_535, 1)] {
        assert_eq!(
            plant.file_read(17, file, record, length, &mut out),
            Err(Refusal::Address),
            "{file} {record}"
        );
        assert_eq!(plant.file_check(17, file, record, length), Err(Refusal::Address));
    }
    assert_eq!(plant.file_write(17, 4, 0, &[7, 7, 8, 8]), Ok(()));
    assert_eq!(plant.file_read(17, 4, 0, 2, &mut out), Ok(()));
    assert_eq!(out, [7, 7, 8, 8]);

    // The example of AP 6.18.
    let mut queue = [0; 62];
    assert_eq!(plant.fifo(ms(0), 17, 1246, &mut queue), Ok(2));
    assert_eq!(queue[..4], [0x01, 0xB8, 0x12, 0x84]);
    assert_eq!(plant.fifo(ms(0), 17, 7, &mut queue), Err(Refusal::Value));
    assert_eq!(plant.fifo(ms(0), 17, 8, &mut queue), Err(Refusal::Address));

    let replies: [(&[u8], Option<&[u8]>); 7] = [
        (&[65, 1, 9], Some(&[65, 0xAA])),
        (&[65, 1], Some(&[65])),
        (&[65, 2], Some(&[0xC1, 3])),
        (&[0x42], Some(&[0x42, 1, 2])),
        (&[0x42, 0], None),
        (&[67], None),
        (&[], None),
    ];
    for (request, reply) in replies {
        assert_eq!(plant.user_reply(17, request), reply, "{request:?}");
    }
    assert!(
        plant.has_user_function(17, 0x42)
            && !plant.has_user_function(17, 67)
            && !plant.has_user_function(9, 65)
    );
}
