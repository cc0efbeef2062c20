//! Checks what stands in telegram tables: names, texts, fields, framing and checksum. Each mistake is a problem, and
//! something legal is gone on with.

use std::ops::Range;
use std::time::Duration;

use hilrig_files::{At, Problems, TimeText, known};
use hilrig_points::Plant;

use crate::bound::Bound;
use crate::buf::MAX_TELEGRAM;
use crate::coding::{Coding, Decimal, WIDEST};
use crate::field::{Field, Source};
use crate::file::{
    ChecksumFile, CodingFile, CrcFile, FieldFile, FramingFile, IntFile, LengthEncoding, LengthFile, Order,
    SumFile,
};
use crate::sum::{self, Crc, Sum};
use crate::travel::{Framing, LengthField, Travel};

/// How many names a message lists.
const NAMES: usize = 20;

pub(crate) struct Check<'c, 'p> {
    pub plant: &'c Plant,
    pub problems: &'c mut Problems<'p>,
    pub wrong: bool,
}

impl Check<'_, '_> {
    pub fn add(&mut self, span: &Range<usize>, message: impl Into<String>, label: impl Into<String>) {
        self.wrong = true;
        self.problems.add(span, message, label);
    }

    pub fn number(&mut self, at: &At<i64>, range: std::ops::RangeInclusive<i64>, what: &str) -> i64 {
        self.wrong |= !range.contains(&at.value);
        self.problems.number(at, range, what)
    }

    pub fn time(&mut self, at: Option<&At<TimeText>>, instead: Duration) -> Duration {
        let Some(at) = at else { return instead };
        // Zero is no problem where a time is waited.
        match hilrig_files::parse_time(&at.value.0) {
            Some(Duration::ZERO) => Duration::ZERO,
            time => {
                self.wrong |= time.is_none_or(|t| t > Duration::from_secs(24 * 3600));
                self.problems.time(at, instead)
            }
        }
    }

    /// A time that must not be zero.
    pub fn some_time(&mut self, at: Option<&At<TimeText>>, instead: Duration) -> Duration {
        let time = self.time(at, instead);
        if let Some(at) = at.filter(|_| time.is_zero()) {
            self.add(&at.span, "no time at all", "this must be longer than zero");
        }
        time
    }

    /// Characters as bytes, U+0000 to U+00FF.
    pub fn bytes(&mut self, text: &At<String>, lengths: std::ops::RangeInclusive<usize>) -> Box<[u8]> {
        let bytes: Option<Vec<u8>> = text.value.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
        let Some(bytes) = bytes else {
            let label = "characters here are bytes, U+0000 to U+00FF";
            self.add(&text.span, "this has a character that is no byte", label);
            return [].into();
        };
        if !lengths.contains(&bytes.len()) {
            let label = format!("{} to {} characters", lengths.start(), lengths.end());
            self.add(&text.span, "this has a wrong length", label);
        }
        bytes.into()
    }

    fn one_byte(&mut self, text: Option<&At<String>>, instead: u8) -> u8 {
        let bytes = text.map(|text| self.bytes(text, 1..=1));
        bytes.and_then(|bytes| bytes.first().copied()).unwrap_or(instead)
    }

    /// Bytes in hexadecimal.
    pub fn hex(&mut self, text: &At<String>) -> Box<[u8]> {
        let digits: Vec<u8> = text.value.bytes().filter(|b| *b != b' ').collect();
        let byte = |pair: &[u8]| crate::buf::from_hex(pair).map(|n| n as u8);
        let bytes: Option<Vec<u8>> = digits.chunks(2).map(|p| (p.len() == 2).then(|| byte(p))?).collect();
        bytes.filter(|b| !b.is_empty()).map(Into::into).unwrap_or_else(|| {
            let label = "the form is `11 03 0a`, two hexadecimal digits each";
            self.add(&text.span, "this is not a row of bytes", label);
            [].into()
        })
    }

