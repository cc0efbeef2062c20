//! What a device says to what it hears. The profiles are their own modules; here are telegrams described by fields.

use std::time::Duration;

use hilrig_points::Plant;
use hilrig_port::Time;

use crate::buf::Buf;
use crate::field::{Field, Found, fits, put};
use crate::hostlink::HostLink;
use crate::mbus::Mbus;
use crate::melsec::Melsec;
use crate::uss::Uss;

/// What a telegram is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It is not for us, or of no known form.
    Stranger,
    /// Understood; there is nothing to say.
    Quiet,
    /// An answer, this long after the delay of the table.
    Reply(Duration),
    /// The same, and it says no.
    Refused(Duration),
}

/// A telegram that is sent.
#[derive(Debug, Clone)]
pub(crate) struct Send {
    pub name: String,
    /// Period and phase.
    pub cycle: Option<(Duration, Duration)>,
    pub fields: Vec<Field>,
}

/// A telegram that is understood.
#[derive(Debug, Clone)]
pub(crate) struct Receive {
    pub fields: Vec<Field>,
    /// Place of the answer among those sent, and how much later than the table says it goes.
    pub reply: Option<(usize, Duration)>,
}

/// Who is at the end of the line.
#[derive(Debug, Clone)]
pub(crate) enum Device {
    /// Whoever sends and understands the telegrams of the table.
    Telegrams(Vec<Receive>),
    HostLink(HostLink),
    Melsec(Melsec),
    Mbus(Mbus),
    Uss(Uss),
}

/// What a device needs to answer.
pub(crate) struct Hearing<'a> {
    pub plant: &'a mut Plant,
    pub now: Time,
    /// Since when time fields count.
    pub begin: Time,
    pub sends: &'a mut [Send],
    pub found: &'a mut Found,
    pub scratch: &'a mut Buf,
    pub text: &'a mut String,
    /// Values that their points did not take.
    pub unwritten: u64,
}

impl Device {
    /// `out` becomes what is in the answer, or all its bytes if [`wraps`](Self::wraps) says so.
    pub fn answer(&mut self, body: &[u8], hearing: &mut Hearing<'_>, out: &mut Buf) -> Answer {
        let (plant, now) = (&mut *hearing.plant, hearing.now);
        match self {
            Self::HostLink(plc) => plc.answer(plant, now, body, out),
            Self::Melsec(plc) => plc.answer(plant, now, body, out),
            Self::Mbus(meter) => meter.answer(plant, now, body, out),
            Self::Uss(drive) => drive.answer(plant, now, body, out, &mut hearing.unwritten),
            Self::Telegrams(known) => {
                let (found, scratch) = (&mut *hearing.found, &mut *hearing.scratch);
                let one = known.iter().find(|r| fits(&r.fields, body, plant, now, found, scratch));
                let Some(one) = one else { return Answer::Stranger };
                hearing.unwritten += put(plant, now, body, found, hearing.text);
                let Some((reply, delay)) = one.reply else { return Answer::Quiet };
                out.clear();
                for field in &mut hearing.sends[reply].fields {
                    field.write(plant, now, hearing.begin, out);
                }
                Answer::Reply(delay)
            }
        }
    }

    /// Its answers come with marks and checksum.
    pub fn wraps(&self) -> bool {
        matches!(self, Self::HostLink(_) | Self::Melsec(_))
    }
}
