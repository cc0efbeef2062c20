//! The bench of one run: pairs, simulators, links and masters in one hall, started in this order and taken down
//! in reverse, also after a panic. Knows nothing of steps and verdicts.

mod faults;
mod loss;
mod made;
mod told;
mod values;

use std::sync::Arc;
use std::time::Duration;

use hilrig_modbus::{
    Exchange, FrameReader, Framing, Master, MasterStats, Outcome, Poll, PollResult, Results, Source,
};
use hilrig_points::{PointId, Shared};
use hilrig_port::{Conduit, Flow, Format, LineSettings, PortStats, Time};
use hilrig_wire::{CoreSpec, LinkCore, WireSpec, character_time, frame_silence};

use crate::hall::{Hall, Joined, Seated, Trouble};
use crate::log::Log;
use crate::plan::{Count, Plan, PortKind, Seat};
use crate::report::StationResult;
use crate::watch::{Watch, Watched, WatchedServer, watch};
use made::{Core, Counters, Made};

/// Results of one master that can wait to be read: some seconds of the fastest line.
const RESULTS: usize = 4096;
/// What moves by itself is brought up to date so often, if nobody asks for it.
const KEEP_UP: Duration = Duration::from_secs(1);

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

/// A core at its place.
enum Placed<H: Hall> {
    Line(H::Seat),
    /// Behind a listener.
    Server(H::Server),
}

impl<H: Hall> Placed<H> {
    fn port(&self) -> Arc<PortStats> {
        match self {
            Self::Line(seat) => seat.port(),
            Self::Server(server) => server.port(),
        }
    }
}

struct StationSeat<H: Hall> {
    place: Placed<H>,
    watch: Option<Watch>,
    counters: Counters,
    /// How its frames look; telegrams have no form that all have.
    framing: Option<Framing>,
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
    framing: Framing,
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
    /// By simulator: its values.
    plants: Vec<Shared>,
    /// By point of the plan.
    points: Vec<PointId>,
    stations: Vec<StationSeat<H>>,
    links: Vec<H::Link>,
    masters: Vec<MasterSeat<H>>,
    /// Every port of the run with its name: stations and link ends, then the wires of the pairs.
    ports: Vec<(String, Arc<PortStats>)>,
    /// Rules by link and number, and what fault of the plan they are.
    rules: Vec<(usize, u32, usize)>,
    /// By port: the line that it is part of, if there are several.
    lines: Vec<Option<usize>>,
    once: u64,
    kept_up: Time,
    hall: H,
}

