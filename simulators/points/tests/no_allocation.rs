//! A plant allocates nothing while it is read and written, whatever moves in it.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::Duration;

use hilrig_files::{Entries, Problems, read};
use hilrig_points::{Builder, Plant, Table, UnitFile};
use hilrig_port::Time;
use hilrig_tests::{Counting, allocator_calls};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[derive(serde::Deserialize)]
struct Model {
    unit: Entries<UnitFile>,
}

fn plant(text: &str) -> Plant {
    let mut problems = Problems::new("model", "model.toml", text);
    let model: Model = read(text, &mut problems).unwrap();
    let mut builder = Builder::new(3);
    for (name, unit) in &model.unit.0 {
        builder.unit(name, &unit.value, Path::new("."), &mut problems);
    }
    let plant = builder.finish(&mut problems);
    assert!(problems.is_empty(), "{problems:?}");
    plant
}

const MODEL: &str = "
[unit.u]
file = { 1 = [1, 2, 3] }
fifo = { 5 = [1, 2] }
exception_status = ['go', 'bit']
user_function = { 65 = [{ reply = '01' }] }
[unit.u.point]
a = { at = 'holding:0', type = 'f64', signal = { sine = { amplitude = 5, period = '3s' } } }
b = { at = 'holding:4', type = 'f32', order = 'CDAB', signal = { noise = { sigma = 1, around = 'a' } } }
c = { at = 'holding:6', type = 'u32', on_write = 'take', signal = { counter = { every = '3ms', when = 'a > b' } } }
d = { at = 'holding:8', type = 'i32', signal = { random_walk = { step = 100, every = '2ms' } } }
e = { at = 'holding:10', type = 'f64', signal = { lag = { input = 'd', tau = '1s', dead_time = '400ms', step = '5ms' } } }
f = { at = 'holding:14', type = 'f64', signal = { integrator = { input = 'e', step = '5ms' } } }
g = { at = 'holding:18', type = 'f64', signal = { pid = { setpoint = 'a', kp = 1, ki = 1, step = '5ms', plant = { gain = 1, tau = '1s', dead_time = '20ms' } } } }
h = { at = 'holding:22', signal = { states = { step = '10ms', state = { x = { value = 1, to = [{ state = 'y', after = '1s' }] }, y = { expr = 'elapsed', to = [{ state = 'x', when = 'f > 0' }] } } } } }
i = { at = 'holding:23', type = 'bcd16', scale = 0.1, min = 0, max = 500, signal = { expr = 'abs(sin(a) * num(bit(c, 2)))' } }
bit = { at = 'holding:24', bit = 3, signal = { square = { period = '1s' } } }
go = { at = 'coil:0' }
text = { at = 'holding:25', type = 'string', length = 4, value = 'x' }
moved = { at = 'holding:29', type = 'i16', min = -100, max = 20000 }
[[unit.u.on_write]]
point = 'go'
when = 'change'
do = [{ set = { point = 'text', value = 'on' } }, { wait = '70ms' }, { ramp = { point = 'moved', to = 9000, over = '300ms' } }, { set = { point = 'd', expr = 'a * 2' } }, { wait = '10ms' }, { release = 'd' }]
[[unit.u.on_write]]
point = 'moved'
when = 'value > old'
do = [{ set = { point = 'b', value = 1 } }, { wait = '1s' }, { release = 'b' }]
";

#[test]
fn none_while_it_lives() {
    // A model is run from a copy.
    let mut plant = plant(MODEL).clone();
    let mut now = Time(1_000);
    plant.begin(now);
    let ids: Vec<_> = plant.points().map(|(id, _)| id).collect();
    let (moved, d) = (plant.point("moved").unwrap(), plant.point("d").unwrap());
    let mut out = [0; 60];
    let (mut seen, mut changes, mut sum, mut refused) = ([0; 60], 0u32, 0.0, 0);

    let before = allocator_calls();
    for turn in 0..40_000u32 {
        now = now + Duration::from_micros(u64::from(turn % 2_500));
        plant.read_registers(now, 1, Table::HoldingRegisters, 0, 30, &mut out).unwrap();
        changes += u32::from(out != seen);
        seen = out;
        match turn % 16 {
            0 => plant.write_bits(now, 1, 0, 1, &[(turn / 16) as u8 & 1]).unwrap(),
            1 => {
                refused += u32::from(plant.write_registers(now, 1, 29, &(turn as u16).to_be_bytes()).is_err())
            }
            2 => plant.write_registers(now, 1, 6, &[0, 0, 1, 0]).unwrap(),
            3 => plant.ramp(now, moved, f64::from(turn % 100), Duration::from_millis(7)).unwrap(),
            4 => plant.set_number(now, d, f64::from(turn)),
            5 => plant.release(d),
            6 => sum += ids.iter().map(|id| plant.number(now, *id)).sum::<f64>(),
            7 => changes += plant.written().count() as u32,
            8 => sum += f64::from(plant.exception_status(now, 1)),
            9 => plant.mask_write(now, 1, 24, 0xFFF0, 0x0001).unwrap(),
            10 => plant.advance(now),
            11 => plant.file_read(1, 1, 0, 3, &mut out[..6]).unwrap(),
            12 => sum += plant.fifo(now, 1, 5, &mut [0; 62]).unwrap() as f64,
            13 => sum += f64::from(u8::from(plant.user_reply(1, &[65]).is_some())),
            14 => plant.read_bits(now, 1, Table::Coils, 0, 1, &mut out[..1]).unwrap(),
            _ => refused += u32::from(plant.read_bits(now, 1, Table::Coils, 1, 1, &mut out[..1]).is_err()),
        }
    }
    let calls = allocator_calls() - before;
    assert_eq!(calls, 0);
    assert!(changes > 20_000 && sum.is_finite() && refused > 100, "{changes} {sum} {refused}");
}
