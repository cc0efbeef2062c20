//! From a model to a run: opens its ports, all or none, and seats a core at each.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use hilrig_modbus::{Gateway, Master, Sniffer, TcpSlave, frames};
use hilrig_points::Shared;
use hilrig_port::{OpenPort, Runtime, SeatRef, Shard, Time};
use hilrig_record::Captures;
use hilrig_telegram::TelegramStation;

use super::keeper::{Keeper, Kept};
use super::line::{Fresh, Line};
use super::{Core, PortRun, Run, RunError, RunOptions};
use crate::catalogue::Catalogue;
use crate::model::{Model, PortPlan, Role};

/// Frames that wait for who watches a port.
const FRAMES: usize = 1024;

/// One port, open and not seated yet.
pub(super) struct Opened {
    port: OpenPort,
    far_end: String,
    warnings: Vec<String>,
}

pub(super) fn open(plan: &PortPlan, runtime: &Runtime, stop: &dyn Fn() -> bool) -> Result<Opened, RunError> {
    let Some(url) = &plan.url else { return Err(RunError::NoUrl { name: plan.name.clone() }) };
    let port = OpenPort::open(url, runtime, stop).map_err(|source| RunError::Port {
        name: plan.name.clone(),
        url: url.to_string(),
        source,
    })?;
    let address = port.local_addr().map(|a| format!("tcp:{a}"));
    let far_end = port.far_end().map(|p| p.display().to_string()).or(address).unwrap_or_default();
    let warnings = port.warnings().iter().map(|w| format!("port {} ({url}): {w}", plan.name)).collect();
    Ok(Opened { port, far_end, warnings })
}

impl Run {
    /// Opens all ports of a model and serves them.
    ///
    /// # Errors
    /// Which port cannot be had and why; nothing is left open then.
    pub fn start(model: Model, options: &RunOptions<'_>) -> Result<Self, RunError> {
        if model.ports.is_empty() {
            return Err(RunError::NoPort);
        }
        let mut opened = Vec::new();
        for plan in &model.ports {
            opened.push(Some(open(plan, &options.runtime, options.stop)?));
        }
        let mut warnings: Vec<String> = opened.iter().flatten().flat_map(|o| o.warnings.clone()).collect();
        let mut plant = model.plant();
        let catalogue = Catalogue::new(&plant);
        let shard = Shard::start_with("plc", options.realtime.as_ref().unwrap_or(&model.realtime))?;
        let shard = Arc::new(shard);
        let begun = Time::now();
        plant.begin(begun);
        if let Some(path) = &options.restore {
            warnings.extend(super::state::restore(&mut plant, begun, path)?);
        }
        let plant = Shared::new(plant);
        let (ports, captures, comings) = (Arc::default(), Captures::default(), Arc::default());
        let kept = Kept {
            shard: Arc::downgrade(&shard),
            plant: plant.clone(),
            ports: Arc::clone(&ports),
            captures: captures.clone(),
            comings: Arc::clone(&comings),
        };
        let keeper = Keeper::start(&shard, &options.runtime, kept).map_err(RunError::Keeper)?;
        let run = Self {
            plant,
            catalogue: Mutex::new(Arc::new(catalogue)),
            ports,
            captures,
            comings,
            keeper,
            replays: Mutex::default(),
            reconnect: options.reconnect,
            begun,
            since: Instant::now(),
            warnings,
            watch: options.watch,
            runtime: options.runtime.clone(),
            shard,
            model: Mutex::new(Arc::new(model)),
        };
        let model = run.model();
        for (i, plan) in model.ports.iter().enumerate() {
            // The line behind a gateway is opened with it.
            let Some(first) = opened[i].take_if(|_| !matches!(plan.role, Role::Behind(_))) else { continue };
            let second = match plan.role {
                Role::Gateway(_) => {
                    let behind = model.ports.iter().position(|p| is_behind(plan.role, p.role));
                    behind.and_then(|at| opened[at].take().zip(model.ports.get(at)))
                }
                _ => None,
            };
            let fresh = || Fresh::new(options.reconnect, options.capture.as_ref().map(|_| &run.captures));
            let port = run.seat(i, plan, &model, first, second, fresh()?)?;
            super::lock(&run.ports).push(Arc::new(port));
        }
        if let Some((spec, folder)) = &options.capture {
            run.capture(&run.lines(&[])?, spec, folder)?;
            run.captures.begin();
        }
        Ok(run)
    }

