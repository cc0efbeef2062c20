//! The bench of one run: pairs, simulators, links and masters in one hall, started in this order and taken down
//! in reverse, also after a panic. Knows nothing of steps and verdicts.

mod loss;
mod made;

use std::sync::Arc;
use std::time::Duration;

use hilrig_modbus::{
    Exchange, FrameKind, FrameReader, Master, MasterStats, Outcome, Poll, PollResult, Results, Slave, Source,
    frames,
};
use hilrig_port::{Conduit, Flow, Format, Happened, LineSettings, PortStats, Time};
use hilrig_wire::{CoreSpec, LinkCore, RuleReport, WireSpec, character_time, frame_silence};

use crate::hall::{Hall, Joined, Seated, Trouble};
use crate::log::{Log, Role, What, hex, line_event_name, outcome_name};
use crate::plan::{Count, FaultPlan, MasterPlan, Plan, PortKind, Seat, Table};
use crate::report::StationResult;
use crate::watch::{Watch, Watched, watch};
use made::{poll, slave, timing};

/// Results of one master that can wait to be read: some seconds of the fastest line.
const RESULTS: usize = 4096;
/// Frame records of one simulator that can wait to be read.
const FRAMES: usize = 8192;

/// What is known of the exchanges of one poll, or of a whole master.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    requests: u64,
    replies: u64,
    exceptions: u64,
    recovered: u64,
    retries: u64,
    failures: u64,
    /// The last good reply.
    pub last: Option<PollResult>,
}

impl Tally {
    fn add(&mut self, result: &PollResult) {
        self.requests += u64::from(result.attempts);
        self.retries += u64::from(result.attempts.saturating_sub(1));
        match result.outcome {
            Outcome::Ok => {
                self.replies += 1;
                self.recovered += u64::from(result.attempts > 1);
                self.last = Some(*result);
            }
            Outcome::Exception(_) => self.exceptions += 1,
            _ => self.failures += 1,
        }
    }
}

struct SimSeat<H: Hall> {
    station: H::Seat,
    watch: Option<Watch>,
    /// What its reply faults did, if somebody wants to know.
    frames: Option<FrameReader>,
    /// Their names by number.
    rules: Vec<(u32, String)>,
}

struct MasterSeat<H: Hall> {
    station: H::Seat,
    watch: Option<Watch>,
    results: Results,
    stats: Arc<MasterStats>,
    all: Tally,
    polls: Vec<Tally>,
}

pub(crate) struct Bench<'p, H: Hall> {
    plan: &'p Plan,
    log: &'p Log<'p>,
    seed: u64,
    /// One entry a port: its wire, unless it is a URL, and where one can sit.
    pairs: Vec<Option<H::Link>>,
    spots: Vec<Vec<H::Spot>>,
    sims: Vec<SimSeat<H>>,
    links: Vec<H::Link>,
    masters: Vec<MasterSeat<H>>,
    /// Every port of the run with its name: stations and link ends, then the wires of the pairs.
    ports: Vec<(String, Arc<PortStats>)>,
    /// Rules by link and number, and what fault of the plan they are.
    rules: Vec<(usize, u32, usize)>,
    once: u64,
    hall: H,
}

