//! The rules of the crate's page are rules, and each means the same in TOML and JSON.

#![allow(clippy::unwrap_used)]

use hilrig_wire::{FaultRule, LinkCore, WireSpec};

#[derive(serde::Deserialize)]
struct File {
    wire: Option<WireSpec>,
    #[serde(default)]
    faults: Vec<FaultRule>,
}

fn blocks(page: &str, language: &str) -> Vec<String> {
    let mark = format!("```{language}\n");
    page.split(&mark).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

#[test]
fn the_examples_are_rules() {
    let page = include_str!("../RULES.md");
    let files: Vec<File> = blocks(page, "toml").iter().map(|text| toml::from_str(text).unwrap()).collect();
    assert!(files[0].wire.is_some());
    let rules: Vec<FaultRule> = files.into_iter().flat_map(|file| file.faults).collect();
    let json: Vec<FaultRule> =
        blocks(page, "json").iter().map(|text| serde_json::from_str(text).unwrap()).collect();
    assert_eq!(rules.len(), 14, "one for each effect");
    assert_eq!(rules, json);
    for rule in &rules {
        LinkCore::prepare(rule).unwrap();
        let text = serde_json::to_string(rule).unwrap();
        assert_eq!(serde_json::from_str::<FaultRule>(&text).unwrap(), *rule, "{text}");
        let text = toml::to_string(rule).unwrap();
        assert_eq!(toml::from_str::<FaultRule>(&text).unwrap(), *rule, "{text}");
    }
}

#[test]
fn the_schema_knows_the_keys() {
    let schema = serde_json::to_string(&schemars::schema_for!(FaultRule)).unwrap();
    for key in ["direction", "untilFrame", "lineDrop", "mismatch", "probability"] {
        assert!(schema.contains(key), "{key}");
    }
}