    pub fn point(&mut self, name: &At<String>) -> Option<Bound> {
        let id = self.plant.point(&name.value);
        if id.is_none() {
            let names: Vec<&str> = self.plant.points().map(|(_, p)| p.name.as_str()).collect();
            let mut label = known("points", names.iter().copied().take(NAMES));
            if names.len() > NAMES {
                label += &format!(" and {} more", names.len() - NAMES);
            }
            self.add(&name.span, "there is no such point", label);
        }
        id.map(|id| Bound::new(self.plant, id))
    }

    pub fn fields(&mut self, files: &[At<FieldFile>], received: bool) -> Vec<Field> {
        if files.is_empty() {
            // The place of an empty list is not known here; its owner is named by what does not fit.
            return vec![];
        }
        let fields: Vec<Field> = files.iter().filter_map(|file| self.field(file, received)).collect();
        if received && fields.len() == files.len() {
            for (i, file) in files.iter().enumerate() {
                let open = matches!(fields[i].coding, Coding::String { length: None, .. })
                    && matches!(fields[i].source, Source::Point(_));
                let next = fields.get(i + 1).map(|f| matches!(f.source, Source::Bytes(_)));
                if open && next == Some(false) {
                    let label = "give it a `length`, or put a `text` or `hex` behind it";
                    self.add(&file.span, "where this text ends cannot be known", label);
                }
            }
        }
        fields
    }

    fn field(&mut self, at: &At<FieldFile>, received: bool) -> Option<Field> {
        let file = &at.value;
        let given = [
            file.text.is_some(),
            file.hex.is_some(),
            file.point.is_some(),
            file.value.is_some(),
            file.counter.is_some(),
            file.time.is_some(),
            file.skip.is_some(),
        ];
        if given.iter().filter(|is| **is).count() != 1 {
            let label = "exactly one of text, hex, point, value, counter, time and skip is wanted here";
            self.add(&at.span, "this field is not one thing", label);
            return None;
        }
        let scale = file.scale.as_ref().map_or(1.0, |scale| {
            if !scale.value.is_finite() || scale.value == 0.0 {
                self.add(&scale.span, "this cannot be a scale", "any number but 0");
                return 1.0;
            }
            scale.value
        });
        let source = if let Some(text) = &file.text {
            Source::Bytes(self.bytes(text, 1..=MAX_TELEGRAM))
        } else if let Some(hex) = &file.hex {
            Source::Bytes(self.hex(hex))
        } else if let Some(n) = &file.skip {
            Source::Skip(self.number(n, 1..=MAX_TELEGRAM as i64, "a number of bytes") as usize)
        } else if let Some(point) = &file.point {
            Source::Point(self.point(point)?)
        } else if let Some(value) = &file.value {
            Source::Value(value.value)
        } else if received {
            let label = "counters and times are sent only; use `skip`, or a point";
            self.add(&at.span, "this cannot be received", label);
            return None;
        } else if let Some(counter) = &file.counter {
            let (from, to) = (counter.value.from, counter.value.to);
            if from > to {
                self.add(&counter.span, "this counts nothing", "`from` is above `to`");
            }
            Source::Counter { from, to, next: from }
        } else {
            Source::Time(file.time.as_ref()?.value)
        };
        let plain = matches!(source, Source::Bytes(_) | Source::Skip(_));
        let coding = match &file.coding {
            Some(coding) if plain => {
                self.add(&coding.span, "this field is bytes already", "leave `as` out");
                None?
            }
            Some(coding) => self.coding(coding),
            None if plain => Coding::String { length: None, pad: b' ' },
            None => {
                let label = "say how the value is written, for example as = { decimal = { width = 6 } }";
                self.add(&at.span, "this field has no form", label);
                return None;
            }
        };
        if file.matches && !(received && matches!(source, Source::Point(_))) {
            self.add(&at.span, "nothing to match", "only a point that is received can be matched");
        }
        Some(Field { source, coding, scale, matches: file.matches })
    }

    /// Bytes of a field; `None` if that depends on its value.
    pub fn field_len(&self, field: &Field) -> Option<usize> {
        match &field.source {
            Source::Bytes(bytes) => Some(bytes.len()),
            Source::Skip(n) => Some(*n),
            _ => field.coding.len(),
        }
    }