impl<'p, H: Hall> Bench<'p, H> {
    /// Starts everything. What was started is taken down again when something fails.
    pub fn start(plan: &'p Plan, hall: H, seed: u64, log: &'p Log<'p>) -> Result<Self, Trouble> {
        let mut bench = Self {
            plan,
            log,
            seed,
            pairs: vec![],
            spots: vec![],
            sims: vec![],
            links: vec![],
            masters: vec![],
            ports: vec![],
            rules: vec![],
            once: 0,
            hall,
        };
        for port in &plan.ports {
            bench.port(&port.name, &port.kind)?;
        }
        for sim in &plan.sims {
            let mut core = slave(plan, sim, seed, bench.hall.now())?;
            let rules =
                core.faults_mut().report().into_iter().map(|r| (r.number, r.name)).collect::<Vec<_>>();
            let mut reader = None;
            if log.is_on() && !rules.is_empty() {
                let (sink, frames) = frames(FRAMES);
                frames.watch(true);
                core = core.frames(sink);
                reader = Some(frames);
            }
            let (station, watch) = bench.sit(sim.seat, Box::new(core))?;
            bench.sims.push(SimSeat { station, watch, frames: reader, rules });
        }
        for link in &plan.links {
            let faulty = plan.faults.iter().any(|f| f.link == bench.links.len());
            let lines = link.ends.map(|seat| plan.line_at(seat));
            let conduit = match (&link.wire, faulty) {
                (None, false) => None,
                _ => Some(bench.conduit(link.wire.as_ref(), lines[0], lines[1])?),
            };
            let names = link.ends.map(|seat| plan.seat_name(seat));
            let spots = link.ends.map(|seat| &bench.spots[seat.port][seat.end]);
            let link = bench.hall.link([&names[0], &names[1]], spots, conduit)?;
            bench.links.push(link);
        }
        for master in &plan.masters {
            let polls: Result<Vec<Poll>, Trouble> = master.polls.iter().map(|p| poll(master, p)).collect();
            let (core, results) = Master::new(timing(plan, master.seat), polls?, RESULTS);
            let stats = core.stats();
            let (station, watch) = bench.sit(master.seat, Box::new(core))?;
            let (all, polls) = (Tally::default(), vec![Tally::default(); master.polls.len()]);
            bench.masters.push(MasterSeat { station, watch, results, stats, all, polls });
        }
        bench.ports = bench.all_ports();
        bench.drain_log();
        Ok(bench)
    }

    fn port(&mut self, name: &str, kind: &PortKind) -> Result<(), Trouble> {
        let (link, spots) = match kind {
            PortKind::Pair { baud, format, wire } => {
                let line = (*baud, *format);
                let conduit = wire.as_ref().map(|wire| self.conduit(Some(wire), line, line)).transpose()?;
                let (link, spots) = self.hall.pair(name, line, conduit)?;
                (Some(link), Vec::from(spots))
            }
            PortKind::Url(url) => (None, vec![self.hall.url(url)?]),
        };
        self.pairs.push(link);
        self.spots.push(spots);
        Ok(())
    }

    /// Puts a station where it belongs.
    fn sit(
        &mut self,
        seat: Seat,
        core: Box<dyn hilrig_port::Station>,
    ) -> Result<(H::Seat, Option<Watch>), Trouble> {
        let (watcher, watch) = self.log.is_on().then(watch).unzip();
        let spot = &self.spots[seat.port][seat.end];
        let name = self.plan.seat_name(seat);
        Ok((self.hall.station(&name, spot, Watched::new(core, watcher))?, watch))
    }

    /// What stands in a link between lines that are set like this. Each has its own stream of random numbers.
    fn conduit(
        &self,
        wire: Option<&WireSpec>,
        a: (u32, Format),
        b: (u32, Format),
    ) -> Result<Box<dyn Conduit>, Trouble> {
        let settings = |(baud, format)| Some(LineSettings { baud, format, flow: Flow::None });
        let number = (self.pairs.len() + self.links.len()) as u64;
        let spec = CoreSpec {
            wire: wire.cloned(),
            seed: self.seed.wrapping_add(number),
            silence: frame_silence(character_time(a.0, a.1)),
            settings: [settings(a), settings(b)],
            ..CoreSpec::default()
        };
        Ok(Box::new(LinkCore::new(spec).map_err(|e| Trouble(e.to_string()))?))
    }

    /// Lets time pass until `limit`, or until there may be something new.
    pub fn pass(&mut self, limit: Time) -> Result<(), Trouble> {
        let masters = &self.masters;
        self.hall.pass(limit, &mut || masters.iter().any(|m| !m.results.is_empty()))
    }

    pub fn take_warnings(&mut self) -> Vec<String> {
        self.hall.take_warnings()
    }

