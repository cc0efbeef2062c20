//! Expressions: what they give, and what is told of those that make no sense.

use std::path::Path;

use crate::{get, ms, number, points, set, try_build};

/// The value of an expression over a = 6, b = 2.5, on = true.
fn eval(text: &str) -> f64 {
    let mut plant = points(&format!(
        "a = {{ at = 'holding:0', value = 6 }}
         b = {{ at = 'holding:1', type = 'f32', value = 2.5 }}
         on = {{ at = 'coil:0', value = true }}
         name = {{ at = 'holding:90', type = 'string', length = 2 }}
         \"x-1\" = {{ at = 'holding:9', value = 9 }}
         p = {{ at = 'holding:10', type = 'f64', signal = {{ expr = \"{text}\" }} }}"
    ));
    plant.begin(ms(0));
    number(&mut plant, ms(1500), "p")
}

#[test]
fn values() {
    for (text, value) in [
        ("1 + 2 * 3", 7.0),
        ("(1 + 2) * 3", 9.0),
        ("-2 ** 2", -4.0),
        ("2 ** -1", 0.5),
        ("2 ** 3 ** 2", 512.0),
        ("10 - 3 - 2", 5.0),
        ("7 % 4 + -7 % 4", 0.0),
        ("mod(-1, 4)", 3.0),
        ("a * b", 15.0),
        ("u.a / 4", 1.5),
        ("`x-1` - 1", 8.0),
        ("1e3 + .5 + 2.5e-1", 1000.75),
        ("if(a > 5 and b < 3, 1, 2)", 1.0),
        ("if(not on or a == 7, 1, 2)", 2.0),
        ("if(!on || a != 6 && b >= 2.5, 1, 2)", 2.0),
        ("if((a >= 6) == on, 1, 2)", 1.0),
        ("num(bit(a, 1)) + num(bit(a, 0)) + num(bit(a, 99))", 1.0),
        ("clamp(a, 0, 5) + min(a, b) + max(a, b)", 13.5),
        ("abs(-2) + sign(-3) + round(2.5) + floor(-0.5) + ceil(0.2)", 4.0),
        ("sqrt(16) + pow(2, 3) + exp(0) + ln(1) + log10(100)", 15.0),
        ("sin(0) + cos(0) + atan2(0, 1) + tan(0) + asin(0) + acos(1) + atan(0)", 1.0),
        ("t", 1.5),
        ("round(pi * 100)", 314.0),
        ("+a", 6.0),
        ("1 / 0", f64::INFINITY),
    ] {
        let text = text.to_owned();
        assert_eq!(eval(&text), value, "{text}");
    }
    assert!(eval("0 / 0").is_nan());
}

#[test]
fn mistakes_are_told_where_they_are() {
    for (text, at, words) in [
        ("1 +", "+", "ends too early"),
        ("1 + + * 2", "*", "`*` is out of place"),
        ("(1 + 2", "(", "bracket is not closed"),
        ("1 2", "2", "a number is out of place"),
        ("a = 6", "=", "write =="),
        ("speed * 2", "speed", "unknown name `speed`"),
        ("v.level", "v.level", "unknown name `v.level`"),
        ("name + 1", "name", "this point is text"),
        ("on + 1", "on", "a number is wanted"),
        ("num(a)", "a", "true or false is wanted"),
        ("if(a, 1, 2)", "a", "true or false is wanted"),
        ("if(on, 1, on)", "on", "a number is wanted"),
        ("a > 1", "a > 1", "a number is wanted here"),
        ("1 < a < 3", "<", "cannot be chained"),
        ("sine(2)", "sine", "unknown function `sine`"),
        ("sin(1, 2)", "sin(1, 2)", "sin takes 1"),
        ("max(1)", "max(1)", "max takes 2"),
        ("sin(1", "(", "bracket is not closed"),
        ("a # 2", "#", "`#` has no meaning"),
        ("a ä 2", "ä", "`ä` has no meaning"),
        ("1.2.3", "1.2.3", "is not a number"),
        ("`a", "`a", "missing"),
        ("and", "and", "out of place"),
        ("", "", "expression is missing"),
    ] {
        let file = format!(
            "[unit.u.point]
a = {{ at = 'holding:0' }}
on = {{ at = 'coil:0' }}
name = {{ at = 'holding:90', type = 'string', length = 2 }}
p = {{ at = 'holding:10', type = 'f64', signal = {{ expr = \"{text}\" }} }}"
        );
        let error = try_build(&file, Path::new(".")).unwrap_err();
        let [problem] = &error.problems[..] else { panic!("{text}: {}", error.lines()) };
        let whole = format!("{}: {} {:?}", problem.message, problem.label, problem.help);
        assert!(whole.contains(words), "{text}: {whole}");
        assert_eq!(problem.line, 5, "{text}");
        assert_eq!(&file[problem.span.clone()], at, "{text}: {whole}");
    }
}

#[test]
fn long_and_deep_ones_are_refused_and_do_not_break_anything() {
    let build = |text: String| {
        let file = format!("[unit.u.point]\np = {{ at = 'holding:10', signal = {{ expr = '{text}' }} }}");
        try_build(&file, Path::new(".")).map(drop).map_err(|e| e.lines())
    };
    for n in [100, 10_000] {
        assert!(build("(".repeat(n) + "1" + &")".repeat(n)).unwrap_err().contains("too deep"));
        assert!(build("-".repeat(n) + "1").unwrap_err().contains("too deep"));
        assert!(build("1 ** ".repeat(n) + "1").unwrap_err().contains("too deep"));
        assert!(build("max(1, ".repeat(n) + "1" + &")".repeat(n)).unwrap_err().contains("too deep"));
    }
    assert!(build("1 + ".repeat(10_000) + "1").unwrap_err().contains("too long"));
    assert_eq!(build("1 + ".repeat(200) + "1"), Ok(()));
}

#[test]
fn circles_are_found_and_feedback_through_a_state_is_none() {
    let lines = |text: &str| {
        let file = format!("[unit.u.point]\n{text}");
        try_build(&file, Path::new(".")).map(drop).map_err(|e| e.lines())
    };
    let error = lines(
        "a = { at = 'holding:0', signal = { expr = 'b + 1' } }
b = { at = 'holding:1', signal = { expr = 'c' } }
c = { at = 'holding:2', signal = { expr = 'a' } }
d = { at = 'holding:3', signal = { expr = 'a' } }",
    )
    .unwrap_err();
    assert!(error.contains("model.toml:4:"), "{error}");
    assert!(error.contains("in a circle: u.a -> u.b -> u.c -> u.a"), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(lines("a = { at = 'holding:0', signal = { expr = 'a' } }").unwrap_err().contains("u.a -> u.a"));
    // A bit of the register that the expression makes.
    let bits = "w = { at = 'holding:0', signal = { expr = 'num(b)' } }\nb = { at = 'holding:0', bit = 0 }";
    assert!(lines(bits).unwrap_err().contains("circle"));
    let feedback = "a = { at = 'holding:0', signal = { integrator = { input = '10 - b' } } }
b = { at = 'holding:1', signal = { expr = 'a' } }";
    assert_eq!(lines(feedback), Ok(()));
    let chain = |n: usize| {
        let link = |i| format!("p{i} = {{ at = 'holding:{i}', signal = {{ expr = 'p{} + 1' }} }}\n", i + 1);
        (0..n).map(link).collect::<String>() + &format!("p{n} = {{ at = 'holding:{n}', value = 1 }}")
    };
    assert_eq!(lines(&chain(64)), Ok(()));
    assert!(lines(&chain(65)).unwrap_err().contains("more than 64"));
    assert!(lines(&chain(5000)).unwrap_err().contains("more than 64"));
}

#[test]
fn expressions_that_share_parts_are_computed_once_a_moment() {
    // Without that, this would take 2 ** 60 evaluations.
    let link = |i: u32| {
        format!("p{i} = {{ at = 'holding:{i}', signal = {{ expr = '(p{} + p{}) / 2' }} }}\n", i + 1, i + 1)
    };
    let text = (0..60).map(link).collect::<String>() + "p60 = { at = 'holding:60', value = 7 }";
    let mut plant = points(&text);
    assert_eq!(number(&mut plant, ms(0), "p0"), 7.0);
    set(&mut plant, ms(0), "p60", 9);
    assert_eq!(number(&mut plant, ms(0), "p0"), 9.0);
    assert_eq!(get(&mut plant, ms(0), "p30").to_string(), "9");
}
