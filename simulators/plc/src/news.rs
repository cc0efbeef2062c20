//! What goes over the ports of a run, told frame by frame with points and values. Reads rings that shards fill; never
//! holds up a line.

use std::collections::{HashMap, VecDeque};

use hilrig_modbus::framing::Chunk;
use hilrig_modbus::{FrameKind, FrameRecord};
use hilrig_port::Time;
use hilrig_telegram::{TelegramRecord, Way};
use serde_json::{Map, Value, json};

use crate::run::{PortRun, Run};
use crate::words::{self, Said};

/// Requests of a port whose replies may still come.
const ASKED: usize = 256;

/// Watches the frames of a run from now on. Of several at a time each sees some of them.
#[derive(Debug, Default)]
pub struct Watch {
    asked: Vec<(String, VecDeque<FrameRecord>)>,
    /// Names of rules by port and number.
    rules: HashMap<(String, u32), String>,
}

/// What a line of news is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A Modbus frame, noise, or a fault.
    Frame(FrameKind),
    /// A telegram that is not Modbus.
    Telegram(Way),
}

/// A frame, or what else happened on a port.
#[derive(Debug, Clone)]
pub struct News {
    pub port: String,
    pub kind: Kind,
    pub at: Time,
    /// Since the model began, in milliseconds.
    pub at_ms: f64,
    pub caller: u32,
    /// Counts the requests of the port; a reply has the number of its request.
    pub number: u64,
    pub unit: u8,
    pub transaction: u16,
    /// Of noise: how many bytes.
    pub len: u16,
    pub pdu: Vec<u8>,
    pub said: Said,
    /// Name, value and unit of measure of the points that it carries.
    pub points: Vec<(String, hilrig_points::Value, String)>,
    /// Of a fault: the name of its rule.
    pub rule: String,
}

impl Watch {
    /// All that was not told yet, in the order of time. Tells nothing at the first call but begins to watch.
    pub fn news(&mut self, run: &Run) -> Vec<News> {
        let mut news = Vec::new();
        for port in run.ports() {
            port.watch(true);
            while let Some(record) = port.next_frame() {
                news.push(self.tell(run, &port, &record));
            }
            while let Some(record) = port.next_telegram() {
                news.push(telegram(run, &port, &record));
            }
        }
        // Those of one port are in order already.
        news.sort_by_key(|n| n.at);
        news
    }

    /// Frames are recorded no more.
    pub fn end(&mut self, run: &Run) {
        run.ports().iter().for_each(|port| port.watch(false));
        self.asked.clear();
        self.rules.clear();
    }

    fn tell(&mut self, run: &Run, port: &PortRun, record: &FrameRecord) -> News {
        let said = match record.kind {
            FrameKind::Request | FrameKind::OtherRequest => {
                self.remember(&port.name, record);
                words::request(record.pdu())
            }
            FrameKind::Reply | FrameKind::Exception | FrameKind::OtherReply => {
                words::reply(self.question(&port.name, record).map(FrameRecord::pdu), record.pdu())
            }
            FrameKind::Noise(why) => {
                Said { text: format!("{} bytes, {}", record.len, noise_words(why)), ..Said::default() }
            }
            FrameKind::Fault { .. } => Said::default(),
        };
        let rule = match record.kind {
            FrameKind::Fault { rule } => {
                let name = self.rules.entry((port.name.clone(), rule));
                name.or_insert_with(|| run.rule_name(port, rule).unwrap_or_default()).clone()
            }
            _ => String::new(),
        };
        let catalogue = run.catalogue();
        let points = catalogue.values(record.unit, &said);
        News {
            port: port.name.clone(),
            kind: Kind::Frame(record.kind),
            at: record.at,
            at_ms: millis(run, record.at),
            caller: record.caller,
            number: record.number,
            unit: record.unit,
            transaction: record.transaction,
            len: record.len,
            pdu: record.pdu().to_vec(),
            points: points.into_iter().map(|(p, v)| (p.name.clone(), v, p.measure.clone())).collect(),
            said: if rule.is_empty() { said } else { Said { text: format!("fault {rule} fired"), ..said } },
            rule,
        }
    }

    fn remember(&mut self, port: &str, record: &FrameRecord) {
        let at = self.asked.iter().position(|(name, _)| name == port);
        let at = at.unwrap_or_else(|| {
            self.asked.push((port.to_owned(), VecDeque::new()));
            self.asked.len() - 1
        });
        let asked = &mut self.asked[at].1;
        if asked.len() == ASKED {
            asked.pop_front();
        }
        asked.push_back(*record);
    }

    fn question(&self, port: &str, reply: &FrameRecord) -> Option<&FrameRecord> {
        let (_, asked) = self.asked.iter().find(|(name, _)| name == port)?;
        asked.iter().rev().find(|q| q.number == reply.number && q.caller == reply.caller)
    }
}

