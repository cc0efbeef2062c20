//! From model files to a [`Model`]: resolves names across files, and collects everything that is wrong before it
//! answers. Opens no port.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use hilrig_files::{At, FileError, Problems, Source, TimeText, known};
use hilrig_modbus::faults::{Prepared, prepare};
use hilrig_modbus::{Framing, GatewayPlan, MasterPlan, ReplyRuleFile, SniffPlan};
use hilrig_points::{Builder, Plant};
use hilrig_port::{PortUrl, RealTime};

use super::file::{ModelFile, PortFile, RealTimeFile};
use super::line::{character_format, port_url};
use super::load::{Loaded, load};
use super::plan::{PortPlan, Role, says};
use super::{Model, Seated};

/// Where a name was given first.
struct Given {
    source: Source,
    span: Range<usize>,
}

struct Check<'p, 'a> {
    problems: &'p mut Problems<'a>,
    ports: Vec<PortPlan>,
    /// By kind and name.
    names: HashMap<(&'static str, String), Given>,
    /// Where somebody sat down on a port.
    seats: HashMap<usize, (Source, usize)>,
    units: Vec<(String, u8)>,
}

pub(super) fn check(text: &str, path: &Path, seed: Option<u64>) -> Result<Model, FileError> {
    let mut problems = Problems::new("model", &path.display().to_string(), text);
    let main = problems.current();
    let (files, paths) = load(text, path, &mut problems);
    let model = files.first().map(|first| {
        let name = match &first.file.name {
            Some(name) => {
                problems.name(name);
                name.value.clone()
            }
            None => path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        };
        let own = first.file.seed.as_ref().map(|s| problems.number(s, 0..=i64::MAX, "a seed") as u64);
        let seed = seed.or(own).unwrap_or(1);
        let mut check = Check {
            problems: &mut problems,
            ports: vec![],
            names: HashMap::new(),
            seats: HashMap::new(),
            units: vec![],
        };
        check.model(&files, seed, Model::empty(name, path.to_owned(), seed, paths))
    });
    problems.back(main);
    match model {
        Some(model) if problems.is_empty() => Ok(model),
        _ => Err(problems.into_error()),
    }
}

impl Check<'_, '_> {
    fn model(&mut self, files: &[Loaded], seed: u64, mut model: Model) -> Model {
        let mut builder = Builder::new(seed);
        for Loaded { source, folder, file } in files {
            self.problems.back(*source);
            if *source != files[0].source {
                self.only_in_main(file);
            }
            for (name, unit) in &file.unit.0 {
                if self.new_name("unit", name) {
                    builder.unit(name, &unit.value, folder, self.problems);
                    let id = unit.value.id.as_ref().map_or(1, |id| id.value as u8);
                    self.units.push((name.value.clone(), id));
                }
            }
        }
        self.problems.back(files[0].source);
        let plant = builder.finish(self.problems);
        for Loaded { source, file, .. } in files {
            self.problems.back(*source);
            for (name, port) in &file.port.0 {
                if self.new_name("port", name) {
                    let plan = self.port(name, &port.value);
                    self.ports.push(plan);
                }
            }
        }
        for Loaded { source, file, .. } in files {
            self.problems.back(*source);
            self.peers(file, &plant, &mut model);
            for rule in &file.fault {
                if self.new_name("fault", &rule.value.name) {
                    let prepared = prepare(&rule.value, self.problems);
                    self.fault(&rule.value, &prepared);
                    model.faults.push(prepared);
                }
            }
        }
        let first = &files[0].file;
        self.problems.back(files[0].source);
        model.realtime = first.realtime.as_ref().map(|r| self.realtime(&r.value)).unwrap_or_default();
        if let Some(snapshot) = &first.snapshot {
            (model.restore, model.save) = (snapshot.restore, snapshot.save);
        }
        model.ports = std::mem::take(&mut self.ports);
        model.units = std::mem::take(&mut self.units);
        model.plant = plant;
        model
    }

    /// What is the whole model's is said by the file that was asked for.
    fn only_in_main(&mut self, file: &ModelFile) {
        let name = file.name.as_ref().map(|n| ("name", n.span.clone()));
        let seed = file.seed.as_ref().map(|s| ("seed", s.span.clone()));
        let realtime = file.realtime.as_ref().map(|r| ("realtime", r.span.clone()));
        for (key, span) in [name, seed, realtime].into_iter().flatten() {
            let label = format!("`{key}` belongs into the file that includes this one");
            self.problems.add(&span, "this is about the whole model", label);
        }
    }

