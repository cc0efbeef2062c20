//! Unit 0 on a line: all units obey, nobody answers (SL 2.2).

use crate::table;
use crate::talk::Talk;

table! {
    SERIAL a_broadcast_write_of_one_register;
    SERIAL a_broadcast_write_of_registers;
    SERIAL a_broadcast_write_of_one_coil;
    SERIAL a_broadcast_write_of_coils;
    SERIAL a_broadcast_mask_write;
    SERIAL a_broadcast_read_has_no_meaning;
    SERIAL a_broadcast_of_an_unknown_function;
    SERIAL a_broadcast_with_an_illegal_value;
    SERIAL a_broadcast_to_addresses_that_nobody_has;
    SERIAL a_broadcast_right_before_a_request;
    SERIAL a_broadcast_with_a_broken_check_is_not_obeyed;
    TCP unit_0_over_tcp_is_the_device;
}

fn a_broadcast_write_of_one_register(t: &mut Talk<'_>) {
    t.ask(0, &[6, 0, 5, 0x12, 0x34]).silent().holds(1, 5, 0x1234).holds(3, 5, 0x1234);
}

fn a_broadcast_write_of_registers(t: &mut Talk<'_>) {
    t.ask(0, &[16, 0, 6, 0, 2, 4, 0, 1, 0, 2]).silent().holds(1, 6, 1).holds(3, 7, 2);
}

fn a_broadcast_write_of_one_coil(t: &mut Talk<'_>) {
    t.ask(0, &[5, 0, 8, 0xff, 0]).silent();
    t.ask(1, &[1, 0, 8, 0, 1]).answers(1, &[1, 1, 1]).ask(3, &[1, 0, 8, 0, 1]).answers(3, &[1, 1, 1]);
}

fn a_broadcast_write_of_coils(t: &mut Talk<'_>) {
    t.ask(0, &[15, 0, 0, 0, 8, 1, 0b1101_0011]).silent();
    t.ask(3, &[1, 0, 0, 0, 8]).answers(3, &[1, 1, 0b1101_0011]);
}

fn a_broadcast_mask_write(t: &mut Talk<'_>) {
    t.ask(0, &[6, 0, 4, 0, 0x12])
        .ask(0, &[22, 0, 4, 0, 0xf2, 0, 0x25])
        .silent()
        .holds(1, 4, 0x17)
        .holds(3, 4, 0x17);
}

fn a_broadcast_read_has_no_meaning(t: &mut Talk<'_>) {
    for function in [1, 2, 3, 4] {
        t.ask(0, &[function, 0, 0, 0, 1]).silent();
    }
}

fn a_broadcast_of_an_unknown_function(t: &mut Talk<'_>) {
    t.ask(0, &[0x42]).silent().ask(0, &[0x64, 1, 2, 3]).silent();
}

fn a_broadcast_with_an_illegal_value(t: &mut Talk<'_>) {
    t.ask(0, &[5, 0, 0, 0x12, 0x34])
        .silent()
        .ask(0, &[16, 0, 0, 0, 2, 3, 1, 2, 3])
        .silent()
        .holds(1, 0, 1000);
}

fn a_broadcast_to_addresses_that_nobody_has(t: &mut Talk<'_>) {
    t.ask(0, &[6, 0xff, 0xff, 0, 1]).silent();
}

fn a_broadcast_right_before_a_request(t: &mut Talk<'_>) {
    let frames = [t.frame(0, &[6, 0, 9, 0, 77]), t.frame(1, &[3, 0, 9, 0, 1])].concat();
    t.send(&frames).answers(1, &[3, 2, 0, 77]);
}

fn a_broadcast_with_a_broken_check_is_not_obeyed(t: &mut Talk<'_>) {
    let mut frame = t.frame(0, &[6, 0, 5, 0x12, 0x34]);
    let at = frame.len() - 3;
    frame[at] ^= 1;
    t.send(&frame).silent().holds(1, 5, 1005);
}

/// A connection has one device at its end, so nothing is a broadcast (Modbus Messaging on TCP/IP 4.4.2.1).
fn unit_0_over_tcp_is_the_device(t: &mut Talk<'_>) {
    t.ask(0, &[3, 0, 0, 0, 1]).answers(0, &[3, 2, 0x03, 0xe8]);
    t.ask(0, &[6, 0, 5, 0, 1]).answers(0, &[6, 0, 5, 0, 1]).holds(1, 5, 1).holds(3, 5, 3005);
}