fn millis(run: &Run, at: Time) -> f64 {
    (at.since(run.begun()).as_nanos() as f64 / 1000.0).round() / 1000.0
}

fn telegram(run: &Run, port: &PortRun, record: &TelegramRecord) -> News {
    let bytes = record.bytes();
    let printable = |b: &u8| b.is_ascii_graphic() || matches!(b, b' ' | b'\r' | b'\n');
    let text = if !bytes.is_empty() && bytes.iter().all(printable) {
        String::from_utf8_lossy(bytes).trim_end().escape_default().to_string()
    } else {
        words::hex(bytes)
    };
    News {
        port: port.name.clone(),
        kind: Kind::Telegram(record.way),
        at: record.at,
        at_ms: millis(run, record.at),
        caller: 0,
        number: 0,
        unit: 0,
        transaction: 0,
        len: record.len,
        pdu: bytes.to_vec(),
        points: vec![],
        said: Said { text, ..Said::default() },
        rule: String::new(),
    }
}

fn noise_words(why: Chunk) -> &'static str {
    match why {
        Chunk::Frame => "a frame",
        Chunk::BadCrc => "the CRC does not hold",
        Chunk::BadLrc => "the LRC does not hold",
        Chunk::Short => "too short for a frame",
        Chunk::Overflow => "too long for a frame",
        Chunk::BadCharacter => "not of an ASCII frame",
        Chunk::BadHeader => "no header of Modbus TCP",
    }
}

impl News {
    /// `request`, `reply`, `exception`, `otherRequest`, `otherReply`, `noise`, `fault`; of telegrams `telegramIn`,
    /// `telegramOut`, `otherTelegram` or `noise`.
    pub fn kind_name(&self) -> &'static str {
        match self.kind {
            Kind::Frame(FrameKind::Request) => "request",
            Kind::Frame(FrameKind::Reply) => "reply",
            Kind::Frame(FrameKind::Exception) => "exception",
            Kind::Frame(FrameKind::OtherRequest) => "otherRequest",
            Kind::Frame(FrameKind::OtherReply) => "otherReply",
            Kind::Frame(FrameKind::Noise(_)) | Kind::Telegram(Way::Noise) => "noise",
            Kind::Frame(FrameKind::Fault { .. }) => "fault",
            Kind::Telegram(Way::In) => "telegramIn",
            Kind::Telegram(Way::Out) => "telegramOut",
            Kind::Telegram(Way::Stranger) => "otherTelegram",
        }
    }

    /// A fault rule has fired.
    pub fn is_fault(&self) -> bool {
        matches!(self.kind, Kind::Frame(FrameKind::Fault { .. }))
    }

    /// Something went wrong, on purpose or not.
    pub fn is_error(&self) -> bool {
        matches!(
            self.kind,
            Kind::Frame(FrameKind::Exception | FrameKind::Noise(_) | FrameKind::Fault { .. })
                | Kind::Telegram(Way::Noise)
        )
    }

    /// As an event `frame` carries it.
    pub fn json(&self) -> Map<String, Value> {
        let mut map = Map::new();
        let mut put = |key: &str, value: Value| map.insert(key.to_owned(), value);
        put("port", json!(self.port));
        put("kind", json!(self.kind_name()));
        put("atMs", json!(self.at_ms));
        put("frame", json!(self.number));
        put("caller", json!(self.caller));
        put("text", json!(self.said.text));
        if let Kind::Frame(FrameKind::Noise(_)) | Kind::Telegram(_) = self.kind {
            put("bytes", json!(self.len));
            if let Kind::Telegram(_) = self.kind {
                put("hex", json!(self.pdu.iter().map(|b| format!("{b:02x}")).collect::<String>()));
            }
            return map;
        }
        put("unit", json!(self.unit));
        if !self.rule.is_empty() {
            put("rule", json!(self.rule));
            return map;
        }
        put("transaction", json!(self.transaction));
        put("function", json!(self.pdu.first().map(|f| f & 0x7f)));
        put("pdu", json!(self.pdu.iter().map(|b| format!("{b:02x}")).collect::<String>()));
        if let Some(range) = self.said.range {
            put("table", json!(range.table.name()));
            put("address", json!(range.address));
            put("quantity", json!(range.quantity));
        }
        if !self.said.values.is_empty() {
            put("values", json!(self.said.values));
        }
        if let Some(code) = self.said.exception {
            put("exception", json!(code));
        }
        if !self.points.is_empty() {
            let values = self.points.iter().map(|(name, value, _)| (name.clone(), json!(value)));
            put("points", Value::Object(values.collect()));
        }
        map
    }
}
