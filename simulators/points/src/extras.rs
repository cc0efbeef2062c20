//! What a unit answers besides its tables: files of records, queues, identity, user-defined functions.

use crate::Refusal;
use crate::point::PointId;

/// Highest record number of a file (AP 6.14).
pub(crate) const LAST_RECORD: u16 = 9_999;
/// Most registers in a queue (AP 6.18).
pub(crate) const MOST_IN_QUEUE: usize = 31;

#[derive(Debug, Clone)]
pub(crate) enum Status {
    Fixed(u8),
    Points([Option<PointId>; 8]),
}

impl Default for Status {
    fn default() -> Self {
        Self::Fixed(0)
    }
}

#[derive(Debug, Clone)]
pub(crate) struct UserReply {
    /// Of the whole request, function code included; `None` in place of any byte. Without it any request of the code.
    pub request: Option<Vec<Option<u8>>>,
    pub code: u8,
    /// The whole reply PDU.
    pub reply: Vec<u8>,
}

/// What function 17 answers (AP 6.13).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerId {
    pub id: Vec<u8>,
    /// The run indicator.
    pub running: bool,
    /// What follows it.
    pub additional: Vec<u8>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Extras {
    pub name: String,
    pub identity: Vec<(u8, Vec<u8>)>,
    pub server_id: Option<ServerId>,
    pub status: Status,
    /// Sorted by number.
    pub files: Vec<(u16, Vec<u16>)>,
    pub queues: Vec<(u16, Vec<u16>)>,
    pub user: Vec<UserReply>,
}

impl Extras {
    fn records(&mut self, file: u16, record: u16, count: usize) -> Result<&mut [u16], Refusal> {
        let (_, records) =
            self.files.iter_mut().find(|(number, _)| *number == file).ok_or(Refusal::Address)?;
        let first = usize::from(record);
        if record > LAST_RECORD {
            return Err(Refusal::Address);
        }
        records.get_mut(first..first + count).ok_or(Refusal::Address)
    }

    pub fn read(&mut self, file: u16, record: u16, count: u16, out: &mut [u8]) -> Result<(), Refusal> {
        let records = self.records(file, record, usize::from(count))?;
        for (word, out) in records.iter().zip(out.chunks_exact_mut(2)) {
            out.copy_from_slice(&word.to_be_bytes());
        }
        Ok(())
    }

    pub fn can_write(&mut self, file: u16, record: u16, count: usize) -> Result<(), Refusal> {
        self.records(file, record, count).map(drop)
    }

    pub fn write(&mut self, file: u16, record: u16, values: &[u8]) -> Result<(), Refusal> {
        let records = self.records(file, record, values.len() / 2)?;
        for (word, value) in records.iter_mut().zip(values.chunks_exact(2)) {
            *word = u16::from_be_bytes([value[0], value[1]]);
        }
        Ok(())
    }

    pub fn queue(&self, address: u16, out: &mut [u8; 2 * MOST_IN_QUEUE]) -> Result<usize, Refusal> {
        let (_, queue) = self.queues.iter().find(|(at, _)| *at == address).ok_or(Refusal::Address)?;
        if queue.len() > MOST_IN_QUEUE {
            return Err(Refusal::Value);
        }
        for (word, out) in queue.iter().zip(out.chunks_exact_mut(2)) {
            out.copy_from_slice(&word.to_be_bytes());
        }
        Ok(queue.len())
    }

    pub fn user_reply(&self, request: &[u8]) -> Option<&[u8]> {
        let fits = |user: &&UserReply| {
            request.first() == Some(&user.code)
                && user.request.as_ref().is_none_or(|pattern| {
                    let same = |(want, is): (&Option<u8>, &u8)| want.is_none_or(|want| want == *is);
                    pattern.len() == request.len() && pattern.iter().zip(request).all(same)
                })
        };
        self.user.iter().find(fits).map(|user| &*user.reply)
    }
}
