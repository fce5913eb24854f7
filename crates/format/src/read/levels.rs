//! Repetition levels of Parquet pages, counted before they are decoded: a row begins where one is 0.
//!
//! They are in the hybrid of runs and bit-packed groups (Parquet, *Encodings*, RLE). A decoder that skips
//! rows asks again and again for levels that a page has too few of.

use super::thrift::Input;
use crate::{Error, Result};

/// How many of the first `values` levels are 0. There are no fewer levels than that.
pub(super) fn rows_begun(levels: &[u8], greatest: i16, values: u64) -> Result<i64> {
    let bits = u64::from(u16::BITS - greatest.cast_unsigned().leading_zeros());
    let mut input = Input(levels);
    let (mut left, mut begun) = (values, 0i64);
    while left > 0 {
        let head = input.unsigned().map_err(|_| too_few(left))?;
        let count = head >> 1;
        // The decoder counts in 32 bits.
        if count > u64::from(u32::MAX / 8) {
            return Err(Error::corrupt("a run of levels is too long").with("length", count));
        }
        if head & 1 == 0 {
            let size = bits.div_ceil(8) as usize;
            let level = input.0.get(..size).ok_or_else(|| too_few(left))?;
            let taken = count.min(left);
            if level.iter().all(|byte| *byte == 0) {
                begun += taken.cast_signed();
            }
            input.take(size)?;
            left -= taken;
        } else {
            // Groups of eight. Some writers leave off what is behind the last level.
            let size = usize::try_from(count * bits).unwrap_or(usize::MAX);
            let group = &input.0[..size.min(input.0.len())];
            let there = (group.len() as u64 * 8)
                .checked_div(bits)
                .unwrap_or_default();
            let taken = (count * 8).min(left).min(there);
            begun += (0..taken)
                .filter(|at| is_zero(group, at * bits, bits))
                .count() as i64;
            let length = group.len();
            input.take(length)?;
            left -= taken;
        }
    }
    Ok(begun)
}

/// Whether so many bits from this one on are 0. The least significant bit of a byte is its first.
fn is_zero(bytes: &[u8], first: u64, bits: u64) -> bool {
    (first..first + bits).all(|bit| bytes[(bit / 8) as usize] >> (bit % 8) & 1 == 0)
}

fn too_few(left: u64) -> Error {
    Error::corrupt("a page has fewer repetition levels than values").with("missing", left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn runs_and_groups_are_counted() {
        // Five times 0, then three times 1.
        let runs = [10, 0, 6, 1];
        assert_eq!(rows_begun(&runs, 1, 8).unwrap(), 5);
        assert_eq!(rows_begun(&runs, 1, 3).unwrap(), 3);
        // 0, 1, 1, 0, 1, 1, 1, 1 and 0, 0 of the group after it.
        let groups = [5, 0b1111_0110, 0b1111_1100];
        assert_eq!(rows_begun(&groups, 1, 10).unwrap(), 4);
        // Two bits each: 0, 1, 2, 3, 0, 0, 0, 0.
        assert_eq!(rows_begun(&[3, 0b1110_0100, 0], 3, 8).unwrap(), 5);
        assert_eq!(rows_begun(&[3, 0b1110_0100, 0], 3, 4).unwrap(), 1);
        // A run of no levels is passed over.
        assert_eq!(rows_begun(&[0, 1, 10, 0], 1, 5).unwrap(), 5);
        assert_eq!(rows_begun(&[], 1, 0).unwrap(), 0);
    }

    #[test]
    fn levels_that_are_too_few_are_refused() {
        let huge = [0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F, 0];
        for (levels, values) in [
            (&[][..], 1),
            (&[10], 1),
            (&[10, 0], 6),
            (&[5, 0xFF, 0xFF], 17),
            // The second group is cut off, and a level of the first is asked for only.
            (&[5, 0xFF], 9),
            (&huge, 1),
        ] {
            let error = rows_begun(levels, 1, values).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt);
        }
        assert_eq!(rows_begun(&[5, 0xFE], 1, 8).unwrap(), 1);
    }
}
