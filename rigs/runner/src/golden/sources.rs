//! A log taken apart by where its lines come from, with what depends on the moment left out.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::{CONTEXT, short, shown_at};

/// The same, once or again and again.
#[derive(Debug)]
struct Item {
    content: String,
    /// When it came first.
    at: u64,
    times: u64,
}

/// What one source brought.
#[derive(Debug, Default)]
pub(super) struct Source {
    items: Vec<Item>,
    /// It brings the same again and again, and the run ends at any time in between.
    repeats: bool,
}

impl Source {
    fn add(&mut self, at: u64, content: String, repeats: bool) {
        self.repeats = repeats;
        match self.items.last_mut() {
            Some(last) if repeats && last.content == content => last.times += 1,
            _ => self.items.push(Item { content, at, times: 1 }),
        }
    }

    /// The first difference, when it was, and how it reads after the name of the source.
    pub fn differs(&self, other: &Self, tolerance: Option<Duration>) -> Option<(u64, String)> {
        let count = self.items.len().max(other.items.len());
        for i in 0..count {
            let (wanted, got) = (self.items.get(i), other.items.get(i));
            let (at, why) = match (wanted, got) {
                (Some(w), Some(g)) if w.content == g.content => {
                    let apart = Duration::from_nanos(w.at.abs_diff(g.at));
                    let Some(most) = tolerance.filter(|most| apart > *most) else { continue };
                    let (apart, most) = (hilrig_files::show_time(apart), hilrig_files::show_time(most));
                    (w.at.min(g.at), format!(" came {apart} off its time, more than {most}"))
                }
                // The run may end just before, or just after, something new comes of it.
                (None, Some(_)) | (Some(_), None) if self.spare(other, i) => continue,
                (w, g) => {
                    let at = [w, g].into_iter().flatten().map(|item| item.at).min();
                    (at.unwrap_or_default(), " differs".to_owned())
                }
            };
            let show = |item: Option<&Item>| item.map_or("nothing more".to_owned(), Item::shown);
            let before: String = self.items
                [i.saturating_sub(CONTEXT).min(self.items.len())..i.min(self.items.len())]
                .iter()
                .map(|item| format!("\n    {}", item.shown()))
                .collect();
            return Some((at, format!("{why}{before}\n  - {}\n  + {}", show(wanted), show(got))));
        }
        None
    }

    fn spare(&self, other: &Self, i: usize) -> bool {
        i > 0 && (self.repeats || other.repeats) && self.items.len().abs_diff(other.items.len()) == 1
    }
}

impl Item {
    fn shown(&self) -> String {
        let times = if self.times > 1 { format!(", {} times", self.times) } else { String::new() };
        format!("{} (at {}{times})", short(&self.content), shown_at(self.at))
    }
}

/// Sources by name.
pub(super) fn sources(lines: &[Value]) -> BTreeMap<String, Source> {
    let mut sources: BTreeMap<String, Source> = BTreeMap::new();
    // The request that each unit and function of a line was asked last: replies are told apart by it.
    let mut asked: BTreeMap<(u64, u64, u64), String> = BTreeMap::new();
    for line in lines {
        let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
        let number = |key: &str| line[key].as_u64().unwrap_or_default();
        let json = |keys: &[&str]| {
            let pairs: Vec<String> = keys.iter().map(|k| format!("{k} {}", line[k])).collect();
            pairs.join(", ")
        };
        let (name, content, repeats) = match text("what").as_str() {
            "run" => ("the run".to_owned(), json(&["rig", "seed", "steps"]), false),
            "step" => (
                "a step".to_owned(),
                format!("step {} {} {}", number("step"), text("kind"), text("text")),
                false,
            ),
            "verdict" => ("a step".to_owned(), format!("step {} {}", number("step"), text("verdict")), false),
            "result" => {
                let polled = text("of").contains('.');
                let what = if line["exception"].is_null() { "outcome" } else { "exception" };
                let content = match line["values"].is_array() {
                    true => json(&[what, "values"]),
                    false => json(&[what]),
                };
                (format!("{} {}", if polled { "poll" } else { "a write of" }, text("of")), content, polled)
            }
            "sent" => {
                let key = (number("line"), number("unit"), number("function") & 0x7f);
                let name = if line["role"] == "master" {
                    let name = format!("the request {} of {}", text("hex"), text("of"));
                    asked.insert(key, text("hex"));
                    name
                } else {
                    let request = asked.get(&key).cloned().unwrap_or_default();
                    format!("what {} sends to {request}", text("of"))
                };
                (name, text("hex"), true)
            }
            "fault" => {
                (format!("fault {}", text("of")), format!("fires on {} {}", text("on"), text("to")), true)
            }
            "port" => {
                (format!("port {}", text("port")), format!("{} of {}", text("event"), text("of")), false)
            }
            "end" => ("the run".to_owned(), format!("verdict {}", text("verdict")), false),
            other => (other.to_owned(), line.to_string(), false),
        };
        sources.entry(name).or_default().add(number("t"), content, repeats);
    }
    sources
}