    fn coding(&mut self, at: &At<CodingFile>) -> Coding {
        let int = |check: &mut Self, file: &IntFile| {
            (check.number(&file.bytes, 1..=8, "a number of bytes") as usize, file.order)
        };
        match &at.value {
            CodingFile::Uint(file) => {
                let (bytes, order) = int(self, file);
                Coding::Uint { bytes, order }
            }
            CodingFile::Int(file) => {
                let (bytes, order) = int(self, file);
                Coding::Int { bytes, order }
            }
            CodingFile::Bcd(file) => {
                let (bytes, order) = int(self, file);
                Coding::Bcd { bytes, order }
            }
            CodingFile::Float(file) => {
                if !matches!(file.bytes.value, 4 | 8) {
                    self.add(&file.bytes.span, "there is no such number", "4 or 8 bytes");
                    return Coding::Float { bytes: 4, order: Order::Big };
                }
                Coding::Float { bytes: file.bytes.value as usize, order: file.order }
            }
            CodingFile::Hex(file) => {
                let digits = self.number(&file.digits, 1..=16, "a number of digits") as usize;
                Coding::Hex { digits, lower: file.lower }
            }
            CodingFile::String(file) => {
                let length = file.length.as_ref();
                let length =
                    length.map(|n| self.number(n, 1..=MAX_TELEGRAM as i64, "a number of bytes") as usize);
                Coding::String { length, pad: self.one_byte(file.pad.as_ref(), b' ') }
            }
            CodingFile::Decimal(file) => {
                let width = file.width.as_ref();
                let width =
                    width.map(|n| self.number(n, 1..=WIDEST as i64, "a number of characters") as usize);
                let decimals = file.decimals.as_ref();
                let decimals = decimals.map_or(0, |n| self.number(n, 0..=15, "a number of digits") as usize);
                let pad = self.one_byte(file.pad.as_ref(), b' ');
                if let Some(text) =
                    file.pad.as_ref().filter(|_| pad.is_ascii_digit() && (file.left || pad != b'0'))
                {
                    let label = "behind a number, or as any digit but 0, it would change the number";
                    self.add(&text.span, "this cannot fill up a number", label);
                }
                Coding::Decimal(Decimal {
                    width,
                    decimals,
                    no_point: file.no_point,
                    sign: file.sign,
                    pad,
                    left: file.left,
                })
            }
        }
    }
}

/// Framing and checksum.
impl Check<'_, '_> {
    pub fn travel(&mut self, at: &At<FramingFile>, checksum: Option<&At<ChecksumFile>>) -> Option<Travel> {
        let mut gap = Duration::from_secs(1);
        let framing = match &at.value {
            FramingFile::Terminator(end) => {
                Framing::Delimited { start: [].into(), end: self.bytes(end, 1..=16) }
            }
            FramingFile::Delimited(file) => {
                let (start, end) = (self.bytes(&file.start, 1..=16), self.bytes(&file.end, 1..=16));
                if end.ends_with(&start) {
                    let label = "it ends like the start mark, which begins a telegram wherever it stands";
                    self.add(&file.end.span, "this cannot end a telegram", label);
                }
                Framing::Delimited { start, end }
            }
            FramingFile::Dle(file) => {
                let dle = self.one_byte(file.dle.as_ref(), 0x10);
                let start = self.one_byte(file.start.as_ref(), 0x02);
                let end = self.one_byte(file.end.as_ref(), 0x03);
                if dle == start || dle == end || start == end {
                    self.add(&at.span, "these marks cannot be told apart", "three different characters");
                }
                Framing::Dle { dle, start, end }
            }
            FramingFile::Length(file) => self.length(file)?,
            FramingFile::Fixed(file) => {
                let start = file.start.as_ref().map_or_else(|| [].into(), |text| self.bytes(text, 1..=16));
                let length = self.number(&file.length, 1..=MAX_TELEGRAM as i64, "a length") as usize;
                if length < start.len() {
                    self.add(&file.length.span, "this is too short", "the start mark alone is longer");
                }
                Framing::Fixed { start, length }
            }
            FramingFile::Silence(time) => {
                gap = self.some_time(Some(time), gap);
                Framing::Silence
            }
            FramingFile::Ft12 => {
                if let Some(checksum) = checksum {
                    self.add(&checksum.span, "this is said twice", "FT1.2 has a checksum of its own");
                }
                gap = Duration::from_millis(100);
                return Some(Travel { framing: Framing::Ft12, check: None, gap });
            }
        };
        let marks = !matches!(framing, Framing::Fixed { .. } | Framing::Silence);
        let check = checksum.map(|checksum| self.checksum(checksum, marks));
        let travel = Travel { framing, check, gap };
        if let Framing::Fixed { length, .. } = travel.framing
            && length < travel.overhead()
        {
            self.add(&at.span, "this is too short", "start mark and checksum alone are longer");
        }
        Some(travel)
    }

