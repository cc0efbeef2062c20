//! What a unit answers to a request PDU from its data. Knows no line and no frame; functions 8, 11 and 12 are about the
//! line and are answered by the slave.

use hilrig_points::{Plant, Table};
use hilrig_port::Time;

use crate::pdu::{
    Exception, IDENTIFICATION, MAX_FIFO, MAX_PDU, Records, Request, read_bytes, read_function, refuse,
};

/// Acts on a request PDU to a unit and writes the reply PDU; answers its length and the exception, if it is one. A
/// write is done as a whole or not at all.
pub fn answer(
    plant: &mut Plant,
    now: Time,
    unit: u8,
    pdu: &[u8],
    out: &mut [u8; MAX_PDU],
) -> (usize, Option<Exception>) {
    match Request::decode(pdu).and_then(|request| act(plant, now, unit, request, pdu, out)) {
        Ok(length) => (length, None),
        Err(exception) => {
            let function = pdu.first().copied().unwrap_or_default();
            (refuse(function, exception, out), Some(exception))
        }
    }
}

/// Acts on a request that was decoded from `pdu`.
pub(crate) fn act(
    plant: &mut Plant,
    now: Time,
    unit: u8,
    request: Request<'_>,
    pdu: &[u8],
    out: &mut [u8; MAX_PDU],
) -> Result<usize, Exception> {
    // How many bytes of the request come back (AP 6.5, 6.6, 6.11, 6.12, 6.15, 6.16).
    let echo = match request {
        Request::Read { table, address, quantity } => {
            return read(plant, now, unit, table, address, quantity, out);
        }
        Request::WriteCoil { address, on } => {
            plant.write_bits(now, unit, address, 1, &[on.into()])?;
            5
        }
        Request::WriteRegister { address, value } => {
            plant.write_registers(now, unit, address, &value.to_be_bytes())?;
            5
        }
        Request::WriteCoils { address, quantity, bits } => {
            plant.write_bits(now, unit, address, quantity, bits)?;
            5
        }
        Request::WriteRegisters { address, values } => {
            plant.write_registers(now, unit, address, values)?;
            5
        }
        Request::ReadWrite { address, quantity, write_address, values } => {
            // What cannot be read keeps the write from being done.
            read(plant, now, unit, Table::HoldingRegisters, address, quantity, out)?;
            plant.write_registers(now, unit, write_address, values)?;
            let length = read(plant, now, unit, Table::HoldingRegisters, address, quantity, out)?;
            out[0] = 23;
            return Ok(length);
        }
        Request::MaskWrite { address, and, or } => {
            plant.mask_write(now, unit, address, and, or)?;
            7
        }
        Request::ExceptionStatus => {
            out[..2].copy_from_slice(&[7, plant.exception_status(now, unit)]);
            return Ok(2);
        }
        Request::ServerId => {
            let server = plant.server_id(unit).ok_or(Exception::IllegalFunction)?;
            let running = [if server.running { 0xFF } else { 0 }];
            let parts = [&server.id[..], &running, &server.additional].into_iter().flatten();
            let mut end = 2;
            for (out, byte) in out[2..].iter_mut().zip(parts) {
                *out = *byte;
                end += 1;
            }
            out[..2].copy_from_slice(&[17, (end - 2) as u8]);
            return Ok(end);
        }
        Request::ReadFile(records) => return read_file(plant, unit, records, out),
        Request::WriteFile(records) => {
            for record in records {
                plant.file_check(unit, record.file, record.record, record.length)?;
            }
            for record in records {
                plant.file_write(unit, record.file, record.record, record.values)?;
            }
            pdu.len()
        }
        Request::ReadFifo { address } => {
            let mut values = [0; 2 * MAX_FIFO];
            let count = plant.fifo(now, unit, address, &mut values)?;
            let values = values.get(..2 * count).ok_or(Exception::IllegalValue)?;
            out[0] = 24;
            out[1..3].copy_from_slice(&(values.len() as u16 + 2).to_be_bytes());
            out[3..5].copy_from_slice(&(count as u16).to_be_bytes());
            out[5..5 + values.len()].copy_from_slice(values);
            return Ok(5 + values.len());
        }
        Request::Identify { code, object } => return identify(plant, unit, code, object, out),
        Request::Other(request) => {
            let reply = plant.user_reply(unit, request).ok_or_else(|| {
                let known = plant.has_user_function(unit, request[0]);
                if known { Exception::IllegalValue } else { Exception::IllegalFunction }
            })?;
            let reply = &reply[..reply.len().min(MAX_PDU)];
            out[..reply.len()].copy_from_slice(reply);
            return Ok(reply.len());
        }
        Request::Diagnose { .. } | Request::EventCounter | Request::EventLog => {
            return Err(Exception::IllegalFunction);
        }
    };
    out[..echo].copy_from_slice(&pdu[..echo]);
    Ok(echo)
}