    /// Checks a name; `false` if it is taken.
    fn new_name(&mut self, kind: &'static str, name: &At<String>) -> bool {
        self.problems.name(name);
        let here = Given { source: self.problems.current(), span: name.span.clone() };
        let Some(first) = self.names.get(&(kind, name.value.clone())) else {
            self.names.insert((kind, name.value.clone()), here);
            return true;
        };
        self.problems.back(first.source);
        let place = format!("{}, line {}", self.problems.file(), self.problems.line(first.span.start));
        self.problems.back(here.source);
        let message = format!("there are two {kind}s `{}`", name.value);
        self.problems.add(&name.span, message, format!("the first is in {place}"));
        false
    }

    fn port(&mut self, name: &At<String>, file: &PortFile) -> PortPlan {
        let url = file.url.as_ref().and_then(|text| port_url(text, self.problems));
        let mut plan = PortPlan::slave(&name.value, url);
        self.line(file, &mut plan);
        let time = |check: &mut Self, text: &Option<At<TimeText>>, default: Duration| {
            text.as_ref().map_or(default, |t| check.problems.time(t, default))
        };
        plan.tolerance = time(self, &file.tolerance, plan.tolerance);
        plan.min_delay = time(self, &file.min_delay, plan.min_delay);
        plan.reply_gap = file.reply_gap.as_ref().map(|t| self.problems.time(t, Duration::from_millis(1)));
        plan.response_time = time(self, &file.response_time, plan.response_time);
        plan.idle_timeout =
            file.idle_timeout.as_ref().map(|t| self.problems.time(t, Duration::from_secs(60)));
        if let Some(most) = &file.max_callers {
            plan.max_callers = self.problems.number(most, 1..=65_535, "a number of callers") as usize;
        }
        if let Some(framing) = &file.framing {
            plan.framing = framing.value;
            plan.default_framing = false;
        }
        if let (Some(text), Some(url)) = (&file.url, &plan.url)
            && let Some(same) = self.ports.iter().find(|p| p.url.as_ref() == Some(url))
            // Calls may be many, and for 0 the system chooses another number each time.
            && !matches!(url, PortUrl::TcpListen { port: 0, .. } | PortUrl::Tcp { .. } | PortUrl::Unix { .. })
        {
            let label = format!("port `{}` is there already", same.name);
            self.problems.add(&text.span, "two ports cannot be at the same place", label);
        }
        plan.units =
            file.units.as_ref().map(|units| units.iter().filter_map(|unit| self.unit_id(unit)).collect());
        self.fits(file, &plan);
        plan
    }

    /// Speed and shape of characters: in the URL or beside it, and once.
    fn line(&mut self, file: &PortFile, plan: &mut PortPlan) {
        if let Some(baud) = &file.baud {
            plan.baud = self.problems.number(baud, 50..=20_000_000, "a baud rate") as u32;
        }
        if let Some(format) = file.format.as_ref().and_then(|text| character_format(text, self.problems)) {
            plan.format = format;
        }
        let Some(options) = plan.url.as_mut().and_then(PortUrl::serial_options_mut) else { return };
        let text = file.url.as_ref().map_or("", |url| url.value.as_str());
        let says = |key: &str| says(text, key);
        if says("baud") {
            plan.baud = options.baud;
        }
        if says("format") {
            plan.format = options.format;
        }
        (options.baud, options.format) = (plan.baud, plan.format);
        for (key, span) in
            [("baud", file.baud.as_ref().map(|b| &b.span)), ("format", file.format.as_ref().map(|f| &f.span))]
        {
            if let Some(span) = span.filter(|_| says(key)) {
                let message = format!("`{key}` is said twice");
                self.problems.add(span, message, format!("the URL says {key}= as well"));
            }
        }
    }

    /// What the keys of a port mean together.
    fn fits(&mut self, file: &PortFile, plan: &PortPlan) {
        if plan.url.is_some() && !plan.listens() {
            for (key, span) in [
                ("max_callers", file.max_callers.as_ref().map(|m| &m.span)),
                ("idle_timeout", file.idle_timeout.as_ref().map(|i| &i.span)),
            ] {
                if let Some(span) = span {
                    let label = format!("`{key}` is for tcp-listen: and unix-listen:");
                    self.problems.add(span, "nobody calls this port", label);
                }
            }
        }
        if let Some(framing) = &file.framing
            && framing.value == Framing::Tcp
            && plan
                .url
                .as_ref()
                .is_some_and(|url| url.serial_options().is_some() || matches!(url, PortUrl::Pty { .. }))
        {
            self.problems.add(
                &framing.span,
                "Modbus TCP does not go over a serial line",
                "\"rtu\" or \"ascii\"",
            );
        }
    }

    fn unit_id(&mut self, name: &At<String>) -> Option<u8> {
        let found = self.units.iter().find(|(known, _)| *known == name.value).map(|(_, id)| *id);
        if found.is_none() {
            let help = known("units", self.units.iter().map(|(name, _)| name.as_str()));
            let message = format!("unknown unit `{}`", name.value);
            self.problems.add(&name.span, message, "no such unit").help = Some(help);
        }
        found
    }

