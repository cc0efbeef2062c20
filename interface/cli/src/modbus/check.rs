//! Whether an answer can be that to a request. tokio-modbus compares ids and function codes; what else the two have in
//! common is compared here. Knows nothing of lines.

use tokio_modbus::{Request, Response};

/// What is wrong with an answer, as the end of a sentence about the unit.
pub fn check(request: &Request<'_>, response: &Response) -> Result<(), String> {
    match (request, response) {
        (Request::ReadCoils(_, asked), Response::ReadCoils(got))
        | (Request::ReadDiscreteInputs(_, asked), Response::ReadDiscreteInputs(got)) => {
            same(usize::from(*asked).div_ceil(8), got.len() / 8, "bytes of bits")
        }
        (Request::ReadHoldingRegisters(_, asked), Response::ReadHoldingRegisters(got))
        | (Request::ReadInputRegisters(_, asked), Response::ReadInputRegisters(got)) => {
            same(usize::from(*asked), got.len(), "registers")
        }
        (Request::WriteSingleCoil(at, value), Response::WriteSingleCoil(where_, what)) => {
            confirmed((*at, u16::from(*value)), (*where_, u16::from(*what)))
        }
        (Request::WriteSingleRegister(at, value), Response::WriteSingleRegister(where_, what)) => {
            confirmed((*at, *value), (*where_, *what))
        }
        (Request::WriteMultipleCoils(at, values), Response::WriteMultipleCoils(where_, count)) => {
            confirmed((*at, values.len() as u16), (*where_, *count))
        }
        (Request::WriteMultipleRegisters(at, values), Response::WriteMultipleRegisters(where_, count)) => {
            confirmed((*at, values.len() as u16), (*where_, *count))
        }
        _ => Ok(()),
    }
}

fn same(asked: usize, got: usize, of: &str) -> Result<(), String> {
    if asked == got { Ok(()) } else { Err(format!("was asked for {asked} {of} and sent {got}")) }
}

fn confirmed(sent: (u16, u16), back: (u16, u16)) -> Result<(), String> {
    if sent == back {
        return Ok(());
    }
    let ((at, value), (other_at, other_value)) = (sent, back);
    Err(format!(
        "confirmed another write ({other_value} at {other_at}, not {value} at {at}); read back what it holds"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_do_not_fit_are_found() {
        let read = Request::ReadHoldingRegisters(0, 3);
        assert!(check(&read, &Response::ReadHoldingRegisters(vec![1, 2, 3])).is_ok());
        assert!(
            check(&read, &Response::ReadHoldingRegisters(vec![1, 2])).unwrap_err().contains("asked for 3")
        );
        let bits = Request::ReadCoils(0, 9);
        assert!(check(&bits, &Response::ReadCoils(vec![true; 16])).is_ok());
        assert!(check(&bits, &Response::ReadCoils(vec![true; 8])).is_err());
        let write = Request::WriteMultipleRegisters(5, vec![1, 2].into());
        assert!(check(&write, &Response::WriteMultipleRegisters(5, 2)).is_ok());
        assert!(check(&write, &Response::WriteMultipleRegisters(5, 1)).is_err());
        assert!(check(&write, &Response::WriteMultipleRegisters(4, 2)).is_err());
        let coil = Request::WriteSingleCoil(5, true);
        assert!(check(&coil, &Response::WriteSingleCoil(5, false)).is_err());
    }
}
