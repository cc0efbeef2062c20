//! The examples of the reference are files that work, and it names every key that there is.

use crate::{build, ms, number};

const PAGE: &str = include_str!("../../POINTS.md");

fn blocks(kind: &str) -> Vec<&'static str> {
    let fence = format!("```{kind}\n");
    let at: Vec<usize> = PAGE.match_indices(&fence).map(|(at, _)| at + fence.len()).collect();
    at.into_iter().map(|at| PAGE[at..].split("```").next().unwrap()).collect()
}

#[test]
fn examples_work() {
    let files = blocks("toml");
    assert_eq!(files.len(), 3);
    for text in files {
        let mut plant = build(text);
        plant.begin(ms(0));
        let ids: Vec<_> = plant.points().map(|(id, _)| id).collect();
        assert!(ids.len() > 4);
        for id in ids {
            assert!(plant.number(ms(90_000), id).is_finite());
        }
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("points.csv"), blocks("csv")[0]).unwrap();
    let mut plant = crate::try_build("[unit.u]\ncsv = 'points.csv'", dir.path()).unwrap();
    assert_eq!(number(&mut plant, ms(0), "double"), 3.0);
}

#[test]
fn every_key_is_named_and_has_a_schema() {
    let schema = serde_json::to_value(schemars::schema_for!(hilrig_points::UnitFile)).unwrap();
    let mut keys = vec![];
    collect(&schema, &mut keys);
    assert!(keys.len() > 80, "{keys:?}");
    for key in keys {
        assert!(
            PAGE.contains(&format!("`{key}")) || PAGE.contains(&format!("{key} =")),
            "{key} is not in the reference"
        );
    }
}

fn collect(schema: &serde_json::Value, keys: &mut Vec<String>) {
    if let Some(object) = schema.as_object() {
        if let Some(properties) = object.get("properties").and_then(|p| p.as_object()) {
            keys.extend(properties.keys().cloned());
        }
        object.values().for_each(|value| collect(value, keys));
    } else if let Some(list) = schema.as_array() {
        list.iter().for_each(|value| collect(value, keys));
    }
}
