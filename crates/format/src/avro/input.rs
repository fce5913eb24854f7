//! Values in Avro's binary encoding, taken one after the other (Avro specification, "Binary Encoding").

use super::shape::{Form, Shape};
use crate::{Error, Result};

/// What is left of a file or of a block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Input<'a>(pub(super) &'a [u8]);

impl<'a> Input<'a> {
    /// How many bytes are left.
    pub(crate) fn left(&self) -> usize {
        self.0.len()
    }

    /// As many bytes as they are.
    #[inline]
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self
            .0
            .split_at_checked(count)
            .ok_or_else(|| Error::corrupt("the Avro file is cut short"))?;
        self.0 = rest;
        Ok(taken)
    }

    /// An array of as many bytes.
    #[inline]
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (taken, rest) = self
            .0
            .split_first_chunk()
            .ok_or_else(|| Error::corrupt("the Avro file is cut short"))?;
        self.0 = rest;
        Ok(*taken)
    }

    /// A number in zigzag coding and of variable length.
    #[inline]
    pub(crate) fn long(&mut self) -> Result<i64> {
        let mut bits = 0u64;
        for shift in (0..u64::BITS).step_by(7) {
            let [byte] = self.array()?;
            bits |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Ok((bits >> 1).cast_signed() ^ -(bits & 1).cast_signed());
            }
        }
        Err(Error::corrupt("a number in the Avro file has no end"))
    }

    /// A length and as many bytes.
    #[inline]
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8]> {
        let length = self.long()?;
        let fits = usize::try_from(length).map_err(|_| impossible("length", length))?;
        self.take(fits).map_err(|_| impossible("length", length))
    }

    /// A count of things of one byte or more that follow.
    pub(crate) fn fitting(&self, count: i64) -> Result<usize> {
        let fits = usize::try_from(count).ok();
        fits.filter(|count| *count <= self.left())
            .ok_or_else(|| impossible("count", count))
    }

    /// The items of an array or a map, which come in blocks.
    pub(crate) fn items(&mut self, mut each: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        loop {
            let mut count = self.long()?;
            if count == 0 {
                return Ok(());
            }
            if count < 0 {
                // The block's size in bytes follows, for those who skip it.
                self.long()?;
                count = count
                    .checked_neg()
                    .ok_or_else(|| impossible("count", count))?;
            }
            for _ in 0..self.fitting(count)? {
                each(self)?;
            }
        }
    }

    /// The type that a value of a union has; the type itself where it is no union.
    #[inline]
    pub(crate) fn variant<'s>(&mut self, shape: &'s Shape) -> Result<&'s Shape> {
        let Form::Union(variants) = &shape.form else {
            return Ok(shape);
        };
        let index = self.long()?;
        let variant = usize::try_from(index).ok().and_then(|at| variants.get(at));
        let variant = variant.ok_or_else(|| {
            Error::corrupt("a value in the Avro file is of no type that its schema has")
                .with("type", index)
        })?;
        Ok(variant)
    }

    /// A value that nobody wants.
    pub(crate) fn skip(&mut self, shape: &Shape) -> Result<()> {
        match &shape.form {
            Form::Null => Ok(()),
            Form::Boolean => self.take(1).map(drop),
            Form::Float => self.take(4).map(drop),
            Form::Double => self.take(8).map(drop),
            Form::Fixed(count) => self.take(*count).map(drop),
            Form::Int | Form::Long | Form::Enum => self.long().map(drop),
            Form::Bytes | Form::String => self.bytes().map(drop),
            Form::Array(item) => self.items(|input| input.skip(item)),
            Form::Map(value) => self.items(|input| {
                input.bytes()?;
                input.skip(value)
            }),
            Form::Union(_) => {
                let variant = self.variant(shape)?;
                self.skip(variant)
            }
            Form::Record(fields) => fields.iter().try_for_each(|field| self.skip(&field.shape)),
        }
    }
}

pub(super) fn impossible(what: &'static str, found: i64) -> Error {
    Error::corrupt(format!(
        "a {what} in the Avro file is impossible: the bytes behind it are fewer, or it is negative"
    ))
    .with(what, found)
}
