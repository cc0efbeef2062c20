use super::*;

const ORDERS: [Order; 4] = [Order::Abcd, Order::Cdab, Order::Badc, Order::Dcba];

#[test]
fn orders_are_what_their_letters_say() {
    for (order, words) in [
        (Order::Abcd, [0x0102, 0x0304]),
        (Order::Cdab, [0x0304, 0x0102]),
        (Order::Badc, [0x0201, 0x0403]),
        (Order::Dcba, [0x0403, 0x0201]),
    ] {
        assert_eq!(Type::U32.registers("0x01020304", order).unwrap(), words, "{order:?}");
        assert_eq!(Type::U32.show(&words, order).text, "16909060", "{order:?}");
        // One register has no order.
        assert_eq!(Type::U16.registers("258", order).unwrap(), [0x0102]);
    }
    assert_eq!(
        Type::U64.registers("0x0102030405060708", Order::Cdab).unwrap(),
        [0x0708, 0x0506, 0x0304, 0x0102]
    );
}

#[test]
fn values_come_back_in_every_type_and_order() {
    for (kind, value) in [
        (Type::U16, "65535"),
        (Type::I16, "-32768"),
        (Type::U32, "4294967295"),
        (Type::I32, "-2147483648"),
        (Type::U64, "18446744073709551615"),
        (Type::I64, "-9223372036854775808"),
        (Type::F32, "-0.1"),
        (Type::F64, "3.141592653589793"),
        (Type::Hex, "0xbeef"),
        (Type::Bits, "1011 1110 1110 1111"),
    ] {
        for order in ORDERS {
            let words = kind.registers(value, order).unwrap();
            assert_eq!(Some(words.len()), kind.width());
            assert_eq!(kind.show(&words, order).text, value, "{kind:?} {order:?}");
        }
    }
    for order in ORDERS {
        let words = Type::String.registers("pump 7", order).unwrap();
        assert_eq!(Type::String.show(&words, order).json, "pump 7");
    }
    assert_eq!(Type::String.show(&[0x411b, 0x4200], Order::Abcd).json, "A\u{fffd}B");
    assert_eq!(Type::F32.show(&[0x3dcc, 0xcccd], Order::Abcd).json, json!(0.1));
    assert_eq!(Type::F32.show(&[0x7fc0, 0], Order::Abcd).json, "NaN");
    assert_eq!(Type::I16.registers("0xffff", Order::Abcd).unwrap(), [0xffff]);
}

#[test]
fn values_that_do_not_fit_are_refused() {
    for (kind, value) in [
        (Type::U16, "65536"),
        (Type::U16, "-1"),
        (Type::U16, "1.5"),
        (Type::U16, ""),
        (Type::U16, "+1"),
        (Type::I16, "32768"),
        (Type::I16, "-32769"),
        (Type::I16, "0x10000"),
        (Type::U32, "4294967296"),
        (Type::U64, "18446744073709551616"),
        (Type::I64, "9223372036854775808"),
        (Type::F32, "one"),
        (Type::Hex, "0x"),
        (Type::Bits, "2"),
        (Type::Bits, "10000000000000000"),
    ] {
        assert!(kind.registers(value, Order::Abcd).is_err(), "{kind:?} {value}");
    }
    assert!(bit("maybe").is_err());
    assert_eq!((bit("ON"), bit("0")), (Ok(true), Ok(false)));
}
