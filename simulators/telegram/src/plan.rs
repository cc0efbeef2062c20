//! From a table as written to a plan: names resolved, texts parsed, everything that is wrong collected. Touches no port.

use std::collections::HashMap;
use std::time::Duration;

use hilrig_files::{At, Problems, known};
use hilrig_points::Plant;

use crate::buf::MAX_TELEGRAM;
use crate::check::Check;
use crate::file::{ProfileFile, ReceiveFile, SendFile, TelegramFile};
use crate::r3964::Rules;
use crate::talk::{Device, Receive, Send};
use crate::travel::{Framing, Travel};

/// A checked telegram table.
#[derive(Debug, Clone)]
pub struct TelegramPlan {
    pub name: String,
    /// The port of the model.
    pub port: String,
    pub(crate) travel: Travel,
    /// Telegrams are handed over by 3964(R).
    pub(crate) link: Option<Rules>,
    pub(crate) device: Device,
    pub(crate) sends: Vec<Send>,
    pub(crate) delay: Duration,
}

impl TelegramPlan {
    /// Names of the telegrams that can be sent by an action.
    pub fn sends(&self) -> impl Iterator<Item = &str> {
        self.sends.iter().map(|send| send.name.as_str())
    }

    /// Framing, checksum and handshake are the same.
    pub fn travels_as(&self, other: &Self) -> bool {
        (&self.travel, &self.link) == (&other.travel, &other.link)
    }
}

/// Checks a table; `None` if something of it is wrong, which is in `problems` then. Whether the port exists is for the
/// one who knows the ports.
pub fn build(
    name: &At<String>,
    file: &TelegramFile,
    plant: &Plant,
    problems: &mut Problems<'_>,
) -> Option<TelegramPlan> {
    problems.name(name);
    let mut check = Check { plant, problems, wrong: false };
    let plan = check.table(name, file);
    let Check { wrong, .. } = check;
    plan.filter(|_| !wrong)
}

impl Check<'_, '_> {
    fn table(&mut self, name: &At<String>, file: &TelegramFile) -> Option<TelegramPlan> {
        let delay = self.time(file.delay.as_ref(), Duration::ZERO);
        let mut plan = TelegramPlan {
            name: name.value.clone(),
            port: file.port.value.clone(),
            travel: Travel { framing: Framing::Silence, check: None, gap: Duration::from_secs(1) },
            link: None,
            device: Device::Telegrams(vec![]),
            sends: vec![],
            delay,
        };
        match file.profile.as_ref().map(|p| (&p.span, &p.value)) {
            None => {
                let Some(framing) = &file.framing else {
                    let label = "say how telegrams begin and end with `framing`, or name a `profile`";
                    self.add(&name.span, "this has no framing", label);
                    return None;
                };
                plan.travel = self.travel(framing, file.checksum.as_ref())?;
            }
            Some((span, profile)) => {
                let framing = file.framing.as_ref().map(|key| &key.span);
                for span in framing.into_iter().chain(file.checksum.as_ref().map(|key| &key.span)) {
                    self.add(span, "this is said twice", "leave this out: the profile says it");
                }
                self.profile(span, profile, &mut plan);
            }
        }
        if let Some(gap) = &file.gap {
            plan.travel.gap = self.time(Some(gap), plan.travel.gap);
        }
        let by_fields = matches!(
            file.profile.as_ref().map(|p| &p.value),
            None | Some(ProfileFile::Nmea | ProfileFile::R3964(_))
        );
        let tables = file.send.0.iter().map(|(k, _)| k).chain(file.receive.0.iter().map(|(k, _)| k));
        if by_fields {
            if tables.count() == 0 {
                let label = "give it telegrams to `send` or to `receive`";
                self.add(&name.span, "this neither sends nor understands anything", label);
            }
            self.telegrams(file, &mut plan);
        } else {
            for key in tables {
                let label = "this profile answers by itself and takes no telegrams";
                self.add(&key.span, "this cannot be used here", label);
            }
        }
        Some(plan)
    }

    fn telegrams(&mut self, file: &TelegramFile, plan: &mut TelegramPlan) {
        let mut names = HashMap::new();
        for (i, (name, send)) in file.send.0.iter().enumerate() {
            self.problems.name(name);
            names.insert(name.value.as_str(), i);
            let send = self.send(name, &send.value, &plan.travel);
            plan.sends.push(send);
        }
        let mut receives = Vec::new();
        for (name, receive) in &file.receive.0 {
            self.problems.name(name);
            receives.push(self.receive(&receive.value, &names));
        }
        plan.device = Device::Telegrams(receives);
    }

    fn send(&mut self, name: &At<String>, send: &SendFile, travel: &Travel) -> Send {
        let fields = self.fields(&send.fields, false);
        let lens = fields.iter().map(|field| self.field_len(field));
        // What has no length of its own can be empty.
        let least: usize = lens.clone().map(|len| len.unwrap_or(0)).sum();
        let exact = lens.clone().all(|len| len.is_some());
        let all = least + travel.overhead();
        if all > MAX_TELEGRAM {
            let label = format!("it has {all} bytes; {MAX_TELEGRAM} are the most");
            self.add(&name.span, "this telegram is too long", label);
        }
        match &travel.framing {
            Framing::Fixed { length, .. } if exact && all != *length => {
                let label = format!("it has {all} bytes with all that framing adds, not {length}");
                self.add(&name.span, "this telegram does not fit the framing", label);
            }
            Framing::Length { start, field, .. } if exact && least < field.offset - start.len() => {
                let label = format!("the length stands behind byte {}, where it has ended", field.offset);
                self.add(&name.span, "this telegram is too short for the framing", label);
            }
            Framing::Length { field, .. } if exact && (all as i64 - field.plus) as u64 > field.most() => {
                let label = format!("it has {all} bytes, which the length field cannot say");
                self.add(&name.span, "this telegram is too long for the framing", label);
            }
            _ => {}
        }
        let cycle = send.every.as_ref().map(|every| {
            let period = self.time(Some(every), Duration::from_secs(1));
            if period < Duration::from_micros(100) {
                self.add(&every.span, "this is too often", "a period is 100us or more");
            }
            (period, self.time(send.phase.as_ref(), Duration::ZERO))
        });
        if let (None, Some(phase)) = (&send.every, &send.phase) {
            self.add(&phase.span, "a phase without a period", "add `every`");
        }
        Send { name: name.value.clone(), cycle, fields }
    }

    fn receive(&mut self, receive: &ReceiveFile, names: &HashMap<&str, usize>) -> Receive {
        let fields = self.fields(&receive.fields, true);
        let delay = self.time(receive.delay.as_ref(), Duration::ZERO);
        let reply = receive.reply.as_ref().and_then(|name| {
            let place = names.get(name.value.as_str()).copied();
            if place.is_none() {
                let mut names: Vec<&str> = names.keys().copied().collect();
                names.sort_unstable();
                let label = known("telegrams to send", names.into_iter());
                self.add(&name.span, "there is no such telegram to send", label);
            }
            place
        });
        if let (None, Some(at)) = (&receive.reply, &receive.delay) {
            self.add(&at.span, "a delay without an answer", "add `reply`, or leave this out");
        }
        Receive { fields, reply: reply.map(|place| (place, delay)) }
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
