//! Checks of the known protocols: what their tables say becomes framing and devices. Speaks none of them.

use std::ops::Range;
use std::time::Duration;

use hilrig_files::{At, Entries, known};
use hilrig_points::Table;

use crate::check::Check;
use crate::coding::Coding;
use crate::field::{Field, Source};
use crate::file::{
    AreaFile, AreaTable, HostLinkFile, LengthEncoding, MbusFile, MelsecFile, Order, Priority, ProfileFile,
    PzdFile, R3964File, SumEncoding, UssFile,
};
use crate::hostlink::{self, HostLink};
use crate::mbus::{self, Mbus, Record};
use crate::melsec::{self, Melsec};
use crate::memory::Area;
use crate::plan::TelegramPlan;
use crate::r3964::Rules;
use crate::sum::{self, Sum};
use crate::talk::{Device, Send};
use crate::travel::{Framing, LengthField, Travel};
use crate::uss::{self, Pzd, Uss};

/// How long FT1.2 and USS telegrams may pause.
const SHORT_GAP: Duration = Duration::from_millis(100);
/// A telegram of USS has a length of one byte.
const USS_WORDS: usize = 126;

impl Check<'_, '_> {
    pub fn profile(&mut self, span: &Range<usize>, file: &ProfileFile, plan: &mut TelegramPlan) {
        let gap = plan.travel.gap;
        let travel = |framing, check| Travel { framing, check, gap };
        match file {
            ProfileFile::Nmea => {
                let framing = Framing::Delimited { start: (*b"$").into(), end: (*b"\r\n").into() };
                let check = sum::Check {
                    sum: Sum::Xor,
                    encoding: SumEncoding::Hex,
                    lead: (*b"*").into(),
                    after_end: false,
                    with_start: false,
                    with_end: false,
                    skip: 0,
                };
                plan.travel = travel(framing, Some(check));
            }
            ProfileFile::HostLink(file) => {
                plan.travel = travel(Framing::Delimited { start: [].into(), end: (*b"\r").into() }, None);
                plan.device = Device::HostLink(self.hostlink(span, file));
            }
            ProfileFile::Melsec(file) => {
                plan.travel = travel(Framing::Melsec { sum: !file.no_sum }, None);
                plan.device = Device::Melsec(self.melsec(span, file));
            }
            ProfileFile::Mbus(file) => {
                plan.travel = Travel { framing: Framing::Ft12, check: None, gap: SHORT_GAP };
                if let Some(meter) = self.mbus(file) {
                    plan.device = Device::Mbus(meter);
                }
            }
            ProfileFile::R3964(file) => plan.link = Some(self.r3964(file)),
            ProfileFile::Uss(file) => self.uss(span, file, plan),
        }
    }

    /// Areas by their known names.
    fn areas<const N: usize>(
        &mut self,
        span: &Range<usize>,
        files: &Entries<AreaFile>,
        names: [&str; N],
    ) -> [Option<Area>; N] {
        let mut areas = [None; N];
        if files.0.is_empty() {
            let label = known("areas", names.into_iter());
            self.add(span, "this PLC has no memory", label);
        }
        for (name, file) in &files.0 {
            match names.iter().position(|n| *n == name.value) {
                Some(i) => areas[i] = self.area(&file.value),
                None => {
                    let label = known("areas", names.into_iter());
                    self.add(&name.span, "there is no such area", label);
                }
            }
        }
        areas
    }

    fn area(&mut self, file: &AreaFile) -> Option<Area> {
        let table = match file.table {
            AreaTable::Holding => Table::HoldingRegisters,
            AreaTable::Input => Table::InputRegisters,
            AreaTable::Coils => Table::Coils,
            AreaTable::Discrete => Table::DiscreteInputs,
        };
        let first = file.first.as_ref().map_or(0, |n| self.number(n, 0..=65_535, "an address") as u16);
        let wanted = file.unit.value.as_str();
        let unit = wanted.parse().ok().filter(|id| self.plant.unit(*id).is_some());
        let named = || self.plant.unit_ids().find(|id| self.plant.unit_name(*id) == Some(wanted));
        let unit = unit.or_else(named);
        if unit.is_none() {
            let name = |id| match self.plant.unit_name(id) {
                Some(name) if !name.is_empty() => name.to_owned(),
                _ => id.to_string(),
            };
            let units: Vec<String> = self.plant.unit_ids().map(name).collect();
            let label = known("units", units.iter().map(String::as_str));
            self.add(&file.unit.span, "there is no such unit", label);
        }
        Some(Area { unit: unit?, table, first })
    }

