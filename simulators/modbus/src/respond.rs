//! What a unit answers to a request PDU. Knows no line and no frame.

use hilrig_points::Plant;
use hilrig_port::Time;

use crate::pdu::{EXCEPTION, Exception, MAX_PDU, Request, read_bytes, read_function};

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
            out[0] = pdu.first().copied().unwrap_or(0) | EXCEPTION;
            out[1] = exception as u8;
            (2, Some(exception))
        }
    }
}

fn act(
    plant: &mut Plant,
    now: Time,
    unit: u8,
    request: Request<'_>,
    pdu: &[u8],
    out: &mut [u8; MAX_PDU],
) -> Result<usize, Exception> {
    match request {
        Request::Read { table, address, quantity } => {
            let length = read_bytes(table, quantity);
            out[0] = read_function(table);
            out[1] = length as u8;
            let data = &mut out[2..2 + length];
            if table.is_bits() {
                plant.read_bits(now, unit, table, address, quantity, data)?;
            } else {
                plant.read_registers(now, unit, table, address, quantity, data)?;
            }
            return Ok(2 + length);
        }
        Request::WriteCoil { address, on } => plant.write_bits(now, unit, address, 1, &[on.into()])?,
        Request::WriteRegister { address, value } => {
            plant.write_registers(now, unit, address, &value.to_be_bytes())?;
        }
        Request::WriteCoils { address, quantity, bits } => {
            plant.write_bits(now, unit, address, quantity, bits)?;
        }
        Request::WriteRegisters { address, values } => {
            plant.write_registers(now, unit, address, values)?;
        }
    }
    // All four writes answer with the first five bytes of the request (AP 6.5, 6.6, 6.11, 6.12).
    out[..5].copy_from_slice(&pdu[..5]);
    Ok(5)
}

#[cfg(test)]
#[path = "respond_tests.rs"]
mod tests;
