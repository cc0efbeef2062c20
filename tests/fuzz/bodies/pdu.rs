//! Any request PDU gets a reply of legal length that belongs to it.
//!
//! The input is a request PDU, or a length byte below 16, a request PDU of that length and a reply PDU.

use hilrig_modbus::pdu::{MAX_PDU, Request};
use hilrig_modbus::reply::{Reply, match_reply};
use hilrig_modbus::respond::answer;
use hilrig_points::{Plant, Table, Unit};
use hilrig_port::Time;

pub fn run(data: &[u8]) {
    if let Some((&len, rest)) =
        data.split_first().filter(|(len, rest)| **len < 16 && usize::from(**len) <= rest.len())
    {
        let (request, reply) = rest.split_at(len.into());
        match_reply(request, reply);
    }
    let request = &data[..data.len().min(MAX_PDU)];
    if request.is_empty() {
        return;
    }
    let mut unit = Unit::new();
    for table in Table::ALL {
        assert!(unit.define(table, 0xFF00, 0..256).is_ok());
    }
    let mut out = [0; MAX_PDU];
    let mut plant = Plant::default();
    assert!(plant.add_unit(1, unit).is_ok());
    let (len, exception) = answer(&mut plant, Time(0), 1, request, &mut out);
    assert_eq!(out[0] & 0x7F, request[0] & 0x7F);
    match Request::decode(request) {
        Ok(_) => match match_reply(request, &out[..len]) {
            Reply::Done(_) => assert_eq!(exception, None),
            Reply::Refused(code) => assert_eq!(exception.map(|e| e as u8), Some(code)),
            Reply::Stranger => panic!("the reply does not belong to the request"),
        },
        Err(refused) => assert_eq!((exception, len, out[1]), (Some(refused), 2, refused as u8)),
    }
}