    fn hostlink(&mut self, span: &Range<usize>, file: &HostLinkFile) -> HostLink {
        let node = self.number(&file.node, 0..=31, "a node number") as u8;
        let areas = self.areas(span, &file.area, hostlink::AREAS.map(|(name, _)| name));
        let model = file.model.as_ref().map_or(0x30, |text| self.one_hex(text));
        HostLink::new(node, areas, model)
    }

    fn one_hex(&mut self, text: &At<String>) -> u8 {
        let bytes = self.hex(text);
        if bytes.len() > 1 {
            self.add(&text.span, "this is too long", "two hexadecimal digits");
        }
        bytes.first().copied().unwrap_or(0)
    }

    fn melsec(&mut self, span: &Range<usize>, file: &MelsecFile) -> Melsec {
        let station = self.number(&file.station, 0..=31, "a station number") as u8;
        let pc = file.pc.as_ref().map_or(0xFF, |pc| self.number(pc, 0..=255, "a PC number") as u8);
        let areas = self.areas(span, &file.device, melsec::DEVICES.map(|(name, ..)| name));
        Melsec { station, pc, sum: !file.no_sum, areas }
    }

    fn mbus(&mut self, file: &MbusFile) -> Option<Mbus> {
        let address = self.number(&file.address, 0..=250, "a primary address") as u8;
        let version = file.version.as_ref().map_or(0, |n| self.number(n, 0..=255, "a version") as u8);
        let medium = self.number(&file.medium, 0..=255, "a medium") as u8;
        let access = file.access.as_ref().map_or(0, |n| self.number(n, 0..=255, "an access number") as u8);
        let mut identity = [0, 0, 0, 0, 0, 0, version, medium];
        let id = file.id.value.as_str();
        if id.len() == 8 && id.bytes().all(|b| b.is_ascii_digit()) {
            for (byte, pair) in identity.iter_mut().zip(id.as_bytes().chunks_exact(2).rev()) {
                *byte = (pair[0] & 0xF) << 4 | (pair[1] & 0xF);
            }
        } else {
            self.add(&file.id.span, "this is no identification number", "8 decimal digits");
        }
        match *file.manufacturer.value.as_bytes() {
            [a, b, c] if [a, b, c].iter().all(u8::is_ascii_uppercase) => {
                let letter = |l: u8| u16::from(l - 64);
                let code = letter(a) << 10 | letter(b) << 5 | letter(c);
                identity[4..6].copy_from_slice(&code.to_le_bytes());
            }
            _ => {
                self.add(&file.manufacturer.span, "this is no manufacturer", "three letters A to Z");
            }
        }
        let mut records = Vec::new();
        let mut len = mbus::HEADER;
        for at in &file.record {
            let header = self.hex(&at.value.header);
            let Some(&dif) = header.first() else { continue };
            let coding = mbus::coding(dif);
            if coding.is_none() && dif & 0xF != 0 {
                let label = "the data field of the DIF (its low digit) is 0 to 7, 9 to C or E";
                self.add(&at.value.header.span, "such a value cannot be made", label);
            }
            len += header.len() + coding.and_then(|c| c.len()).unwrap_or(0);
            let scale = at.value.scale.as_ref().map_or(1.0, |s| s.value);
            if let Some(point) = self.point(&at.value.point) {
                records.push(Record { header, point, scale, coding });
            }
            if len > mbus::LONGEST {
                let label = "from this record on the answer is longer than a telegram";
                self.add(&at.span, "there are too many records", label);
                break;
            }
        }
        (records.len() == file.record.len()).then(|| Mbus::new(address, identity, records, access))
    }

