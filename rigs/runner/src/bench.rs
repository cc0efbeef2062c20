//! The bench of one run: pairs, simulators, links and masters on one shard, started in this order and taken down
//! in reverse, also after a panic. Knows nothing of steps and verdicts.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use hilrig_modbus::{
    Exchange, Master, MasterStats, Outcome, Poll, PollResult, Results, Slave, Source, Timing,
};
use hilrig_points::{Plant, Shared, Unit};
use hilrig_port::{
    Conduit, Flow, Format, LineSettings, Link, LinkOptions, OpenPort, PortSnapshot, PortStats, PortUrl,
    Runtime, SerialOptions, Shard, StationRef, Time,
};
use hilrig_wire::{CoreSpec, LinkCore, RuleReport, WireSpec, character_time, frame_silence};

use crate::plan::{Count, FaultPlan, MasterPlan, Plan, PollPlan, PortKind, Seat, SimPlan, Table};
use crate::report::{BytesResult, StationResult};

/// Results of one master that can wait to be read: some seconds of the fastest line.
const RESULTS: usize = 4096;
/// Silence that ends a broken frame. Ports of a busy machine and USB adapters hold bytes back for so long, and a paced
/// wire pauses when the machine does. Whole frames do not wait for it.
const TOLERANCE: Duration = Duration::from_millis(80);

/// The bench cannot work; the sentence says why.
#[derive(Debug)]
pub(crate) struct Trouble(pub String);

impl From<hilrig_port::PortError> for Trouble {
    fn from(e: hilrig_port::PortError) -> Self {
        Self(e.to_string())
    }
}

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

struct MasterSeat {
    station: StationRef,
    results: Results,
    stats: Arc<MasterStats>,
    all: Tally,
    polls: Vec<Tally>,
}

pub(crate) struct Bench<'p> {
    plan: &'p Plan,
    /// One entry a port; `None` for a URL.
    pairs: Vec<Option<Link>>,
    far_ends: Vec<[Option<PathBuf>; 2]>,
    sims: Vec<StationRef>,
    links: Vec<Link>,
    masters: Vec<MasterSeat>,
    pub warnings: Vec<String>,
    once: u64,
    shard: Shard,
}

impl<'p> Bench<'p> {
    /// Starts everything. What was started is taken down again when something fails.
    pub fn start(plan: &'p Plan, runtime: &Runtime, stop: &dyn Fn() -> bool) -> Result<Self, Trouble> {
        static RUNS: AtomicU32 = AtomicU32::new(0);
        let run = RUNS.fetch_add(1, Ordering::Relaxed);
        // Two runs of one rig at once must not meet.
        let prefix = format!("{}-{}-{run}", plan.name, std::process::id());
        runtime.sweep();
        let mut bench = Self {
            plan,
            pairs: vec![],
            far_ends: vec![],
            sims: vec![],
            links: vec![],
            masters: vec![],
            warnings: vec![],
            once: 0,
            shard: Shard::start(&plan.name)?,
        };
        for port in &plan.ports {
            bench.pair(&port.kind, &format!("{prefix}.{}", port.name), runtime, stop)?;
        }
        for sim in &plan.sims {
            let port = bench.open(sim.seat, runtime, stop)?;
            let station = bench.shard.add_station(port, Box::new(slave(plan, sim)?))?;
            bench.sims.push(station);
        }
        for link in &plan.links {
            let a = bench.open(link.ends[0], runtime, stop)?;
            let b = bench.open(link.ends[1], runtime, stop)?;
            let faulty = plan.faults.iter().any(|f| f.link == bench.links.len());
            let core = match (&link.wire, faulty) {
                (None, false) => None,
                _ => Some(bench.conduit(
                    link.wire.as_ref(),
                    plan.line_at(link.ends[0]),
                    plan.line_at(link.ends[1]),
                )?),
            };
            let options = LinkOptions { conduit: core, ..LinkOptions::default() };
            let link = bench.shard.add_link(a, b, options)?;
            bench.links.push(link);
        }
        for master in &plan.masters {
            let port = bench.open(master.seat, runtime, stop)?;
            let polls: Result<Vec<Poll>, Trouble> = master.polls.iter().map(|p| poll(master, p)).collect();
            let (core, results) = Master::new(timing(plan, master.seat), polls?, RESULTS);
            let stats = core.stats();
            let station = bench.shard.add_station(port, Box::new(core))?;
            let polls = vec![Tally::default(); master.polls.len()];
            bench.masters.push(MasterSeat { station, results, stats, all: Tally::default(), polls });
        }
        Ok(bench)
    }

