//! Noise before, inside and after frames. A slave is never to look for a frame inside of what came in one piece.

use std::time::Duration;

use hilrig_tests::Seeded;

use crate::table;
use crate::talk::{Framing, Talk, noise};

table! {
    SERIAL one_byte_of_noise_before_a_frame;
    SERIAL five_bytes_of_noise_before_a_frame;
    SERIAL twenty_one_bytes_of_noise_before_a_frame;
    SERIAL noise_of_255_bytes_before_a_frame;
    SERIAL noise_of_256_bytes_before_a_frame;
    SERIAL noise_longer_than_any_frame;
    SERIAL zeros_as_a_break_leaves_them;
    SERIAL ones_as_an_open_line_leaves_them;
    SERIAL noise_glued_before_a_frame;
    SERIAL noise_glued_behind_a_frame;
    SERIAL noise_on_both_sides_of_a_frame;
    SERIAL a_byte_too_many_inside_a_frame;
    SERIAL a_byte_missing_inside_a_frame;
    RTU a_bit_flipped_anywhere;
    SERIAL an_unknown_function_with_a_broken_check;
    SERIAL a_broken_frame_of_each_function;
    RTU a_break_glued_before_a_frame;
    SERIAL a_frame_that_is_repeated_with_a_broken_check_first;
    SERIAL bursts_of_noise_without_end;
    SERIAL noise_that_looks_like_the_begin_of_a_long_frame;
    SERIAL an_echo_of_our_own_reply;
}

fn before(t: &mut Talk<'_>, bytes: &[u8]) {
    t.send(bytes).silent().alive().send(bytes).silent();
}

fn one_byte_of_noise_before_a_frame(t: &mut Talk<'_>) {
    for byte in [0x00, 0x01, 0x7f, 0x80, 0xff] {
        before(t, &[byte]);
    }
}

fn five_bytes_of_noise_before_a_frame(t: &mut Talk<'_>) {
    before(t, &noise(5));
}

fn twenty_one_bytes_of_noise_before_a_frame(t: &mut Talk<'_>) {
    before(t, &noise(21));
}

fn noise_of_255_bytes_before_a_frame(t: &mut Talk<'_>) {
    before(t, &noise(255));
}

fn noise_of_256_bytes_before_a_frame(t: &mut Talk<'_>) {
    before(t, &noise(256));
}

fn noise_longer_than_any_frame(t: &mut Talk<'_>) {
    before(t, &noise(1000));
}

fn zeros_as_a_break_leaves_them(t: &mut Talk<'_>) {
    for len in [1, 2, 3, 4, 8, 100, 300] {
        before(t, &vec![0; len]);
    }
}

fn ones_as_an_open_line_leaves_them(t: &mut Talk<'_>) {
    for len in [1, 4, 8, 300] {
        before(t, &vec![0xff; len]);
    }
}

const READ: &[u8] = &[3, 0, 0, 0, 1];
const REPLY: &[u8] = &[3, 2, 0x03, 0xe8];

/// Noise without a colon, which begins a frame in ASCII.
fn noise_without_colon(len: usize) -> Vec<u8> {
    noise(len).iter().map(|b| if b & 0x7f == b':' { 0 } else { *b }).collect()
}

fn noise_glued_before_a_frame(t: &mut Talk<'_>) {
    for len in [1, 5, 20, 200] {
        let frame = t.frame(1, READ);
        t.send(&[noise_without_colon(len), frame].concat());
        match t.framing {
            // In ASCII a colon begins a frame, whatever came before.
            Framing::Ascii => t.answers(1, REPLY),
            _ => t.silent(),
        };
        t.alive();
    }
}

fn noise_glued_behind_a_frame(t: &mut Talk<'_>) {
    for len in [1, 5, 20, 200] {
        let frame = t.frame(1, READ);
        t.send(&[frame, noise_without_colon(len)].concat()).answers(1, REPLY).alive();
    }
}