    fn r3964(&mut self, file: &R3964File) -> Rules {
        let qvz = Duration::from_millis(if file.no_bcc { 550 } else { 2000 });
        let attempts = |check: &mut Self, at: &Option<At<i64>>| {
            at.as_ref().map_or(6, |n| check.number(n, 1..=255, "a number of attempts") as u32)
        };
        Rules {
            high: file.priority == Priority::High,
            bcc: !file.no_bcc,
            qvz: self.some_time(file.qvz.as_ref(), qvz),
            zvz: self.some_time(file.zvz.as_ref(), Duration::from_millis(220)),
            connects: attempts(self, &file.connect_attempts),
            sends: attempts(self, &file.send_attempts),
        }
    }

    fn uss(&mut self, span: &Range<usize>, file: &UssFile, plan: &mut TelegramPlan) {
        let address = self.number(&file.address, 0..=31, "an address") as u8;
        let pkw = file.pkw.as_ref().map_or(4, |n| n.value);
        if !matches!(pkw, 0 | 3 | 4) {
            let at = file.pkw.as_ref().map_or(span, |n| &n.span);
            self.add(at, "there is no such parameter channel", "0, 3 or 4 words");
        }
        let pkw = pkw.clamp(0, 4) as usize;
        let words = pkw + file.send.len();
        if words > USS_WORDS {
            let label = format!("{words} words; {USS_WORDS} are the most");
            self.add(span, "this telegram is too long", label);
        }
        if file.send.len() != file.receive.len() {
            let label = format!(
                "it sends {} process data words and receives {}",
                file.send.len(),
                file.receive.len()
            );
            self.add(span, "telegrams of both directions are equally long", label);
        }
        let field = LengthField { offset: 1, bytes: 1, encoding: LengthEncoding::Big, plus: 2 };
        let check = sum::Check {
            sum: Sum::Xor,
            encoding: SumEncoding::Big,
            lead: [].into(),
            after_end: false,
            with_start: true,
            with_end: false,
            skip: 0,
        };
        let framing = Framing::Length { start: (*b"\x02").into(), end: [].into(), field };
        plan.travel = Travel { framing, check: Some(check), gap: SHORT_GAP };
        let send = self.words(&file.send);
        let receive = self.words(&file.receive);
        let mut parameters = Vec::new();
        for (number, point) in &file.parameter.0 {
            match number.value.parse::<u16>().ok().filter(|n| *n < 4000) {
                Some(n) => parameters.extend(self.point(&point.value).map(|point| (n, point))),
                None => self.add(&number.span, "this is no parameter number", "0 to 3999"),
            }
        }
        if let Some(every) = &file.master_every {
            let period = self.some_time(Some(every), Duration::from_secs(1));
            let fields = master_fields(address, pkw, &send);
            plan.sends.push(Send { name: "uss".to_owned(), cycle: Some((period, Duration::ZERO)), fields });
        }
        let master = file.master_every.is_some();
        plan.device = Device::Uss(Uss { address, master, pkw, parameters, send, receive });
    }

    fn words(&mut self, files: &[At<PzdFile>]) -> Vec<Pzd> {
        let word = |at: &At<PzdFile>| {
            let scale = at.value.scale.as_ref().map_or(1.0, |s| s.value);
            let scale = if scale == 0.0 || !scale.is_finite() {
                self.add(&at.span, "this cannot be a scale", "any number but 0");
                1.0
            } else {
                scale
            };
            Some(Pzd { point: self.point(&at.value.point)?, scale, signed: at.value.signed })
        };
        files.iter().filter_map(word).collect()
    }
}

/// What a master of USS sends: no task for parameters, and its process data.
fn master_fields(address: u8, pkw: usize, words: &[Pzd]) -> Vec<Field> {
    let bytes = |source| {
        let coding = Coding::Uint { bytes: 1, order: Order::Big };
        Field { source, coding, scale: 1.0, matches: false }
    };
    let mut fields = vec![bytes(Source::Bytes([address].into()))];
    if pkw > 0 {
        fields.push(bytes(Source::Skip(2 * pkw)));
    }
    fields.extend(words.iter().map(|word| Field {
        source: Source::Point(word.point),
        coding: if word.signed { uss::I16 } else { uss::U16 },
        scale: word.scale,
        matches: false,
    }));
    fields
}