    /// Takes into the log what has happened, results of the masters aside.
    fn drain_log(&mut self) {
        if !self.log.is_on() {
            return;
        }
        let (plan, log) = (self.plan, self.log);
        let mut text = String::new();
        let sims = plan.sims.iter().map(|p| (p.name.as_str(), p.seat, Role::Simulator));
        let masters = plan.masters.iter().map(|p| (p.name.as_str(), p.seat, Role::Master));
        let watches = self.sims.iter_mut().map(|s| &mut s.watch);
        let watches = watches.chain(self.masters.iter_mut().map(|m| &mut m.watch));
        for ((of, seat, role), watch) in sims.chain(masters).zip(watches) {
            while let Some((at, seen)) = watch.as_mut().and_then(Watch::next) {
                if let Some(event) = seen.line {
                    let port = &plan.seat_name(seat);
                    log.add(at, What::Port { of, port, event: line_event_name(event) });
                    continue;
                }
                let bytes = seen.sent();
                hex(bytes, &mut text);
                let (unit, function) = (bytes.first().copied(), bytes.get(1).copied());
                log.add(at, What::Sent { of, role, unit, function, hex: &text });
            }
        }
        for (plan, sim) in plan.sims.iter().zip(&mut self.sims) {
            while let Some(record) = sim.frames.as_mut().and_then(FrameReader::pop) {
                let FrameKind::Fault { rule } = record.kind else { continue };
                let Some((_, of)) = sim.rules.iter().find(|(number, _)| *number == rule) else { continue };
                log.add(record.at, What::Fault { of, on: &plan.name, to: "", position: None, bytes: None });
            }
        }
        while let Some(event) = self.hall.event() {
            let Some(l) = self.links.iter().position(|link| link.id() == event.link) else { continue };
            let (name, to) = (&plan.links[l].name, plan.seat_name(plan.links[l].ends[event.side]));
            match event.what {
                Happened::Fired(note) => {
                    let rule = self.rules.iter().find(|(link, number, _)| (*link, *number) == (l, note.rule));
                    let Some((_, _, fault)) = rule else { continue };
                    let (position, bytes) = (Some(note.position), Some(note.bytes));
                    let of = &plan.faults[*fault].rule.id;
                    log.add(note.at, What::Fault { of, on: name, to: &to, position, bytes });
                }
                Happened::Lost | Happened::Unplugged(_) => {
                    log.add(event.at, What::Port { of: name, port: &to, event: "lost" });
                }
                _ => {}
            }
        }
    }

    /// Takes in what the masters report; each result is also handed to `each` with the index of its master.
    pub fn drain(&mut self, each: &mut dyn FnMut(usize, &PollResult)) -> Result<(), Trouble> {
        let until = self.hall.now();
        self.drain_log();
        for (m, master) in self.masters.iter_mut().enumerate() {
            while let Some(result) = master.results.pop() {
                log_result(self.log, &self.plan.masters[m], &result);
                master.all.add(&result);
                if let Source::Poll(p) = result.source
                    && let Some(tally) = master.polls.get_mut(p)
                {
                    tally.add(&result);
                }
                each(m, &result);
            }
            let lost = master.stats.totals().results_lost + master.watch.as_ref().map_or(0, Watch::lost);
            if lost > 0 {
                let name = &self.plan.masters[m].name;
                return Err(Trouble(format!(
                    "{lost} results of master {name} came too fast for this machine"
                )));
            }
        }
        self.log.flush(until);
        let lost = |s: &SimSeat<H>| {
            s.watch.as_ref().map_or(0, Watch::lost) + s.frames.as_ref().map_or(0, FrameReader::lost)
        };
        match self.sims.iter().map(lost).sum() {
            0 => Ok(()),
            n @ 1u64.. => Err(Trouble(format!("{n} lines of the log came too fast for this machine"))),
        }
    }

    /// The last good reply to a poll.
    pub fn last_reply(&self, master: usize, poll: usize) -> Option<&PollResult> {
        self.masters[master].polls[poll].last.as_ref()
    }

    pub fn count(&self, master: usize, poll: Option<usize>, count: Count) -> u64 {
        let seat = &self.masters[master];
        let tally = poll.map_or(&seat.all, |p| &seat.polls[p]);
        match count {
            Count::Requests => tally.requests,
            Count::Replies => tally.replies,
            Count::Exceptions => tally.exceptions,
            Count::Unanswered => tally.requests - tally.replies - tally.exceptions,
            Count::Retries => tally.retries,
            Count::Recovered => tally.recovered,
            Count::Failures => tally.failures,
            Count::Timeouts => seat.stats.totals().timeouts,
            Count::CrcErrors => seat.stats.totals().crc_errors,
        }
    }