fn noise_on_both_sides_of_a_frame(t: &mut Talk<'_>) {
    let frame = t.frame(1, READ);
    t.send(&[noise_without_colon(3), frame, noise_without_colon(4)].concat());
    match t.framing {
        Framing::Ascii => t.answers(1, REPLY),
        _ => t.silent(),
    };
}

fn a_byte_too_many_inside_a_frame(t: &mut Talk<'_>) {
    let len = t.frame(1, READ).len();
    for at in 1..len - 1 {
        let mut frame = t.frame(1, READ);
        frame.insert(at, b'!');
        let silent = t.framing != Framing::Ascii || at < len - 2;
        t.send(&frame);
        // Between CR and LF there may be anything: both are only there to end the frame.
        if silent {
            t.silent();
        } else {
            t.whatever();
        }
    }
}

fn a_byte_missing_inside_a_frame(t: &mut Talk<'_>) {
    let len = t.frame(1, READ).len();
    for at in 0..len - 2 {
        let mut frame = t.frame(1, READ);
        frame.remove(at);
        t.send(&frame).silent();
    }
}

fn a_bit_flipped_anywhere(t: &mut Talk<'_>) {
    let len = t.frame(1, READ).len();
    for bit in 0..len * 8 {
        let mut frame = t.frame(1, READ);
        frame[bit / 8] ^= 1 << (bit % 8);
        t.send(&frame).silent();
    }
}

/// Some servers answer what they do not know before they look whether it is a frame.
fn an_unknown_function_with_a_broken_check(t: &mut Talk<'_>) {
    for function in [0x42, 0x64, 0x7f, 9, 99, 0] {
        let mut frame = t.frame(1, &[function, 1, 2, 3]);
        let at = frame.len() - 3;
        frame[at] ^= 1;
        t.send(&frame).silent();
    }
}

fn a_broken_frame_of_each_function(t: &mut Talk<'_>) {
    for function in 1..=127 {
        let mut frame = t.frame(1, &[function, 0, 0, 0, 1]);
        let at = frame.len() - 3;
        frame[at] ^= 1;
        t.send(&frame).silent();
    }
}

/// A transceiver that turns round leaves a 0 on the line, right before what comes.
fn a_break_glued_before_a_frame(t: &mut Talk<'_>) {
    for byte in [0x00, 0x80, 0xff] {
        let frame = t.frame(1, READ);
        t.send(&[&[byte][..], &frame].concat()).silent().alive();
        t.send(&[&frame[..], &[byte]].concat()).answers(1, REPLY);
    }
}

fn a_frame_that_is_repeated_with_a_broken_check_first(t: &mut Talk<'_>) {
    let mut broken = t.frame(1, READ);
    // The last character of what is checked, in each framing.
    let at = broken.len() - 3;
    broken[at] ^= 1;
    t.send(&broken).silent().ask(1, READ).answers(1, REPLY);
}

fn bursts_of_noise_without_end(t: &mut Talk<'_>) {
    let mut dice = Seeded(7);
    for _ in 0..50 {
        let len = 1 + dice.index(40);
        t.bytes(&noise_without_colon(len)).wait(Duration::from_millis(3));
    }
    t.wait(crate::talk::PAUSE).silent();
}

fn noise_that_looks_like_the_begin_of_a_long_frame(t: &mut Talk<'_>) {
    let whole = t.frame(1, &[&[16, 0, 0, 0, 123, 246][..], &[0; 246]].concat());
    t.send(&whole[..whole.len() / 16]).silent();
    for _ in 0..30 {
        t.alive();
    }
}

fn an_echo_of_our_own_reply(t: &mut Talk<'_>) {
    // A transceiver that hears itself.
    t.ask(1, READ).answers(1, REPLY);
    let echo = t.frame(1, REPLY);
    t.send(&echo).whatever();
    t.ask(1, READ).answers(1, REPLY);
}