fn read(
    plant: &mut Plant,
    now: Time,
    unit: u8,
    table: Table,
    address: u16,
    quantity: u16,
    out: &mut [u8; MAX_PDU],
) -> Result<usize, Exception> {
    let length = read_bytes(table, quantity);
    out[0] = read_function(table);
    out[1] = length as u8;
    let data = &mut out[2..2 + length];
    if table.is_bits() {
        plant.read_bits(now, unit, table, address, quantity, data)?;
    } else {
        plant.read_registers(now, unit, table, address, quantity, data)?;
    }
    Ok(2 + length)
}

fn read_file(
    plant: &mut Plant,
    unit: u8,
    records: Records<'_>,
    out: &mut [u8; MAX_PDU],
) -> Result<usize, Exception> {
    let mut end = 2;
    for record in records {
        let bytes = 2 * usize::from(record.length);
        let room = out.get_mut(end..end + 2 + bytes).ok_or(Exception::IllegalValue)?;
        room[..2].copy_from_slice(&[bytes as u8 + 1, 6]);
        plant.file_read(unit, record.file, record.record, record.length, &mut room[2..])?;
        end += 2 + bytes;
    }
    out[..2].copy_from_slice(&[20, (end - 2) as u8]);
    Ok(end)
}

/// Objects of the three categories of AP 6.21, by the code that asks for them.
const LAST: [u8; 4] = [0, 2, 6, u8::MAX];
const HEAD: usize = 7;

fn identify(
    plant: &Plant,
    unit: u8,
    code: u8,
    object: u8,
    out: &mut [u8; MAX_PDU],
) -> Result<usize, Exception> {
    let has = |object: u8| plant.identity(unit, object).is_some();
    if !(0..=u8::MAX).any(has) {
        return Err(Exception::IllegalFunction);
    }
    // Individual access, too, is there on each level.
    let level = 0x80 | if (7..=u8::MAX).any(has) { 3 } else { 1 + u8::from((3..=6).any(has)) };
    let (first, last) = match code {
        4 if has(object) => (object, object),
        4 => return Err(Exception::IllegalAddress),
        // Who asks for what is not there starts from the beginning.
        _ if object <= LAST[usize::from(code)] && has(object) => (object, LAST[usize::from(code)]),
        _ => (0, LAST[usize::from(code)]),
    };
    let (mut end, mut count, mut next) = (HEAD, 0, None);
    for object in first..=last {
        let Some(value) = plant.identity(unit, object) else { continue };
        let value = &value[..value.len().min(MAX_PDU - HEAD - 2)];
        let Some(room) = out.get_mut(end..end + 2 + value.len()) else {
            next = Some(object);
            break;
        };
        room[..2].copy_from_slice(&[object, value.len() as u8]);
        room[2..].copy_from_slice(value);
        end += room.len();
        count += 1;
    }
    let more = if next.is_some() { 0xFF } else { 0 };
    out[..HEAD].copy_from_slice(&[43, IDENTIFICATION, code, level, more, next.unwrap_or_default(), count]);
    Ok(end)
}

#[cfg(test)]
#[path = "respond_tests.rs"]
mod tests;