    /// Puts the core at a port that it is for.
    pub(super) fn seat(
        &self,
        number: usize,
        plan: &PortPlan,
        model: &Model,
        opened: Opened,
        behind: Option<(Opened, &PortPlan)>,
        Fresh { options, first }: Fresh,
    ) -> Result<PortRun, RunError> {
        let (sink, frames) = frames(FRAMES);
        let sink = sink.port(number as u16);
        frames.watch(self.watch);
        let Opened { port, far_end, .. } = opened;
        let url = port.url().to_string();
        let stats = port.stats();
        let failed = |source| RunError::Port { name: plan.name.clone(), url: url.clone(), source };
        let shard = &self.shard;
        // Of a station; what a gateway has is behind it.
        let line = |who: &str, seat: SeatRef, first| {
            Line::new(self, plan, who, seat, stats.clone(), (self.reconnect, first))
        };
        let (kind, core, line) = match plan.role {
            Role::Slave if plan.listens() => {
                let slave = TcpSlave::new(plan.framing, plan.timing(), self.plant.clone())
                    .units(plan.units.as_deref())
                    .min_delay(plan.min_delay)
                    .max_callers(plan.max_callers)
                    .idle_timeout(plan.idle_timeout)
                    .faults(model.reply_faults(&plan.name, plan.framing, self.begun))
                    .frames(sink);
                let stats = slave.stats();
                let seat = shard.add_server(port, None, Box::new(slave)).map_err(failed)?;
                ("slave", Core::TcpSlave { seat, stats }, None)
            }
            Role::Slave | Role::Behind(_) => {
                let slave = model.slave(plan, &self.plant, self.begun).frames(sink);
                let stats = slave.stats();
                let seat = shard.add_station_with(port, Box::new(slave), options).map_err(failed)?;
                let line = line("slave", seat.seat(), first);
                ("slave", Core::Slave { seat, stats }, line)
            }
            Role::Master(i) => {
                let master = &model.masters[i].plan;
                let polls = master.polls.iter().map(|(_, poll)| poll.clone());
                // Values go to points; nobody reads results one by one.
                let (core, _) = Master::new(plan.timing(), polls, 1);
                let core = core
                    .framing(plan.framing)
                    .turnaround(master.turnaround)
                    .plant(self.plant.clone())
                    .frames(sink);
                let stats = core.stats();
                let seat = shard.add_station_with(port, Box::new(core), options).map_err(failed)?;
                let line = line("master", seat.seat(), first);
                ("master", Core::Master { seat, stats }, line)
            }
            Role::Sniffer(i) => {
                let sniffer = model.sniffers.get(i);
                let time = sniffer.map_or(plan.response_time, |s| s.plan.response_time);
                let sniffer =
                    Sniffer::new(plan.timing()).framing(plan.framing).response_time(time).frames(sink);
                let stats = sniffer.stats();
                let seat = shard.add_station_with(port, Box::new(sniffer), options).map_err(failed)?;
                let line = line("sniffer", seat.seat(), first);
                ("sniffer", Core::Sniffer { seat: Mutex::new(Some(seat)), stats }, line)
            }
            Role::Gateway(i) => {
                let (behind, line_plan) = behind.ok_or(RunError::NoPort)?;
                let gateway = Gateway::new(line_plan.timing(), &model.gateways[i].plan)
                    .framing(line_plan.framing)
                    .frames(sink);
                let stats = gateway.stats();
                let line_stats = behind.port.stats();
                let seat = shard.add_server_with(port, Some(behind.port), Box::new(gateway), options);
                let seat = seat.map_err(failed)?;
                let line = seat.seat().and_then(|end| {
                    Line::new(self, line_plan, "gateway", end, line_stats, (self.reconnect, first))
                });
                ("gateway", Core::Gateway { seat, stats }, line)
            }
            Role::Telegram(i) => {
                let (sink, seen) = hilrig_telegram::frames(FRAMES);
                let station =
                    TelegramStation::new(model.telegrams[i].plan.clone(), self.plant.clone()).frames(sink);
                let stats = station.stats();
                let seat = shard.add_station_with(port, Box::new(station), options).map_err(failed)?;
                let line = line("telegram", seat.seat(), first);
                ("telegram", Core::Telegram { seat, stats, seen: Mutex::new(seen) }, line)
            }
        };
        Ok(PortRun {
            name: plan.name.clone(),
            url,
            far_end,
            role: plan.role,
            framing: plan.framing,
            baud: plan.baud,
            format: plan.format,
            kind,
            stats,
            core,
            frames: Mutex::new(frames),
            watched: AtomicBool::new(self.watch),
            line,
        })
    }
}

fn is_behind(gateway: Role, line: Role) -> bool {
    matches!((gateway, line), (Role::Gateway(a), Role::Behind(b)) if a == b)
}