    fn length(&mut self, file: &LengthFile) -> Option<Framing> {
        let mark = |check: &mut Self, text: &Option<At<String>>| {
            text.as_ref().map_or_else(|| [].into(), |text| check.bytes(text, 1..=16))
        };
        let (start, end) = (mark(self, &file.start), mark(self, &file.end));
        let offset = self.number(&file.offset, start.len() as i64..=64, "a place behind the start mark");
        let most = match file.encoding {
            LengthEncoding::Big | LengthEncoding::Little => 8,
            LengthEncoding::Hex | LengthEncoding::Decimal => 12,
        };
        let bytes = self.number(&file.bytes, 1..=most, "a number of bytes");
        let plus = self.number(&file.plus, -1024..=1024, "a number of bytes");
        if self.wrong {
            return None;
        }
        let field =
            LengthField { offset: offset as usize, bytes: bytes as usize, encoding: file.encoding, plus };
        Some(Framing::Length { start, end, field })
    }

    fn checksum(&mut self, at: &At<ChecksumFile>, marks: bool) -> sum::Check {
        let file = &at.value;
        let sum = match &file.of.value {
            SumFile::Xor => Sum::Xor,
            SumFile::Lrc => Sum::Lrc,
            SumFile::Sum8 => Sum::Sum8,
            SumFile::Sum16 => Sum::Sum16,
            SumFile::Crc(crc) => Sum::Crc(self.crc(crc)),
        };
        if (file.after_end || file.with_end) && !marks {
            let label = "with this framing a telegram has no end mark";
            self.add(&at.span, "the checksum cannot be there", label);
        }
        if file.with_end && !file.after_end {
            // It may: what follows is known beforehand. But nobody does so, and it is mostly a mistake.
            let label = "a checksum before the end mark does not cover it; add `after_end = true`";
            self.add(&at.span, "the checksum cannot cover the end mark", label);
        }
        let lead = file.lead.as_ref().map_or_else(|| [].into(), |text| self.bytes(text, 1..=4));
        let skip = file.skip.as_ref();
        let skip = skip.map_or(0, |n| self.number(n, 0..=1024, "a number of bytes") as usize);
        sum::Check {
            sum,
            encoding: file.encoding,
            lead,
            after_end: file.after_end,
            with_start: file.with_start,
            with_end: file.with_end,
            skip,
        }
    }

    fn crc(&mut self, file: &CrcFile) -> Crc {
        let width = self.number(&file.width, 3..=32, "the width of a CRC") as u32;
        let mask = u32::MAX >> (32 - width);
        let most = i64::from(mask);
        self.number(&file.poly, 1..=most, "a polynomial of this width");
        for (name, value) in [("init", file.init), ("xorout", file.xorout)] {
            if !(0..=most).contains(&value) {
                let label = format!("`{name}` is wider than the CRC");
                self.add(&file.width.span, "this does not fit together", label);
            }
        }
        Crc {
            width,
            poly: file.poly.value as u32 & mask,
            init: file.init as u32 & mask,
            refin: file.refin,
            refout: file.refout,
            xorout: file.xorout as u32 & mask,
        }
    }
}
