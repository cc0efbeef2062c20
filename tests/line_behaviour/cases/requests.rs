//! Requests that no master should send, with a good checksum: each gets the exception that the specification says, and
//! nothing of it is done (AP 6, AP 7).

use crate::table;
use crate::talk::Talk;

table! {
    ALL a_read_of_nothing;
    ALL a_read_of_too_many_registers;
    ALL a_read_of_too_many_bits;
    ALL a_read_past_the_last_address_of_the_unit;
    ALL a_read_past_address_65535;
    ALL a_table_that_the_unit_does_not_have;
    ALL a_coil_set_to_0x1234;
    ALL a_coil_set_to_0xff01;
    ALL a_write_of_no_registers;
    ALL a_write_of_too_many_registers;
    ALL a_write_of_0x8000_registers_in_no_bytes;
    ALL a_write_with_an_odd_byte_count;
    ALL a_write_whose_byte_count_is_too_small;
    ALL a_write_whose_byte_count_is_too_large;
    ALL a_write_with_less_data_than_announced;
    ALL a_write_with_more_data_than_announced;
    ALL a_write_of_coils_that_do_not_fill_their_bytes;
    ALL a_write_of_no_coils;
    ALL a_write_of_too_many_coils;
    ALL a_write_that_begins_well_and_passes_the_end;
    ALL a_write_to_a_table_of_inputs_is_not_there;
    ALL a_request_that_is_too_short;
    ALL a_request_that_is_too_long;
    ALL a_read_and_write_that_disagrees_with_itself;
    ALL a_read_and_write_past_the_end_writes_nothing;
    ALL a_mask_write_is_and_then_or;
    ALL a_mask_write_to_an_address_that_is_not_there;
    ALL files_that_are_not_there;
    ALL a_fifo_that_is_not_there;
    ALL an_identification_that_nobody_knows;
    ALL every_unknown_function;
    ALL every_user_defined_function;
    ALL function_0;
    SERIAL functions_from_128_on_are_no_requests;
    ALL an_unknown_function_with_much_data;
}

fn read(function: u8, first: u16, quantity: u16) -> Vec<u8> {
    [&[function][..], &first.to_be_bytes(), &quantity.to_be_bytes()].concat()
}

fn refused(t: &mut Talk<'_>, pdu: &[u8], code: u8) {
    t.ask(1, pdu).refuses(1, pdu[0], code).alive();
}

fn a_read_of_nothing(t: &mut Talk<'_>) {
    for function in 1..=4 {
        refused(t, &read(function, 0, 0), 3);
    }
}

fn a_read_of_too_many_registers(t: &mut Talk<'_>) {
    for quantity in [126, 127, 256, 0x7fff, 0x8000, 0xffff] {
        refused(t, &read(3, 0, quantity), 3);
        refused(t, &read(4, 0, quantity), 3);
    }
}

fn a_read_of_too_many_bits(t: &mut Talk<'_>) {
    for quantity in [2001, 2008, 0xffff] {
        refused(t, &read(1, 0, quantity), 3);
        refused(t, &read(2, 0, quantity), 3);
    }
}

fn a_read_past_the_last_address_of_the_unit(t: &mut Talk<'_>) {
    refused(t, &read(3, 199, 2), 2);
    refused(t, &read(3, 200, 1), 2);
    refused(t, &read(1, 1999, 2), 2);
    refused(t, &read(4, 10, 1), 2);
}

fn a_read_past_address_65535(t: &mut Talk<'_>) {
    for function in 1..=4 {
        refused(t, &read(function, 0xffff, 2), 2);
        refused(t, &read(function, 0xffff, 125), 2);
    }
}

fn a_table_that_the_unit_does_not_have(t: &mut Talk<'_>) {
    refused(t, &read(2, 0, 1), 2);
}

fn a_coil_set_to_0x1234(t: &mut Talk<'_>) {
    refused(t, &[5, 0, 0, 0x12, 0x34], 3);
    t.ask(1, &[1, 0, 0, 0, 1]).answers(1, &[1, 1, 0]);
}

fn a_coil_set_to_0xff01(t: &mut Talk<'_>) {
    for value in [[0xff, 0x01], [0x00, 0x01], [0x01, 0x00]] {
        refused(t, &[5, 0, 0, value[0], value[1]], 3);
    }
    t.ask(1, &[1, 0, 0, 0, 1]).answers(1, &[1, 1, 0]);
}

fn a_write_of_no_registers(t: &mut Talk<'_>) {
    refused(t, &[16, 0, 0, 0, 0, 0], 3);
    refused(t, &[16, 0, 0, 0, 0, 2, 1, 2], 3);
}