    fn peers(&mut self, file: &ModelFile, plant: &Plant, model: &mut Model) {
        for (name, master) in &file.master.0 {
            if !self.new_name("master", name) {
                continue;
            }
            let role = Role::Master(model.masters.len());
            let port = self.sit(&master.value.port, role);
            let plan = MasterPlan::check(&master.value, plant, self.problems);
            model.masters.push(Seated { name: name.value.clone(), port, plan });
        }
        for (name, sniff) in &file.sniff.0 {
            if self.new_name("sniff", name) {
                let role = Role::Sniffer(model.sniffers.len());
                let port = self.sit(&sniff.value.port, role);
                let plan = SniffPlan::check(&sniff.value, self.problems);
                model.sniffers.push(Seated { name: name.value.clone(), port, plan });
            }
        }
        for (name, gateway) in &file.gateway.0 {
            if self.new_name("gateway", name) {
                let number = model.gateways.len();
                let port = self.sit(&gateway.value.port, Role::Gateway(number));
                self.listener(&gateway.value.port, port);
                self.sit(&gateway.value.line, Role::Behind(number));
                let plan = GatewayPlan::check(&gateway.value, self.problems);
                model.gateways.push(Seated { name: name.value.clone(), port, plan });
            }
        }
        for (name, telegram) in &file.telegram.0 {
            if self.new_name("telegram", name) {
                let role = Role::Telegram(model.telegrams.len());
                let port = self.sit(&telegram.value.port, role);
                let plan = hilrig_telegram::build(name, &telegram.value, plant, self.problems);
                model.telegrams.extend(plan.map(|plan| Seated { name: name.value.clone(), port, plan }));
            }
        }
    }

    /// A rule is about a port that answers, and means something there.
    fn fault(&mut self, file: &ReplyRuleFile, rule: &Prepared) {
        let answers = |p: &&PortPlan| p.role == Role::Slave;
        if let Some(port) = &file.when.port
            && !self.ports.iter().filter(answers).any(|p| p.name == port.value)
        {
            let names = self.ports.iter().filter(answers).map(|p| p.name.as_str());
            let help = known("ports that answer", names);
            let message = format!("no port `{}` answers", port.value);
            self.problems.add(&port.span, message, "its faults cannot happen").help = Some(help);
            return;
        }
        let wanted = |p: &&PortPlan| rule.port().is_none_or(|port| port == p.name);
        let mut chosen = self.ports.iter().filter(answers).filter(wanted).peekable();
        if chosen.peek().is_some() && !chosen.any(|p| rule.fits(p.framing)) {
            let label = "it means nothing on the framing of these ports";
            self.problems.add(&file.effect.span, "this fault cannot happen", label);
        }
    }

    /// Finds the port that `text` names, and takes it.
    fn sit(&mut self, text: &At<String>, role: Role) -> usize {
        let Some(port) = self.ports.iter().position(|p| p.name == text.value) else {
            let help = known("ports", self.ports.iter().map(|p| p.name.as_str()));
            let message = format!("unknown port `{}`", text.value);
            self.problems.add(&text.span, message, "no such port").help = Some(help);
            return 0;
        };
        let here = (self.problems.current(), text.span.start);
        if let Some((source, at)) = self.seats.insert(port, here) {
            self.problems.back(source);
            let place = format!("{}, line {}", self.problems.file(), self.problems.line(at));
            self.problems.back(here.0);
            let message = format!("`{}` is used twice", text.value);
            self.problems.add(&text.span, message, format!("it is already used in {place}"));
        }
        self.ports[port].sit(role);
        port
    }

    /// A gateway has callers.
    fn listener(&mut self, text: &At<String>, port: usize) {
        if self.ports.get(port).is_some_and(|p| p.name == text.value && p.url.is_some() && !p.listens()) {
            let label = "its url must be a tcp-listen: or unix-listen:";
            self.problems.add(&text.span, format!("nobody can call `{}`", text.value), label);
        }
    }

    fn realtime(&mut self, file: &RealTimeFile) -> RealTime {
        let number = |check: &mut Self, at: &Option<At<i64>>, range, what| {
            at.as_ref().map(|at| check.problems.number(at, range, what))
        };
        RealTime {
            fifo: number(self, &file.fifo, 1..=99, "a priority").map(|n| n as u8),
            spin: file.spin.as_ref().map_or(Duration::ZERO, |t| self.problems.time(t, Duration::ZERO)),
            cpu: number(self, &file.cpu, 0..=i64::from(u16::MAX), "a core").map(|n| n as usize),
            lock_memory: file.lock_memory,
            dma_latency: file.dma_latency,
        }
    }
}