impl<'p, H: Hall> Bench<'p, H> {
    /// Starts everything. What was started is taken down again when something fails.
    pub fn start(plan: &'p Plan, hall: H, seed: u64, log: &'p Log<'p>) -> Result<Self, Trouble> {
        let lines = plan.lines();
        let several = lines.iter().any(|line| *line != lines[0]);
        let mut bench = Self {
            plan,
            log,
            seed,
            pairs: vec![],
            spots: vec![],
            plants: vec![],
            points: vec![],
            stations: vec![],
            links: vec![],
            masters: vec![],
            ports: vec![],
            rules: vec![],
            lines: lines.into_iter().map(|line| several.then_some(line)).collect(),
            once: 0,
            kept_up: hall.now(),
            hall,
        };
        for port in &plan.ports {
            bench.port(&port.name, &port.kind)?;
        }
        let mut models = Vec::new();
        for sim in &plan.sims {
            let model = made::model(sim, seed)?;
            bench.plants.push(made::plant(sim, model.as_deref(), bench.hall.now())?);
            models.push(model);
        }
        bench.find_points()?;
        for station in &plan.stations {
            let (model, plant) = (models[station.sim].as_deref(), &bench.plants[station.sim]);
            let made = made::station(plan, station, model, plant, bench.hall.now(), log.is_on())?;
            let Made { core, counters, rules, frames, framing } = made;
            let (place, watch) = match core {
                Core::Station(core) => {
                    let (seat, watch) = bench.sit(station.seat, core)?;
                    (Placed::Line(seat), watch)
                }
                Core::Server(core) => {
                    let behind = station.behind.as_ref().map(|(seat, _)| *seat);
                    let (server, watch) = bench.serve(station.seat, behind, core)?;
                    (Placed::Server(server), watch)
                }
            };
            bench.stations.push(StationSeat { place, watch, counters, framing, frames, rules });
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
            let (core, results) = made::master(plan, master, &models, &bench.plants, RESULTS)?;
            let (framing, stats) = (master.framing, core.stats());
            let (station, watch) = bench.sit(master.seat, Box::new(core))?;
            let (all, polls) = (Tally::default(), vec![Tally::default(); master.polls.len()]);
            bench.masters.push(MasterSeat { station, watch, results, stats, framing, all, polls });
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
            PortKind::Tcp => (None, Vec::from(self.hall.network(name)?)),
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

    /// Puts a server where it is called, and maybe at the line behind it.
    fn serve(
        &mut self,
        seat: Seat,
        behind: Option<Seat>,
        core: Box<dyn hilrig_port::Server>,
    ) -> Result<(H::Server, Option<Watch>), Trouble> {
        let (watcher, watch) = self.log.is_on().then(watch).unzip();
        let spot = |seat: Seat| &self.spots[seat.port][seat.end];
        let names = (self.plan.seat_name(seat), behind.map(|seat| self.plan.seat_name(seat)));
        let line = behind.map(spot).zip(names.1.as_deref());
        let server = WatchedServer::new(core, watcher);
        Ok((self.hall.server(&names.0, &self.spots[seat.port][seat.end], line, server)?, watch))
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

    /// Takes in what the masters report; each result is also handed to `each` with the index of its master.
    pub fn drain(&mut self, each: &mut dyn FnMut(usize, &PollResult)) -> Result<(), Trouble> {
        let until = self.hall.now();
        self.drain_log();
        for (m, master) in self.masters.iter_mut().enumerate() {
            while let Some(result) = master.results.pop() {
                told::log_result(self.log, &self.plan.masters[m], &result);
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
        if until.since(self.kept_up) >= KEEP_UP {
            self.kept_up = until;
            self.keep_up()?;
        }
        let lost = |s: &StationSeat<H>| {
            s.watch.as_ref().map_or(0, Watch::lost) + s.frames.as_ref().map_or(0, FrameReader::lost)
        };
        match self.stations.iter().map(lost).sum() {
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
        let stations = self.plan.stations.iter().zip(&self.stations);
        let stations = stations.flat_map(|(plan, station)| {
            let line = match &station.place {
                Placed::Server(server) => H::behind(server),
                Placed::Line(_) => None,
            };
            let behind = plan.behind.as_ref().map(|(seat, _)| *seat).zip(line);
            std::iter::once((plan.seat, station.place.port())).chain(behind)
        });
        let masters = self.plan.masters.iter().zip(&self.masters).map(|(p, m)| (p.seat, m.station.port()));
        let links = self.plan.links.iter().zip(&self.links).flat_map(|(plan, link)| {
            let [a, b] = link.ports();
            [(plan.ends[0], a), (plan.ends[1], b)]
        });
        stations.chain(links).chain(masters).collect()
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
        for (plan, station) in self.plan.stations.iter().zip(&self.stations) {
            let seat = self.plan.seat_name(plan.seat);
            rows.push(row(&plan.name, seat, station.place.port(), (station.counters)()));
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
        while let Some(station) = self.stations.pop() {
            match station.place {
                Placed::Line(seat) => self.hall.remove_station(seat),
                Placed::Server(server) => self.hall.remove_server(server),
            }
        }
        while let Some(pair) = self.pairs.pop() {
            if let Some(pair) = pair {
                self.hall.remove_link(pair);
            }
        }
    }
}
