//! From the file as written to a [`Plan`]: resolves names, parses what is text, and collects everything that is
//! wrong before it answers. Touches no port.

use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

use hilrig_files::{At, Entries, FileError, Problems, TimeText, Values, known, read};
use hilrig_modbus::pdu::max_read;
use hilrig_modbus::{Exchange, Framing, Poll as ModbusPoll};
use hilrig_plc::{character_format, port_url};
use hilrig_points::{Table, cell_runs};
use hilrig_port::PortUrl;
use hilrig_wire::{CoreSpec, LinkCore, WireSpec};

use crate::file::{LinkEnds, Master, Poll, Port, RigFile, Sim};
use crate::plan::{LinkPlan, MasterPlan, Plan, PollPlan, PortKind, PortPlan, Seat, SimPlan, StationPlan};

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);
const DEFAULT_EVERY: u64 = 100;
const DEFAULT_REPLY: u64 = 500;

pub(crate) fn check(text: &str, file: &str) -> Result<Plan, FileError> {
    let mut problems = Problems::new("rig", file, text);
    let Some(rig) = read::<RigFile>(text, &mut problems) else { return Err(problems.into_error()) };
    let mut check = Check { problems, plan: empty_plan(file, text), taken: HashMap::new() };
    check.rig(&rig);
    if !check.problems.is_empty() {
        return Err(check.problems.into_error());
    }
    check.plan.describe_steps();
    Ok(check.plan)
}

fn empty_plan(file: &str, text: &str) -> Plan {
    Plan {
        name: String::new(),
        file: file.to_owned(),
        seed: 1,
        timeout: DEFAULT_TIMEOUT,
        text: text.into(),
        ports: vec![],
        sims: vec![],
        stations: vec![],
        links: vec![],
        masters: vec![],
        faults: vec![],
        reply_faults: vec![],
        points: vec![],
        steps: vec![],
    }
}

/// The four tables as a file gives them.
pub(crate) type Tables<'a> = [(Table, &'a Entries<Values>); 4];

pub(crate) struct Check<'a> {
    pub problems: Problems<'a>,
    pub plan: Plan,
    /// Where each seat was taken.
    taken: HashMap<(usize, usize), Range<usize>>,
}

