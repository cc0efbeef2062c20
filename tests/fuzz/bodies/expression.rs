//! Any text as an expression: it is refused with a place in the text, or it can be evaluated at any time, twice to the
//! same, and in brackets to the same.

use hilrig_files::{At, Entries, Problems};
use hilrig_points::{Builder, PlaceText, PointFile, SignalFile, Type, UnitFile};
use hilrig_port::Time;

fn at<T>(value: T) -> At<T> {
    At { value, span: 0..0 }
}

fn point(place: &str, kind: Type, signal: Option<SignalFile>) -> At<PointFile> {
    at(PointFile {
        at: Some(at(PlaceText(place.to_owned()))),
        kind: Some(at(kind)),
        signal: signal.map(at),
        ..PointFile::default()
    })
}

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for (kind, place) in [(Type::F64, "holding:0"), (Type::Bool, "coil:0")] {
        let values = evaluate(text, kind, place);
        let bracketed = evaluate(&format!("( {text} )"), kind, place);
        let Some(values) = values else { continue };
        assert_eq!(evaluate(text, kind, place).as_ref(), Some(&values), "the same again");
        // One bracket more may be one too many.
        assert!(bracketed.is_none_or(|b| b == values));
        let brackets = text.matches(['(', '-', '+', '!', '*', 'n']).count();
        assert!(
            brackets > 30 || text.contains('`') || evaluate(&format!("( {text} )"), kind, place).is_some()
        );
        assert!(kind != Type::Bool || values.iter().all(|v| [0, 1f64.to_bits()].contains(v)));
    }
}

/// The bits of its values at some times; `None` if it is no expression.
fn evaluate(text: &str, kind: Type, place: &str) -> Option<Vec<u64>> {
    let mut problems = Problems::new("model", "model.toml", text);
    let expr = At { value: text.to_owned(), span: 0..text.len() };
    let point = Entries(vec![
        (at("p".to_owned()), point(place, kind, Some(SignalFile::Expr(expr)))),
        (at("a".to_owned()), point("holding:10", Type::U16, None)),
        (at("b".to_owned()), point("coil:10", Type::Bool, None)),
        (at("x-1".to_owned()), point("holding:11", Type::F32, None)),
    ]);
    let mut builder = Builder::new(1);
    let file = UnitFile { point, ..UnitFile::default() };
    builder.unit(&at("u".to_owned()), &file, std::path::Path::new("."), &mut problems);
    let mut plant = builder.finish(&mut problems);
    if !problems.is_empty() {
        let error = problems.into_error();
        for problem in &error.problems {
            assert!(text.get(problem.span.clone()).is_some(), "{problem:?}");
        }
        return None;
    }
    let ids: Vec<_> = plant.points().map(|(id, _)| id).collect();
    let mut values = vec![];
    for t in [0, 1, 1_500_000_000, u64::MAX] {
        let _ = plant.get(Time(t), ids[0]);
        let value = plant.number(Time(t), ids[0]);
        values.push(if value.is_nan() { u64::MAX } else { value.to_bits() });
        plant.set_number(Time(t), ids[1], t as f64);
        plant.set_number(Time(t), ids[2], 1.0);
    }
    Some(values)
}