    /// A value as it is now, live ones included.
    pub fn cell(&mut self, sim: usize, table: Table, address: u16) -> Result<Option<u16>, Trouble> {
        let Some(unit) = self.plan.sims[sim].unit else { return Ok(None) };
        self.hall.with(&self.sims[sim].station, |slave: &mut Slave, now| {
            slave.plant().with(|plant| {
                let mut raw = [0; 2];
                let read = match table.is_bits() {
                    true => plant.read_bits(now, unit, table.core(), address, 1, &mut raw[1..]),
                    false => plant.read_registers(now, unit, table.core(), address, 1, &mut raw),
                };
                // What a master may not read is there all the same.
                let hidden = || plant.unit(unit).and_then(|u| u.get(table.core(), address));
                if read.is_ok() { Some(u16::from_be_bytes(raw)) } else { hidden() }
            })
        })
    }

    /// Where there is a point it is written as a master would, so that its limits and triggers hold.
    pub fn set_cell(&mut self, sim: usize, table: Table, address: u16, value: u16) -> Result<bool, Trouble> {
        let Some(unit) = self.plan.sims[sim].unit else { return Ok(false) };
        self.hall.with(&self.sims[sim].station, |slave: &mut Slave, now| {
            slave.plant().with(|plant| {
                let written = plant.point_at(unit, table.core(), address).is_some()
                    && match table {
                        Table::Coils => plant.write_bits(now, unit, address, 1, &[value as u8]).is_ok(),
                        Table::Holding => {
                            plant.write_registers(now, unit, address, &value.to_be_bytes()).is_ok()
                        }
                        Table::Input | Table::Discrete => false,
                    };
                written || plant.unit_mut(unit).is_some_and(|u| u.set(table.core(), address, value))
            })
        })
    }

    /// Hands a write to a master; its result carries the id that is answered.
    pub fn submit(&mut self, master: usize, exchange: Exchange, timeout: Duration) -> Result<u64, Trouble> {
        self.once += 1;
        let id = self.once;
        let poll = Poll::new(exchange).timeout(timeout);
        let station = &self.masters[master].station;
        match self.hall.with(station, move |core: &mut Master, _| core.submit(id, poll))? {
            true => Ok(id),
            false => Err(Trouble("too many writes wait at the master".to_owned())),
        }
    }

    pub fn arm(&mut self, fault: usize) -> Result<(), Trouble> {
        let plan = &self.plan.faults[fault];
        let rule = LinkCore::prepare(&plan.rule).map_err(|e| Trouble(e.to_string()))?;
        // What comes back is freed here, not on the shard.
        let armed = self.core(plan, move |core, now| core.arm(now, rule))?;
        let armed =
            armed.map_err(|_| Trouble(format!("fault {}: too many faults on this link", plan.rule.id)))?;
        self.rules.push((plan.link, armed.number, fault));
        Ok(())
    }

    pub fn disarm(&mut self, fault: &FaultPlan) -> Result<(), Trouble> {
        self.core(fault, |core, _| core.clear(&fault.rule.id)).map(drop)
    }

    pub fn fault(&mut self, fault: &FaultPlan) -> Result<Option<RuleReport>, Trouble> {
        let mut reports = self.core(fault, |core, _| core.report())?;
        Ok(reports.iter().position(|r| r.id == fault.rule.id).map(|i| reports.swap_remove(i)))
    }

    /// Asks what stands in the link of a fault.
    fn core<R: Send>(
        &mut self,
        fault: &FaultPlan,
        f: impl FnOnce(&mut LinkCore, Time) -> R + Send,
    ) -> Result<R, Trouble> {
        self.hall.with_core(&self.links[fault.link], f)
    }

