//! A wrong file: everything that is wrong at once, each with its line.

use std::path::Path;

use crate::{build, try_build};

fn lines(text: &str) -> String {
    try_build(text, Path::new("/nonexistent")).map(drop).unwrap_err().lines()
}

const PUMP: &str = "[unit.pump]
id = 248
holding = { '0..4' = [1, 2], 7 = 70000, '8..9' = 1, 9 = 2, x = 1 }
coils = { 0 = 2 }
read_only = ['holding:100..200', 'nowhere:1', 'coil:0']
exception_status = ['level', 'nobody']
fifo = { 70000 = [1] }
file = { 0 = [1], 1 = [99999] }
server_id = { text = 'a', hex = '00' }
user_function = { 65 = [{ request = '0' }, { reply = 'zz' }, { reply = '00', exception = 1 }], 200 = [] }
[unit.pump.point]
nowhere = { value = 1 }
bad = { at = 'holding:70000' }
odd = { at = 39, type = 'u32' }
level = { at = 'holding:10', type = 'f32', min = 5, max = 1, order = 'CDAB' }
above = { at = 'holding:11' }
bit = { at = 'holding:20', bit = 16 }
wide = { at = 'coil:1', type = 'u16' }
long = { at = 'holding:65535', type = 'u32' }
text = { at = 'holding:30', type = 'string' }
text2 = { at = 'holding:32', type = 'string', length = 200, scale = 2 }
zero = { at = 'holding:40', scale = 0 }
much = { at = 'holding:41', value = 65536 }
take = { at = 'holding:42', on_write = 'take', signal = { const = 1 } }
free = { at = 'holding:43', on_write = 'ignore' }
";

/// Of each line, some words that are told of it.
#[track_caller]
fn all_told(error: &str, wanted: &[(usize, &str)]) {
    for (line, words) in wanted {
        let found = error.lines().any(|l| l.starts_with(&format!("model.toml:{line}:")) && l.contains(words));
        assert!(found, "{line}: {words}\n{error}");
    }
}

#[test]
fn all_at_once() {
    // The last line is no TOML; alone it would hide the others.
    let error = lines(&format!("{PUMP}level.at = 'holding:50'\n"));
    assert!(error.contains("model.toml:26:") && error.lines().count() == 1, "{error}");

    let error = lines(PUMP);
    let wanted = [
        (2, "248 is out of range"),
        (3, "the list does not fit the range"),
        (3, "70000 is out of range"),
        (3, "an address is given twice"),
        (3, "this is not an address"),
        (4, "2 is out of range"),
        (5, "there is nothing here"),
        (5, "this is no place in the tables"),
        (6, "this point is no bool"),
        (6, "unknown point `nobody`"),
        (7, "`70000` is not an address"),
        (8, "`0` is not a file number"),
        (8, "99999 is out of range"),
        (9, "not exactly one of `text` and `hex`"),
        (10, "this is no pattern of bytes"),
        (10, "not exactly one of `reply` and `exception`"),
        (10, "these are no bytes"),
        (10, "`200` is not a function code"),
        (12, "the point `nowhere` has no place"),
        (13, "`holding:70000` is no place in the tables"),
        (14, "`39` is no place in the tables"),
        (15, "no value is within these limits"),
        (16, "`above` lies where `level` is: `level` in line 15 takes holding:10..11"),
        (17, "16 is out of range"),
        (18, "this type does not fit the place"),
        (19, "the point passes the last address"),
        (20, "the string `text` has no length"),
        (21, "200 is out of range"),
        (21, "string has no scale"),
        (22, "a scale of 0"),
        (23, "the point cannot have this value"),
        (24, "`on_write` has no meaning here: \"take\" is for"),
        (25, "`on_write` has no meaning here: it is about points with a signal"),
    ];
    all_told(&error, &wanted);
}

#[test]
fn a_server_id_must_fit_a_reply() {
    let unit = |bytes: usize| {
        format!("[unit.a]\nserver_id = {{ text = 'a', additional = '{}' }}", "00 ".repeat(bytes))
    };
    let error = lines(&unit(250));
    assert!(error.contains("too much for one reply"), "{error}");
    assert_eq!(build(&unit(249)).server_id(1).unwrap().additional.len(), 249);
}

