//! One rule for typed scalars, used for config values and action arguments alike: clients send strings
//! ("9600", "true", "0.5"), the typed value keeps its type.

use serde_json::{Map, Value};

use crate::ValueKind;

/// Coerces `input` to `kind` and checks its range.
///
/// # Errors
/// A sentence that says what was expected, without naming the key (the caller knows it).
pub fn coerce(kind: &ValueKind, input: &Value) -> Result<Value, String> {
    let got = || match input {
        Value::String(s) => format!("{s:?}"),
        other => other.to_string(),
    };
    match kind {
        ValueKind::Bool => match input {
            Value::Bool(b) => Ok(Value::Bool(*b)),
            Value::String(s) => match s.trim().to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" | "y" | "on" => Ok(Value::Bool(true)),
                "false" | "0" | "no" | "n" | "off" => Ok(Value::Bool(false)),
                _ => Err(format!("expected true or false, got {}", got())),
            },
            _ => Err(format!("expected true or false, got {}", got())),
        },
        ValueKind::Int { min, max } => {
            let number = match input {
                Value::Number(n) => n.as_i64().or_else(|| n.as_f64().and_then(whole)),
                Value::String(s) => {
                    let s = s.trim();
                    s.parse::<i64>().ok().or_else(|| s.parse::<f64>().ok().and_then(whole))
                }
                _ => None,
            };
            match number {
                Some(n) if (*min..=*max).contains(&n) => Ok(Value::from(n)),
                Some(n) => Err(format!("{n} is out of range {min}..{max}")),
                None => Err(format!("expected a whole number {min}..{max}, got {}", got())),
            }
        }
        ValueKind::Float { min, max } => {
            let number = match input {
                Value::Number(n) => n.as_f64(),
                Value::String(s) => s.trim().parse::<f64>().ok(),
                _ => None,
            };
            match number.filter(|n| n.is_finite()) {
                Some(n) if (*min..=*max).contains(&n) => Ok(Value::from(n)),
                Some(n) => Err(format!("{n} is out of range {min}..{max}")),
                None => Err(format!("expected a number {min}..{max}, got {}", got())),
            }
        }
        ValueKind::Choice(allowed) => match input {
            Value::String(s) if allowed.iter().any(|a| a == s) => Ok(input.clone()),
            _ => Err(format!("{} is not one of {}", got(), allowed.join(", "))),
        },
        ValueKind::Text { .. } => match input {
            Value::String(s) if s.chars().any(char::is_control) => {
                Err("control characters are not allowed".to_owned())
            }
            Value::String(_) => Ok(input.clone()),
            Value::Number(n) => Ok(Value::String(n.to_string())),
            _ => Err(format!("expected text, got {}", got())),
        },
    }
}

fn whole(f: f64) -> Option<i64> {
    // 2^53: every whole f64 below it is exact.
    (f.fract() == 0.0 && f.abs() <= 9_007_199_254_740_992.0).then_some(f as i64)
}

/// The members of an object written with `json!`.
pub fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn strings_become_the_keys_type() {
        let int = ValueKind::Int { min: 1, max: 65535 };
        assert_eq!(coerce(&int, &json!("9600")), Ok(json!(9600)));
        assert_eq!(coerce(&int, &json!("5.0")), Ok(json!(5)));
        assert_eq!(coerce(&int, &json!(5)), Ok(json!(5)));
        assert_eq!(coerce(&ValueKind::Bool, &json!("false")), Ok(json!(false)));
        let float = ValueKind::Float { min: 0.0, max: 1.0 };
        assert_eq!(coerce(&float, &json!("0.5")), Ok(json!(0.5)));
    }

    #[test]
    fn wrong_values_say_what_was_expected() {
        let int = ValueKind::Int { min: 1, max: 10 };
        for bad in [json!("x"), json!(11), json!("1e99"), json!(1.5), json!({}), json!(null), json!("")] {
            let why = coerce(&int, &bad).unwrap_err();
            assert!(why.contains("1..10"), "{bad}: {why}");
        }
        assert!(coerce(&ValueKind::Float { min: 0.0, max: 1.0 }, &json!("NaN")).is_err());
        assert!(coerce(&ValueKind::text(), &json!("a\nb")).is_err());
        let choice = ValueKind::choice(["sim", "lab"]);
        assert_eq!(coerce(&choice, &json!("x")).unwrap_err(), "\"x\" is not one of sim, lab");
    }
}
