//! Frames for people: one line each, coloured on a terminal.

use std::collections::HashMap;

use hilrig_modbus::FrameKind;
use hilrig_plc::News;
use hilrig_port::Time;

/// Points shown of one frame.
const POINTS: usize = 8;

pub struct Trace {
    colour: bool,
    /// Width of the longest name of a port.
    width: usize,
    /// The last request of a port and caller: its number, and when it was heard.
    asked: HashMap<(String, u32), (u64, Time)>,
}

impl Trace {
    pub fn new(colour: bool, ports: impl Iterator<Item = usize>) -> Self {
        Self { colour, width: ports.max().unwrap_or(0), asked: HashMap::new() }
    }

    pub fn line(&mut self, news: &News) -> String {
        let key = (news.port.clone(), news.caller);
        let mut after = String::new();
        match news.kind {
            FrameKind::Request | FrameKind::OtherRequest => {
                self.asked.insert(key, (news.number, news.at));
            }
            FrameKind::Reply | FrameKind::Exception | FrameKind::OtherReply => {
                let asked = self.asked.get(&key).filter(|(number, _)| *number == news.number);
                // Over TCP the answer is made at the moment of the request.
                let time = asked.map(|(_, at)| news.at.since(*at)).filter(|time| !time.is_zero());
                after = time.map_or(after, |t| format!("  ({:.2} ms)", t.as_nanos() as f64 / 1e6));
            }
            _ => {}
        }
        let (mark, colour) = match news.kind {
            FrameKind::Request => (">", "36"),
            FrameKind::Reply => ("<", "32"),
            FrameKind::Exception => ("<", "33"),
            FrameKind::OtherRequest => (">", "2"),
            FrameKind::OtherReply => ("<", "2"),
            FrameKind::Noise(_) => ("!", "31"),
            FrameKind::Fault { .. } => ("*", "35"),
        };
        let who = match news.kind {
            FrameKind::Noise(_) => "noise:".to_owned(),
            FrameKind::OtherRequest | FrameKind::OtherReply => format!("unit {} (not ours):", news.unit),
            _ if news.unit == 0 => "all units:".to_owned(),
            _ => format!("unit {}:", news.unit),
        };
        let caller = if news.caller > 0 { format!("#{}", news.caller) } else { String::new() };
        let mut points: Vec<String> = news
            .points
            .iter()
            .take(POINTS)
            .map(|(name, value, unit)| format!("{name} = {value} {unit}").trim_end().to_owned())
            .collect();
        if news.points.len() > POINTS {
            points.push(format!("and {} more points", news.points.len() - POINTS));
        }
        let points = if points.is_empty() { String::new() } else { format!("  [{}]", points.join(", ")) };
        let time = format!("{:>12.6}", news.at_ms / 1000.0);
        let text = format!(
            "{:<width$}{caller} {mark} {who} {}{after}{points}",
            news.port,
            news.said.text,
            width = self.width
        );
        if self.colour {
            format!("\x1b[2m{time}\x1b[0m \x1b[{colour}m{text}\x1b[0m")
        } else {
            format!("{time} {text}")
        }
    }
}