fn a_write_of_too_many_registers(t: &mut Talk<'_>) {
    refused(t, &[16, 0, 0, 0, 124, 2, 0, 1], 3);
    refused(t, &[16, 0, 0, 0xff, 0xff, 2, 0, 1], 3);
    t.holds(1, 0, 1000);
}

fn a_write_of_0x8000_registers_in_no_bytes(t: &mut Talk<'_>) {
    refused(t, &[16, 0, 0, 0x80, 0, 0], 3);
    refused(t, &[15, 0, 0, 0x80, 0, 0], 3);
}

fn a_write_with_an_odd_byte_count(t: &mut Talk<'_>) {
    refused(t, &[16, 0, 0, 0, 2, 3, 1, 2, 3], 3);
    t.holds(1, 0, 1000);
}

fn a_write_whose_byte_count_is_too_small(t: &mut Talk<'_>) {
    refused(t, &[16, 0, 0, 0, 2, 2, 1, 2], 3);
    refused(t, &[15, 0, 0, 0, 9, 1, 0xff], 3);
    t.holds(1, 0, 1000);
}

fn a_write_whose_byte_count_is_too_large(t: &mut Talk<'_>) {
    refused(t, &[16, 0, 0, 0, 1, 4, 1, 2, 3, 4], 3);
    refused(t, &[15, 0, 0, 0, 8, 2, 0xff, 0xff], 3);
    t.holds(1, 0, 1000);
}

fn a_write_with_less_data_than_announced(t: &mut Talk<'_>) {
    refused(t, &[16, 0, 0, 0, 2, 4, 1, 2, 3], 3);
    refused(t, &[16, 0, 0, 0, 2, 4], 3);
    t.holds(1, 0, 1000);
}

fn a_write_with_more_data_than_announced(t: &mut Talk<'_>) {
    refused(t, &[16, 0, 0, 0, 2, 4, 1, 2, 3, 4, 5], 3);
    refused(t, &[16, 0, 0, 0, 1, 2, 1, 2, 3, 4], 3);
    t.holds(1, 0, 1000);
}

fn a_write_of_coils_that_do_not_fill_their_bytes(t: &mut Talk<'_>) {
    // What is beyond the last coil in the last byte does not count.
    t.ask(1, &[15, 0, 0, 0, 3, 1, 0xff]).answers(1, &[15, 0, 0, 0, 3]);
    t.ask(1, &[1, 0, 0, 0, 5]).answers(1, &[1, 1, 0b0_1111]);
}

fn a_write_of_no_coils(t: &mut Talk<'_>) {
    refused(t, &[15, 0, 0, 0, 0, 0], 3);
    refused(t, &[15, 0, 0, 0, 0, 1, 1], 3);
}

fn a_write_of_too_many_coils(t: &mut Talk<'_>) {
    refused(t, &[&[15, 0, 0, 0x07, 0xb1, 246][..], &[0; 246]].concat(), 3);
}

fn a_write_that_begins_well_and_passes_the_end(t: &mut Talk<'_>) {
    refused(t, &[16, 0, 199, 0, 2, 4, 1, 2, 3, 4], 2);
    t.holds(1, 199, 1199);
    refused(t, &[15, 0x07, 0xcf, 0, 2, 1, 0], 2);
    refused(t, &[6, 0, 200, 0, 1], 2);
    refused(t, &[5, 0x07, 0xd0, 0xff, 0], 2);
}

fn a_write_to_a_table_of_inputs_is_not_there(t: &mut Talk<'_>) {
    // What is written is the holding register of that number, never the input.
    t.ask(1, &[6, 0, 0, 0, 99])
        .answers(1, &[6, 0, 0, 0, 99])
        .ask(1, &read(4, 0, 1))
        .answers(1, &[4, 2, 0, 7]);
}

fn a_request_that_is_too_short(t: &mut Talk<'_>) {
    for pdu in [
        &[3][..],
        &[3, 0],
        &[3, 0, 0],
        &[3, 0, 0, 0],
        &[5, 0, 0],
        &[6, 0],
        &[15, 0, 0, 0, 1],
        &[16, 0, 0, 0, 1],
        &[22, 0, 0, 0, 1],
        &[23, 0, 0, 0, 1],
    ] {
        refused(t, pdu, 3);
    }
}

fn a_request_that_is_too_long(t: &mut Talk<'_>) {
    for pdu in [&[3, 0, 0, 0, 1, 0][..], &[1, 0, 0, 0, 1, 0, 0], &[6, 0, 0, 0, 1, 9], &[5, 0, 0, 0xff, 0, 0]]
    {
        refused(t, pdu, 3);
    }
    t.holds(1, 0, 1000);
}