    /// Stops or resumes all poll lists.
    pub fn pause(&mut self, paused: bool) -> Result<(), Trouble> {
        for master in &self.masters {
            self.hall.with(&master.station, |core: &mut Master, _| core.pause(paused))?;
        }
        Ok(())
    }

    /// No master waits for a reply.
    pub fn is_idle(&mut self) -> Result<bool, Trouble> {
        for master in &self.masters {
            if !self.hall.with(&master.station, |core: &mut Master, _| core.is_idle())? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn all_ports(&self) -> Vec<(String, Arc<PortStats>)> {
        let seats = self.seats();
        let named = seats.into_iter().map(|(seat, stats)| (self.plan.seat_name(seat), stats));
        let wires = self.pairs.iter().zip(&self.plan.ports).flat_map(|(link, port)| {
            let ports = link.as_ref().map(Joined::ports).into_iter().flatten();
            ports.map(|stats| (format!("{} (virtual)", port.name), stats))
        });
        named.chain(wires).collect()
    }

    /// What sits on each seat.
    fn seats(&self) -> Vec<(Seat, Arc<PortStats>)> {
        let sims = self.plan.sims.iter().zip(&self.sims).map(|(p, s)| (p.seat, s.station.port()));
        let masters = self.plan.masters.iter().zip(&self.masters).map(|(p, m)| (p.seat, m.station.port()));
        let links = self.plan.links.iter().zip(&self.links).flat_map(|(plan, link)| {
            let [a, b] = link.ports();
            [(plan.ends[0], a), (plan.ends[1], b)]
        });
        sims.chain(links).chain(masters).collect()
    }

    /// A sentence when a port is gone.
    pub fn trouble(&self) -> Result<(), Trouble> {
        match self.ports.iter().find(|(_, stats)| stats.gone()) {
            Some((name, stats)) => Err(Trouble(format!("port {name} is gone: {}", stats.snapshot().reason))),
            None => Ok(()),
        }
    }

    pub fn stations(&mut self) -> Vec<StationResult> {
        let row = |name: &str, seat: String, port: Arc<PortStats>, counters: Vec<(&'static str, u64)>| {
            let port = port.snapshot();
            StationResult {
                name: name.to_owned(),
                port: seat,
                sent_bytes: port.tx_bytes,
                received_bytes: port.rx_bytes,
                counters: counters.into_iter().map(|(name, n)| (name.to_owned(), n)).collect(),
            }
        };
        let mut rows = Vec::new();
        for (plan, sim) in self.plan.sims.iter().zip(&self.sims) {
            let stats = self.hall.with(&sim.station, |s: &mut Slave, _| s.stats());
            let counters = stats.map(|s| s.totals().entries().collect()).unwrap_or_default();
            rows.push(row(&plan.name, self.plan.seat_name(plan.seat), sim.station.port(), counters));
        }
        for (plan, master) in self.plan.masters.iter().zip(&self.masters) {
            let counters = master.stats.totals().entries().collect();
            rows.push(row(&plan.name, self.plan.seat_name(plan.seat), master.station.port(), counters));
        }
        rows
    }
}

impl<H: Hall> Drop for Bench<'_, H> {
    /// In the reverse order of the start. The hall itself goes last, as the last field.
    fn drop(&mut self) {
        while let Some(master) = self.masters.pop() {
            self.hall.remove_station(master.station);
        }
        while let Some(link) = self.links.pop() {
            self.hall.remove_link(link);
        }
        while let Some(sim) = self.sims.pop() {
            self.hall.remove_station(sim.station);
        }
        while let Some(pair) = self.pairs.pop() {
            if let Some(pair) = pair {
                self.hall.remove_link(pair);
            }
        }
    }
}

fn log_result(log: &Log<'_>, master: &MasterPlan, result: &PollResult) {
    if !log.is_on() {
        return;
    }
    let of = match result.source {
        Source::Poll(p) => format!("{}.{}", master.name, master.polls[p].name),
        Source::Once(_) => master.name.clone(),
    };
    let (outcome, exception) = outcome_name(result);
    let values: Vec<u16> = result.values.iter().collect();
    let attempts = result.attempts;
    log.add(result.at, What::Result { of: &of, outcome, exception, attempts, values: &values });
}
