//! Frames for people: one line each, coloured on a terminal.

use std::collections::HashMap;

use hilrig_modbus::FrameKind;
use hilrig_plc::{Kind, News};
use hilrig_port::Time;
use hilrig_telegram::Way;

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
            Kind::Frame(FrameKind::Request | FrameKind::OtherRequest) => {
                self.asked.insert(key, (news.number, news.at));
            }
            Kind::Frame(FrameKind::Reply | FrameKind::Exception | FrameKind::OtherReply) => {
                let asked = self.asked.get(&key).filter(|(number, _)| *number == news.number);
                // Over TCP the answer is made at the moment of the request.
                let time = asked.map(|(_, at)| news.at.since(*at)).filter(|time| !time.is_zero());
                after = time.map_or(after, |t| format!("  ({:.2} ms)", t.as_nanos() as f64 / 1e6));
            }
            _ => {}
        }
        let (mark, colour) = match news.kind {
            Kind::Frame(FrameKind::Request) | Kind::Telegram(Way::In) => (">", "36"),
            Kind::Frame(FrameKind::Reply) | Kind::Telegram(Way::Out) => ("<", "32"),
            Kind::Frame(FrameKind::Exception) => ("<", "33"),
            Kind::Frame(FrameKind::OtherRequest) | Kind::Telegram(Way::Stranger) => (">", "2"),
            Kind::Frame(FrameKind::OtherReply) => ("<", "2"),
            Kind::Frame(FrameKind::Noise(_)) | Kind::Telegram(Way::Noise) => ("!", "31"),
            Kind::Frame(FrameKind::Fault { .. }) => ("*", "35"),
        };
        let who = match news.kind {
            Kind::Frame(FrameKind::Noise(_)) | Kind::Telegram(Way::Noise) => "noise:".to_owned(),
            Kind::Telegram(Way::Stranger) => "telegram (not ours):".to_owned(),
            Kind::Telegram(_) => "telegram:".to_owned(),
            Kind::Frame(FrameKind::OtherRequest | FrameKind::OtherReply) => {
                format!("unit {} (not ours):", news.unit)
            }
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