fn a_read_and_write_that_disagrees_with_itself(t: &mut Talk<'_>) {
    for pdu in [
        &[23, 0, 0, 0, 0, 0, 0, 0, 1, 2, 1, 2][..],
        &[23, 0, 0, 0, 126, 0, 0, 0, 1, 2, 1, 2],
        &[23, 0, 0, 0, 1, 0, 0, 0, 0, 0],
        &[23, 0, 0, 0, 1, 0, 0, 0, 122, 2, 1, 2],
        &[23, 0, 0, 0, 1, 0, 0, 0, 1, 3, 1, 2, 3],
        &[23, 0, 0, 0, 1, 0, 0, 0, 2, 4, 1, 2],
    ] {
        refused(t, pdu, 3);
    }
    t.holds(1, 0, 1000);
    // The write comes first (AP 6.17).
    t.ask(1, &[23, 0, 0, 0, 2, 0, 1, 0, 1, 2, 0, 42]).answers(1, &[23, 4, 0x03, 0xe8, 0, 42]);
}

fn a_read_and_write_past_the_end_writes_nothing(t: &mut Talk<'_>) {
    refused(t, &[23, 0, 200, 0, 1, 0, 0, 0, 1, 2, 9, 9], 2);
    refused(t, &[23, 0, 0, 0, 1, 0, 199, 0, 2, 4, 9, 9, 9, 9], 2);
    t.holds(1, 0, 1000).holds(1, 199, 1199);
}

fn a_mask_write_is_and_then_or(t: &mut Talk<'_>) {
    // The example of AP 6.16.
    t.ask(1, &[6, 0, 4, 0, 0x12]).answers(1, &[6, 0, 4, 0, 0x12]);
    t.ask(1, &[22, 0, 4, 0, 0xf2, 0, 0x25]).answers(1, &[22, 0, 4, 0, 0xf2, 0, 0x25]).holds(1, 4, 0x17);
}

fn a_mask_write_to_an_address_that_is_not_there(t: &mut Talk<'_>) {
    refused(t, &[22, 0, 200, 0, 0, 0, 1], 2);
}

/// Some exception of these, whichever a device without files has.
fn refused_somehow(t: &mut Talk<'_>, pdu: &[u8], codes: &[u8]) {
    t.ask(1, pdu);
    let answer = t.answer();
    assert!(
        answer.len() == 2 && answer[0] == pdu[0] | 0x80 && codes.contains(&answer[1]),
        "{pdu:?}: {answer:?}"
    );
    t.alive();
}

fn files_that_are_not_there(t: &mut Talk<'_>) {
    for pdu in [
        &[20, 7, 6, 0, 4, 0, 1, 0, 2][..],
        &[20, 7, 5, 0, 4, 0, 1, 0, 2],
        &[20, 7, 6, 0, 0, 0, 1, 0, 2],
        &[20, 6, 6, 0, 4, 0, 1, 0],
        &[20, 0],
        &[20, 7, 6, 0, 4, 0x27, 0x10, 0, 2],
        &[21, 9, 6, 0, 4, 0, 7, 0, 1, 1, 2],
        &[21, 9, 6, 0, 4, 0, 7, 0, 2, 1, 2],
    ] {
        refused_somehow(t, pdu, &[1, 2, 3]);
    }
}

fn a_fifo_that_is_not_there(t: &mut Talk<'_>) {
    refused_somehow(t, &[24, 0, 0], &[1, 2]);
    refused_somehow(t, &[24, 0], &[1, 3]);
}

fn an_identification_that_nobody_knows(t: &mut Talk<'_>) {
    for pdu in [&[43, 14, 0, 0][..], &[43, 14, 5, 0], &[43, 14, 4, 0x7f], &[43, 14], &[43], &[43, 13, 1, 2]] {
        refused_somehow(t, pdu, &[1, 2, 3]);
    }
}

fn every_unknown_function(t: &mut Talk<'_>) {
    for function in
        (9..=10).chain(13..=14).chain(18..=19).chain(25..=42).chain(44..=64).chain(73..=99).chain(111..=127)
    {
        t.ask(1, &[function]).refuses(1, function, 1);
        t.ask(1, &[function, 1, 2, 3, 4, 5]).refuses(1, function, 1);
    }
}

fn every_user_defined_function(t: &mut Talk<'_>) {
    for function in (65..=72).chain(100..=110) {
        t.ask(1, &[function, 0, 0, 0, 1]).refuses(1, function, 1);
    }
}

fn function_0(t: &mut Talk<'_>) {
    refused(t, &[0, 1, 2], 1);
}

fn functions_from_128_on_are_no_requests(t: &mut Talk<'_>) {
    for function in 128..=255 {
        t.ask(1, &[function, 1]).silent();
    }
}

fn an_unknown_function_with_much_data(t: &mut Talk<'_>) {
    refused(t, &[&[0x42][..], &[0x55; 252]].concat(), 1);
}