impl Check<'_> {
    fn rig(&mut self, rig: &RigFile) {
        self.problems.name(&rig.name);
        self.plan.name.clone_from(&rig.name.value);
        if let Some(seed) = &rig.seed {
            self.plan.seed = self.problems.number(seed, 0..=i64::MAX, "a seed") as u64;
        }
        if let Some(timeout) = &rig.timeout {
            self.plan.timeout = self.problems.time(timeout, DEFAULT_TIMEOUT);
        }
        self.each(&rig.ports, Self::port);
        self.each(&rig.sim, Self::sim);
        self.each(&rig.link, Self::link);
        self.each(&rig.master, Self::master);
        self.networks(rig);
        self.steps(rig);
    }

    fn each<T>(&mut self, entries: &Entries<T>, one: fn(&mut Self, &At<String>, &At<T>)) {
        for (name, entry) in &entries.0 {
            self.problems.name(name);
            one(self, name, entry);
        }
    }

    fn port(&mut self, name: &At<String>, port: &At<Port>) {
        let mut place = port.span.clone();
        let kind = match &port.value {
            Port::Pair(pair) => {
                let baud = pair
                    .baud
                    .as_ref()
                    .map_or(9600, |b| self.problems.number(b, 50..=4_000_000, "a baud rate"));
                let format = pair.format.as_ref().and_then(|text| character_format(text, &mut self.problems));
                let wire = pair.wire.as_ref().and_then(|wire| self.wire(wire));
                PortKind::Pair { baud: baud as u32, format: format.unwrap_or_default(), wire }
            }
            Port::Tcp(_) => PortKind::Tcp,
            Port::Url(text) => {
                place = text.span.clone();
                PortKind::Url(port_url(text, &mut self.problems).unwrap_or_else(|| PortUrl::pty("")))
            }
        };
        self.plan.ports.push(PortPlan { name: name.value.clone(), place, kind });
    }

    fn sim(&mut self, name: &At<String>, sim: &At<Sim>) {
        let Sim::Plc(plc) = &sim.value;
        let first = plc.ports.0.first().map(|(name, _)| &name.span);
        match (&plc.port, first) {
            (None, None) => {
                let label = "give `port`, or with a model `ports`";
                self.problems.add(&name.span, "this PLC sits nowhere", label);
            }
            (Some(_), Some(first)) => {
                let label = "leave `port` out, or `ports`";
                self.problems.add(first, "`port` and `ports` together", label);
            }
            _ => {}
        }
        let tables = [
            (Table::HoldingRegisters, &plc.holding),
            (Table::InputRegisters, &plc.input),
            (Table::Coils, &plc.coils),
            (Table::DiscreteInputs, &plc.discrete),
        ];
        if let Some(path) = &plc.model {
            return self.model(name, plc, path, tables);
        }
        let of_model = plc.model_port.as_ref().map(|at| &at.span).or(first);
        if let Some(span) = of_model {
            self.problems.add(span, "there is no model", "give `model`, or leave this out");
        }
        let unit = Some(self.unit(plc.unit.as_ref()));
        let cells = self.all_cells(name, tables);
        if let Some(port) = &plc.port {
            let seat = self.seat(port);
            self.is_end(port, seat, 0, "a PLC is called; write NAME.server");
            let sim = self.plan.sims.len();
            let name = name.value.clone();
            self.plan.stations.push(StationPlan { name, sim, seat, port: None, behind: None });
        }
        let name = name.value.clone();
        self.plan.sims.push(SimPlan { name, unit, cells, model: None, broken: false });
    }

    fn all_cells(&mut self, name: &At<String>, tables: Tables<'_>) -> Vec<(Table, u16, u16)> {
        let mut cells = Vec::new();
        for (table, entries) in tables {
            for (first, values) in cell_runs(table, table.key(), entries, &mut self.problems) {
                cells.extend((first..=u16::MAX).zip(values).map(|(address, value)| (table, address, value)));
            }
        }
        if cells.is_empty() {
            let label = "give it `holding`, `input`, `coils` or `discrete`, or a `model`";
            self.problems.add(&name.span, "this PLC has nothing to read", label);
        }
        cells
    }

    fn link(&mut self, name: &At<String>, link: &At<LinkEnds>) {
        if name.value == "all" {
            self.problems.add(&name.span, "this cannot be the name of a link", "`all` means all links");
        }
        let ends = [&link.value.a, &link.value.b].map(|end| {
            let seat = self.seat(end);
            if self.plan.is_tcp(seat) {
                let label = "put a simulator or a master there";
                self.problems.add(&end.span, "a link joins lines, not networks", label);
            }
            seat
        });
        let wire = link.value.wire.as_ref().and_then(|wire| self.wire(wire));
        self.plan.links.push(LinkPlan { name: name.value.clone(), ends, wire });
    }

    fn wire(&mut self, wire: &At<WireSpec>) -> Option<WireSpec> {
        let spec = CoreSpec { wire: Some(wire.value.clone()), ..CoreSpec::default() };
        if let Err(why) = LinkCore::new(spec) {
            self.problems.add(&wire.span, format!("this wire cannot be: `{}`", why.key), why.what);
        }
        Some(wire.value.clone())
    }

    fn master(&mut self, name: &At<String>, master: &At<Master>) {
        let master = &master.value;
        let seat = self.seat(&master.port);
        self.is_end(&master.port, seat, 1, "a master calls; write NAME.client");
        let tcp = self.plan.is_tcp(seat);
        let framing =
            master.framing.as_ref().map_or(if tcp { Framing::Tcp } else { Framing::Rtu }, |f| f.value);
        let on_pair = matches!(self.plan.ports.get(seat.port).map(|p| &p.kind), Some(PortKind::Pair { .. }));
        if let Some(at) = master.framing.as_ref().filter(|_| on_pair && framing.is_over_tcp()) {
            let label = "a pair is a serial line: \"rtu\" or \"ascii\"";
            self.problems.add(&at.span, format!("{framing} does not go over this port"), label);
        }
        let unit = self.unit(master.unit.as_ref());
        let mut polls = Vec::new();
        for (name, poll) in &master.poll.0 {
            self.problems.name(name);
            polls.extend(self.poll(name, poll, unit));
        }
        let (name, unit) = (name.value.clone(), Some(unit));
        self.plan.masters.push(MasterPlan { name, seat, unit, framing, polls, model: None });
    }

    fn poll(&mut self, name: &At<String>, at: &At<Poll>, unit: u8) -> Option<PollPlan> {
        let poll = &at.value;
        let given = Table::given(&poll.holding, &poll.input, &poll.coils, &poll.discrete);
        let (mut table, mut first, mut count) = (Table::HoldingRegisters, 0, 1);
        if let [(only, addresses)] = given[..] {
            if let Some((from, to)) = self.problems.addresses(addresses) {
                let wanted = u32::from(to - from) + 1;
                if wanted > u32::from(max_read(only)) {
                    let label = format!("{wanted}; one request reads {} at most", max_read(only));
                    self.problems.add(&addresses.span, "too many addresses for one poll", label);
                }
                (table, first, count) = (only, from, wanted.min(2000) as u16);
            }
        } else {
            let label = "give one of `holding`, `input`, `coils`, `discrete`";
            self.problems.add(&name.span, "a poll reads exactly one table", label);
        }
        let time = |check: &mut Self, text: &Option<At<TimeText>>, default: u64| {
            let default = Duration::from_millis(default);
            text.as_ref().map_or(default, |t| check.problems.time(t, default))
        };
        let every = time(self, &poll.every, DEFAULT_EVERY);
        let timeout = time(self, &poll.timeout, DEFAULT_REPLY);
        let retries = poll.retries.as_ref();
        let retries = retries.map_or(0, |n| self.problems.number(n, 0..=100, "a number of retries")) as u16;
        match Exchange::read(unit, table, first, count) {
            Ok(exchange) => {
                let poll = ModbusPoll::new(exchange).every(every).timeout(timeout).retries(retries);
                Some(PollPlan { name: name.value.clone(), poll, read: Some((table, first, count)) })
            }
            Err(why) => {
                self.problems.add(&name.span, "this poll cannot be", why.to_string());
                None
            }
        }
    }

    /// Of a network each end is for its own.
    pub fn is_end(&mut self, at: &At<String>, seat: Seat, end: usize, label: &str) {
        if self.plan.is_tcp(seat) && seat.end != end {
            self.problems.add(&at.span, "this is the other end of the network", label);
        }
    }

    /// Whoever calls needs somebody who is called.
    fn networks(&mut self, rig: &RigFile) {
        for (port, (name, _)) in rig.ports.0.iter().enumerate() {
            let [server, client] = [0, 1].map(|end| self.taken.contains_key(&(port, end)));
            if self.plan.is_tcp(Seat { port, end: 0 }) && client && !server {
                let label = format!("put a simulator at {}.server", name.value);
                self.problems.add(&name.span, "nobody is called in this network", label);
            }
        }
    }

    pub fn unit(&mut self, unit: Option<&At<i64>>) -> u8 {
        unit.map_or(1, |unit| self.problems.number(unit, 1..=247, "a unit id")) as u8
    }

    /// Finds the port or end that `text` names, and takes it.
    pub fn seat(&mut self, text: &At<String>) -> Seat {
        let (name, end) =
            text.value.split_once('.').map_or((text.value.as_str(), None), |(n, e)| (n, Some(e)));
        let found = self.plan.ports.iter().position(|p| p.name == name);
        let seat = match (found, end) {
            (Some(port), end) => match (&self.plan.ports[port].kind, end) {
                (PortKind::Pair { .. }, Some("a")) | (PortKind::Url(_), None) => Ok(Seat { port, end: 0 }),
                (PortKind::Pair { .. }, Some("b")) => Ok(Seat { port, end: 1 }),
                (PortKind::Tcp, Some("server")) => Ok(Seat { port, end: 0 }),
                (PortKind::Tcp, Some("client")) => Ok(Seat { port, end: 1 }),
                (PortKind::Tcp, _) => {
                    let label = format!("write {name}.server or {name}.client");
                    Err((format!("`{name}` is a network, which has two ends"), label, None))
                }
                (PortKind::Pair { .. }, _) => {
                    let label = format!("write {name}.a or {name}.b");
                    Err((format!("`{name}` is a pair, which has two ends"), label, None))
                }
                (PortKind::Url(_), Some(_)) => {
                    Err((format!("`{name}` is a single port without ends"), format!("write {name}"), None))
                }
            },
            (None, _) => {
                let ends = |p: &PortPlan| match p.kind {
                    PortKind::Pair { .. } => format!("{0}.a, {0}.b", p.name),
                    PortKind::Tcp => format!("{0}.server, {0}.client", p.name),
                    PortKind::Url(_) => p.name.clone(),
                };
                let ports: Vec<String> = self.plan.ports.iter().map(ends).collect();
                let help = known("ports", ports.iter().map(String::as_str));
                Err((format!("unknown port `{name}`"), "no such port".to_owned(), Some(help)))
            }
        };
        match seat {
            Ok(seat) => {
                let first = self.taken.insert((seat.port, seat.end), text.span.clone());
                // Many can call.
                if let Some(first) = first.filter(|_| !(self.plan.is_tcp(seat) && seat.end == 1)) {
                    let line = self.problems.line(first.start);
                    let message = format!("`{}` is used twice", text.value);
                    self.problems.add(&text.span, message, format!("it is already used in line {line}"));
                }
                seat
            }
            Err((message, label, help)) => {
                self.problems.add(&text.span, message, label).help = help;
                Seat { port: 0, end: 0 }
            }
        }
    }
}
