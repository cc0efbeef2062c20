//! Any bytes as a capture: packets lie inside it, an error points into it, and what can be replayed is in order.

use hilrig_capture::{PlaySpec, Player, ReadError, Reader, Recording, What};

pub fn run(data: &[u8]) {
    let mut reader = Reader::new(data);
    let mut last = None;
    loop {
        match reader.next_packet() {
            Ok(Some(packet)) => {
                assert!(last.is_none_or(|last| last < packet.offset) && packet.offset < data.len() as u64);
                assert!(packet.interface < reader.interfaces().len() && packet.bytes.len() < data.len());
                last = Some(packet.offset);
            }
            Ok(None) => break,
            Err(ReadError::Bad { offset, message }) => {
                assert!(offset < data.len() as u64 && !message.is_empty());
                break;
            }
            Err(e) => panic!("{e}"),
        }
    }
    assert!(reader.cut_at().is_none_or(|at| at < data.len() as u64));
    if let Ok(recording) = Recording::read(data, None) {
        assert!(recording.moments.is_sorted_by_key(|moment| moment.at));
        for moment in &recording.moments {
            if let What::Bytes(range) = &moment.what {
                assert_eq!(recording.bytes(range).len(), range.len());
            }
        }
        assert!(Player::new(recording, PlaySpec::default()).is_ok());
    }
}