#[test]
fn signals_and_triggers() {
    let error = lines(
        "[unit.a.point]
p = { at = 'holding:0' }
s = { at = 'holding:1', type = 'string', length = 2, signal = { const = 1 } }
wave = { at = 'holding:3', signal = { triangle = { max = 1, period = '0s', phase = 2 } } }
noise = { at = 'holding:4', signal = { noise = { sigma = 1, amplitude = 2 } } }
walk = { at = 'holding:5', signal = { random_walk = { step = 1, every = '10us', min = 2, max = 1 } } }
csv = { at = 'holding:6', signal = { csv = { file = 'none.csv' } } }
lag = { at = 'holding:7', signal = { lag = { input = 'q', tau = '1s', dead_time = '60s', step = '1ms' } } }
pid = { at = 'holding:8', signal = { pid = { setpoint = 'p', kp = 1 } } }
mode = { at = 'holding:9', signal = { states = { start = 'x', state = { a = { value = 1, expr = '2', to = [{ state = 'b', when = 'p' }, { state = 'a' }] } } } } }
none = { at = 'holding:10', signal = { states = { state = {} } } }
big = { at = 'holding:11', signal = { const = 70000 } }
count = { at = 'holding:12', signal = { counter = { every = '1s', start = 5, last = 1 } } }
flag = { at = 'coil:0', signal = { expr = 'p + 1' } }
[[unit.a.on_write]]
point = 'nobody'
do = []
[[unit.a.on_write]]
point = 's'
when = 'rising'
do = [{ set = { point = 'p' } }, { set = { point = 'p', value = -1 } }, { ramp = { point = 'flag', to = 1, over = '1s' } }, { ramp = { point = 'p', to = 1e9, over = '1s' } }, { set = { point = 's', expr = '1' } }, { set = { point = 'flag', expr = '1' } }, { wait = 'x' }]
[[unit.a.on_write]]
point = 'flag'
when = 'value > 1'
do = [{ release = 'p' }]
[unit.b]
id = 1
[unit.c.point]
id = { at = 'holding:0' }
",
    );
    let wanted = [
        (3, "text does not change by itself"),
        (4, "no time at all"),
        (4, "2 is out of range"),
        (5, "not exactly one of `amplitude` and `sigma`"),
        (6, "this is too often"),
        (6, "no value is within these limits"),
        (7, "cannot read /nonexistent/none.csv"),
        (8, "unknown name `q`"),
        (8, "too many steps"),
        (9, "not exactly one of `plant` and `process`"),
        (10, "unknown state `x`"),
        (10, "unknown state `b`"),
        (10, "the state `a` has not exactly one of `value` and `expr`"),
        (10, "true or false is wanted here"),
        (10, "it would be left at once"),
        (11, "there are no states"),
        (12, "the point cannot have this value"),
        (13, "it never comes here"),
        (14, "true or false is wanted here"),
        (16, "unknown point `nobody`"),
        (17, "nothing to do"),
        (20, "text is not compared"),
        (21, "not exactly one of `value` and `expr`"),
        (21, "the point cannot have this value: -1 does not fit a.p"),
        (21, "bool does not move evenly"),
        (21, "1000000000 does not fit"),
        (21, "text cannot be computed"),
        (21, "true or false is wanted here"),
        (21, "`x` is not a time"),
        (24, "a number is wanted"),
        (27, "two units have the id 1"),
        (28, "two units have the id 1"),
    ];
    all_told(&error, &wanted);
}

#[test]
fn names_that_several_units_have_must_be_said_in_full() {
    let text = "[unit.a]\nid = 1\npoint.level = { at = 'holding:0', value = 4 }
[unit.b]\nid = 2\npoint.level = { at = 'holding:0', value = 5 }\npoint.own = { at = 'holding:1', signal.expr = 'level' }
[unit.c]\nid = 3\npoint.sum = { at = 'holding:0', signal.expr = 'a.level + b.level + own' }\n";
    let mut plant = try_build(text, Path::new(".")).unwrap_or_else(|e| panic!("{}", e.lines()));
    assert_eq!(crate::number(&mut plant, crate::ms(0), "sum"), 14.0);
    let error = try_build(&text.replace("a.level", "level"), Path::new(".")).unwrap_err();
    let problem = &error.problems[0];
    assert_eq!(problem.help.as_deref(), Some("write a.level or b.level"));
}