    fn pair(
        &mut self,
        kind: &PortKind,
        name: &str,
        runtime: &Runtime,
        stop: &dyn Fn() -> bool,
    ) -> Result<(), Trouble> {
        let PortKind::Pair { baud, format, wire } = kind else {
            self.pairs.push(None);
            self.far_ends.push([None, None]);
            return Ok(());
        };
        let open = |end: &str| {
            let url = PortUrl::Pty { name: format!("{name}.{end}"), format: Some(*format), shim: false };
            OpenPort::open(&url, runtime, stop)
        };
        let (a, b) = (open("a")?, open("b")?);
        self.far_ends.push([&a, &b].map(|port| port.far_end().map(std::path::Path::to_path_buf)));
        let line = (*baud, *format);
        let conduit = wire.as_ref().map(|wire| self.conduit(Some(wire), line, line)).transpose()?;
        let link = self.shard.add_link(a, b, LinkOptions { conduit, ..LinkOptions::default() })?;
        self.pairs.push(Some(link));
        Ok(())
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
            seed: self.plan.seed.wrapping_add(number),
            silence: frame_silence(character_time(a.0, a.1)),
            settings: [settings(a), settings(b)],
            ..CoreSpec::default()
        };
        Ok(Box::new(LinkCore::new(spec).map_err(|e| Trouble(e.to_string()))?))
    }

    /// Opens what a station or a link end sits on: an end of a pair like any serial port, or the URL.
    fn open(&mut self, seat: Seat, runtime: &Runtime, stop: &dyn Fn() -> bool) -> Result<OpenPort, Trouble> {
        let name = self.plan.seat_name(seat);
        let url = match &self.plan.ports[seat.port].kind {
            PortKind::Url(url) => url.clone(),
            PortKind::Pair { baud, format, .. } => {
                let path = self.far_ends[seat.port][seat.end].clone();
                let path =
                    path.ok_or_else(|| Trouble(format!("port {name}: the virtual port has no far end")))?;
                PortUrl::Serial {
                    path,
                    options: SerialOptions { baud: *baud, format: *format, ..Default::default() },
                }
            }
        };
        let port = OpenPort::open(&url, runtime, stop).map_err(|e| Trouble(format!("port {name}: {e}")))?;
        self.warnings.extend(port.warnings().iter().map(|w| format!("port {name}: {w}")));
        Ok(port)
    }

    /// Takes in what the masters report; each result is also handed to `each` with the index of its master.
    pub fn drain(&mut self, each: &mut dyn FnMut(usize, &PollResult)) -> Result<(), Trouble> {
        for (m, master) in self.masters.iter_mut().enumerate() {
            while let Some(result) = master.results.pop() {
                master.all.add(&result);
                if let Source::Poll(p) = result.source
                    && let Some(tally) = master.polls.get_mut(p)
                {
                    tally.add(&result);
                }
                each(m, &result);
            }
            let lost = master.stats.totals().results_lost;
            if lost > 0 {
                let name = &self.plan.masters[m].name;
                return Err(Trouble(format!(
                    "{lost} results of master {name} came too fast for this machine"
                )));
            }
        }
        Ok(())
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

    pub fn cell(&self, sim: usize, table: Table, address: u16) -> Result<Option<u16>, Trouble> {
        let unit = self.plan.sims[sim].unit;
        Ok(self.shard.with_station(&self.sims[sim], |slave: &mut Slave, _, _| {
            slave.plant().with(|p| p.unit(unit).and_then(|u| u.get(table.core(), address)))
        })?)
    }

    pub fn set_cell(&self, sim: usize, table: Table, address: u16, value: u16) -> Result<bool, Trouble> {
        let unit = self.plan.sims[sim].unit;
        Ok(self.shard.with_station(&self.sims[sim], |slave: &mut Slave, _, _| {
            slave.plant().with(|p| p.unit_mut(unit).is_some_and(|u| u.set(table.core(), address, value)))
        })?)
    }

    /// Hands a write to a master; its result carries the id that is answered.
    pub fn submit(&mut self, master: usize, exchange: Exchange, timeout: Duration) -> Result<u64, Trouble> {
        self.once += 1;
        let id = self.once;
        let poll = Poll::new(exchange).timeout(timeout);
        let station = &self.masters[master].station;
        match self.shard.with_station(station, move |core: &mut Master, _, _| core.submit(id, poll))? {
            true => Ok(id),
            false => Err(Trouble("too many writes wait at the master".to_owned())),
        }
    }

    pub fn arm(&self, fault: &FaultPlan) -> Result<(), Trouble> {
        let rule = LinkCore::prepare(&fault.rule).map_err(|e| Trouble(e.to_string()))?;
        let armed = self.core(fault, move |core, now| core.arm(now, rule))?;
        // What comes back is freed here, not on the shard.
        armed.map(drop).map_err(|_| Trouble(format!("fault {}: too many faults on this link", fault.rule.id)))
    }

    pub fn disarm(&self, fault: &FaultPlan) -> Result<(), Trouble> {
        self.core(fault, |core, _| core.clear(&fault.rule.id)).map(drop)
    }

    pub fn fault(&self, fault: &FaultPlan) -> Result<Option<RuleReport>, Trouble> {
        let mut reports = self.core(fault, |core, _| core.report())?;
        Ok(reports.iter().position(|r| r.id == fault.rule.id).map(|i| reports.swap_remove(i)))
    }

    /// Asks what stands in the link of a fault.
    fn core<R: Send>(
        &self,
        fault: &FaultPlan,
        f: impl FnOnce(&mut LinkCore, Time) -> R + Send,
    ) -> Result<R, Trouble> {
        Ok(self.shard.with_conduit(&self.links[fault.link], f)?)
    }

    /// Stops or resumes all poll lists.
    pub fn pause(&self, paused: bool) -> Result<(), Trouble> {
        for master in &self.masters {
            self.shard.with_station(&master.station, |core: &mut Master, _, _| core.pause(paused))?;
        }
        Ok(())
    }

    /// No master waits for a reply.
    pub fn is_idle(&self) -> Result<bool, Trouble> {
        for master in &self.masters {
            if !self.shard.with_station(&master.station, |core: &mut Master, _, _| core.is_idle())? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Every port of the run with its name: stations and link ends, then the wires of the pairs.
    fn ports(&self) -> Vec<(String, Arc<PortStats>)> {
        let seats = self.seats();
        let named = seats.into_iter().map(|(seat, stats)| (self.plan.seat_name(seat), stats));
        let wires = self.pairs.iter().zip(&self.plan.ports).flat_map(|(link, port)| {
            let ports = link.as_ref().map(Link::ports).into_iter().flatten();
            ports.map(|stats| (format!("{} (virtual)", port.name), stats))
        });
        named.chain(wires).collect()
    }

    /// What sits on each seat.
    fn seats(&self) -> Vec<(Seat, Arc<PortStats>)> {
        let sims = self.plan.sims.iter().zip(&self.sims).map(|(plan, station)| (plan.seat, station.port()));
        let masters = self.plan.masters.iter().zip(&self.masters).map(|(p, m)| (p.seat, m.station.port()));
        let links = self.plan.links.iter().zip(&self.links).flat_map(|(plan, link)| {
            let [a, b] = link.ports();
            [(plan.ends[0], a), (plan.ends[1], b)]
        });
        sims.chain(links).chain(masters).collect()
    }

    /// A sentence when a port is gone.
    pub fn trouble(&self) -> Result<(), Trouble> {
        for (name, stats) in self.ports() {
            if stats.gone() {
                return Err(Trouble(format!("port {name} is gone: {}", stats.snapshot().reason)));
            }
        }
        Ok(())
    }

    /// Bytes that vanished other than by a fault, in words per place; on one link, or everywhere. Exact once the
    /// masters are idle.
    pub fn lost(&self, only: Option<usize>) -> (u64, String) {
        let mut total = 0;
        let mut places = Vec::new();
        let mut add = |n: u64, what: String| {
            if n > 0 {
                total += n;
                places.push(format!("{n} {what}"));
            }
        };
        let wanted = |seat: Seat| only.is_none_or(|l| self.plan.links[l].ends.contains(&seat));
        for (l, link) in self.links.iter().enumerate() {
            if only.is_none_or(|only| only == l) {
                self.lost_inside(&self.plan.links[l].name, link, &mut add);
            }
        }
        for (pair, port) in self.pairs.iter().zip(&self.plan.ports) {
            if let (Some(link), None) = (pair, only) {
                self.lost_inside(&format!("pair {}", port.name), link, &mut add);
            }
        }
        // What the one put on a pair is what the pair saw, and the other way round.
        for (seat, stats) in self.seats().into_iter().filter(|(seat, _)| wanted(*seat)) {
            let Some(pair) = &self.pairs[seat.port] else { continue };
            let (user, wire): (PortSnapshot, _) = (stats.snapshot(), pair.ports()[seat.end].snapshot());
            let name = self.plan.seat_name(seat);
            add(
                user.tx_bytes.abs_diff(wire.rx_bytes),
                format!("between what was sent on {name} and its wire"),
            );
            add(wire.tx_bytes.abs_diff(user.rx_bytes), format!("between the wire and what came from {name}"));
        }
        (total, places.join("; "))
    }

    fn lost_inside(&self, name: &str, link: &Link, add: &mut dyn FnMut(u64, String)) {
        let stats = link.stats();
        for d in &stats.directions {
            add(d.discarded_bytes, format!("on {name} for a far end that nobody had open"));
            add(d.pending, format!("stuck on {name}"));
            let known = d.bytes_out + d.fault_bytes + d.discarded_bytes + d.pending;
            add((d.bytes_in + d.inserted_bytes).abs_diff(known), format!("on {name} without a trace"));
        }
    }

    pub fn bytes(&self) -> Vec<BytesResult> {
        let mut rows = Vec::new();
        let mut add = |name: String, ends: [String; 2], link: &Link| {
            for (i, d) in link.stats().directions.iter().enumerate() {
                rows.push(BytesResult {
                    link: name.clone(),
                    from: ends[i].clone(),
                    to: ends[1 - i].clone(),
                    bytes_in: d.bytes_in,
                    bytes_out: d.bytes_out,
                    inserted_bytes: d.inserted_bytes,
                    fault_bytes: d.fault_bytes,
                    discarded_bytes: d.discarded_bytes,
                    pending: d.pending,
                });
            }
        };
        for (plan, link) in self.plan.links.iter().zip(&self.links) {
            add(format!("link {}", plan.name), plan.ends.map(|seat| self.plan.seat_name(seat)), link);
        }
        for (port, link) in self.pairs.iter().enumerate().filter_map(|(i, l)| Some((i, l.as_ref()?))) {
            let ends = [0, 1].map(|end| self.plan.seat_name(Seat { port, end }));
            add(format!("pair {}", self.plan.ports[port].name), ends, link);
        }
        rows
    }

    pub fn stations(&self) -> Vec<StationResult> {
        let row = |name: &str, seat: Seat, port: Arc<PortStats>, counters: Vec<(&'static str, u64)>| {
            let port = port.snapshot();
            StationResult {
                name: name.to_owned(),
                port: self.plan.seat_name(seat),
                sent_bytes: port.tx_bytes,
                received_bytes: port.rx_bytes,
                counters: counters.into_iter().map(|(name, n)| (name.to_owned(), n)).collect(),
            }
        };
        let sims = self.plan.sims.iter().zip(&self.sims).map(|(plan, station)| {
            let stats = self.shard.with_station(station, |s: &mut Slave, _, _| s.stats());
            let counters = stats.map(|s| s.totals().entries().collect()).unwrap_or_default();
            row(&plan.name, plan.seat, station.port(), counters)
        });
        let masters = self.plan.masters.iter().zip(&self.masters).map(|(plan, master)| {
            let counters = master.stats.totals().entries().collect();
            row(&plan.name, plan.seat, master.station.port(), counters)
        });
        sims.chain(masters).collect()
    }
}

impl Drop for Bench<'_> {
    /// In the reverse order of the start. The shard itself goes last, as the last field.
    fn drop(&mut self) {
        while let Some(master) = self.masters.pop() {
            self.shard.remove_station(master.station);
        }
        while let Some(link) = self.links.pop() {
            self.shard.remove_link(link);
        }
        while let Some(sim) = self.sims.pop() {
            self.shard.remove_station(sim);
        }
        while let Some(pair) = self.pairs.pop() {
            if let Some(pair) = pair {
                self.shard.remove_link(pair);
            }
        }
    }
}

fn timing(plan: &Plan, seat: Seat) -> Timing {
    let (baud, format) = plan.line_at(seat);
    Timing::new(baud, format).tolerance(TOLERANCE)
}

fn slave(plan: &Plan, sim: &SimPlan) -> Result<Slave, Trouble> {
    let mut unit = Unit::new();
    let wrong = |e| Trouble(format!("simulator {}: {e}", sim.name));
    for (table, address, value) in &sim.cells {
        unit.define(table.core(), *address, std::iter::once(*value)).map_err(wrong)?;
    }
    let mut data = Plant::default();
    data.add_unit(sim.unit, unit).map_err(wrong)?;
    Ok(Slave::new(timing(plan, sim.seat), Shared::new(data)))
}

fn poll(master: &MasterPlan, plan: &PollPlan) -> Result<Poll, Trouble> {
    let exchange = Exchange::read(master.unit, plan.table.core(), plan.first, plan.count);
    let exchange = exchange.map_err(|e| Trouble(format!("poll {}.{}: {e}", master.name, plan.name)))?;
    Ok(Poll::new(exchange).every(plan.every).timeout(plan.timeout).retries(plan.retries))
}
