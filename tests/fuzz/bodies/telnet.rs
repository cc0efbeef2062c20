//! Any bytes as what the other side of a Telnet connection sends, to both ends: it does not matter where the stream is
//! cut, what is decoded is no longer than what came, and no answer is lost.

use hilrig_port::SerialOptions;
use hilrig_port::telnet::{Client, Event, Server};

/// Payload and what is sent back.
type Outcome = (Vec<u8>, Vec<u8>);

fn decode(chunks: &[&[u8]], mut next: impl FnMut(&mut [u8], &mut Outcome)) -> Outcome {
    let mut outcome = Outcome::default();
    for chunk in chunks {
        next(&mut chunk.to_vec(), &mut outcome);
    }
    outcome
}

fn server(chunks: &[&[u8]]) -> Outcome {
    let mut server = Server::new();
    server.connected();
    decode(chunks, |buffer, (payload, sent)| {
        let mut raw = 0..buffer.len();
        loop {
            match server.next(buffer, &mut raw) {
                Event::Bytes(bytes) => payload.extend_from_slice(&buffer[bytes]),
                Event::Signal(signal) => server.answer(&signal),
                Event::End => break,
            }
        }
        assert!(raw.is_empty());
        sent.extend_from_slice(server.outgoing());
        server.sent(usize::MAX);
        assert!(!server.unsent() && server.lost() == 0);
    })
}

fn client(chunks: &[&[u8]]) -> Outcome {
    let mut client = Client::new(&SerialOptions::default());
    decode(chunks, |buffer, (payload, sent)| {
        let mut raw = 0..buffer.len();
        loop {
            match client.next(buffer, &mut raw) {
                Event::Bytes(bytes) => payload.extend_from_slice(&buffer[bytes]),
                Event::Signal(signal) => _ = client.apply(&signal),
                Event::End => break,
            }
        }
        assert!(raw.is_empty());
        sent.extend_from_slice(client.outgoing());
        client.sent(usize::MAX);
        assert!(!client.unsent() && client.lost() == 0);
    })
}

pub fn run(data: &[u8]) {
    let [first, stream @ ..] = data else { return };
    // What one read brings at most.
    let stream = &stream[..stream.len().min(4096)];
    let cut = usize::from(*first).min(stream.len());
    for end in [server, client] {
        let whole = end(&[stream]);
        assert_eq!(end(&[&stream[..cut], &stream[cut..]]), whole);
        assert!(whole.0.len() <= stream.len());
    }
}
