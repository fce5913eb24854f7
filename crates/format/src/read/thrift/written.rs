//! Numbers as Thrift writes them, for tests that make bytes by hand.

/// A number of variable length.
pub(in crate::read) fn number(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 0x7F {
        bytes.push((value & 0x7F) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A number with a sign.
pub(in crate::read) fn signed(value: i64) -> Vec<u8> {
    number(((value << 1) ^ (value >> 63)).cast_unsigned())
}
