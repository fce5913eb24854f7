//! Thrift's compact protocol, as far as it must be known to walk over it, and Parquet's structs in it.
//! Nothing is kept of what is read, so whatever a file claims costs no memory.

mod structs;
#[cfg(test)]
pub(super) mod written;

use crate::{Error, Result};

pub(super) use structs::{
    COLUMN_INDEX, DATA_PAGE, DATA_PAGE_V2, DICTIONARY_PAGE, FILE_METADATA, OFFSET_INDEX,
    PAGE_HEADER, PAGE_LOCATION, SCHEMA_ELEMENT,
};

/// Structs and lists in each other. Parquet's own have less than ten.
const GREATEST_DEPTH: usize = 32;

/// The type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    /// A truth value in the head of its field.
    Flag,
    /// A truth value in a list or a map.
    Bool,
    Byte,
    Number,
    Double,
    Binary,
    List,
    Map,
    Struct,
    Uuid,
}

impl Type {
    fn of(code: u8) -> Result<Self> {
        Ok(match code {
            1 | 2 => Self::Bool,
            3 => Self::Byte,
            4..=6 => Self::Number,
            7 => Self::Double,
            8 => Self::Binary,
            9 | 10 => Self::List,
            11 => Self::Map,
            12 => Self::Struct,
            13 => Self::Uuid,
            _ => {
                return Err(Error::corrupt("a value is of no type").with("type", code));
            }
        })
    }

    /// Refuses a field of another type than Parquet has it. The decoder takes known fields for what they
    /// must be, whatever they say, and reads something else from there on than what was walked over.
    pub(super) fn must_be(self, wanted: Self) -> Result<()> {
        match self == wanted {
            true => Ok(()),
            false => Err(Error::corrupt("a field is of another type than it must be")
                .with("type", format!("{self:?}"))
                .with("expected", format!("{wanted:?}"))),
        }
    }
}

/// What is left of the bytes.
pub(super) struct Input<'a>(pub(super) &'a [u8]);

impl Input<'_> {
    pub(super) fn take(&mut self, count: usize) -> Result<()> {
        self.0 = self.0.get(count..).ok_or_else(cut)?;
        Ok(())
    }

    fn byte(&mut self) -> Result<u8> {
        let (byte, rest) = self.0.split_first().ok_or_else(cut)?;
        self.0 = rest;
        Ok(*byte)
    }

    pub(super) fn unsigned(&mut self) -> Result<u64> {
        let mut bits = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            bits |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Ok(bits);
            }
        }
        Err(Error::corrupt("a number has no end"))
    }

    pub(super) fn number(&mut self) -> Result<i64> {
        let bits = self.unsigned()?;
        Ok((bits >> 1).cast_signed() ^ -(bits & 1).cast_signed())
    }

    /// A count of things of one byte or more that follow.
    fn count(&mut self) -> Result<usize> {
        let count = self.unsigned()?;
        let fits = usize::try_from(count).ok();
        fits.filter(|count| *count <= self.0.len()).ok_or_else(|| {
            Error::corrupt("a count is impossible: the bytes behind it are fewer")
                .with("count", count)
        })
    }

    /// The fields of a struct: their ids, which have 16 bits, and their types, each to be read.
    pub(super) fn fields(
        &mut self,
        depth: usize,
        mut each: impl FnMut(&mut Self, i64, Type) -> Result<()>,
    ) -> Result<()> {
        if depth > GREATEST_DEPTH {
            return Err(Error::corrupt("structs are too deep in each other"));
        }
        let mut id = 0i64;
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Ok(());
            }
            id = match head >> 4 {
                0 => self.number()?,
                delta => id + i64::from(delta),
            };
            if i16::try_from(id).is_err() {
                return Err(Error::corrupt("a field has an impossible id").with("id", id));
            }
            let ty = match head & 0x0F {
                1 | 2 => Type::Flag,
                code => Type::of(code)?,
            };
            each(self, id, ty)?;
        }
    }

    /// The number of elements of a list, which must be of this type.
    pub(super) fn list_of(&mut self, wanted: Type) -> Result<usize> {
        let (ty, count) = self.list()?;
        if count > 0 {
            ty.must_be(wanted)?;
        }
        Ok(count)
    }

    /// The type and the number of a list's elements.
    pub(super) fn list(&mut self) -> Result<(Type, usize)> {
        let head = self.byte()?;
        // Some writers give no type to an empty list.
        if head == 0 {
            return Ok((Type::Byte, 0));
        }
        let ty = Type::of(head & 0x0F)?;
        let count = match usize::from(head >> 4) {
            15 => self.count()?,
            count if count <= self.0.len() => count,
            _ => return Err(cut()),
        };
        Ok((ty, count))
    }

    /// A field's value.
    pub(super) fn skip(&mut self, ty: Type, depth: usize) -> Result<()> {
        match ty {
            Type::Flag => Ok(()),
            Type::Bool | Type::Byte => self.take(1),
            Type::Number => self.unsigned().map(drop),
            Type::Double => self.take(8),
            Type::Uuid => self.take(16),
            Type::Binary => {
                let length = self.count()?;
                self.take(length)
            }
            Type::Struct => self.fields(depth, |input, _, ty| input.skip(ty, depth + 1)),
            Type::List => {
                let (ty, count) = self.list()?;
                // The decoder believes that they take no bytes.
                if ty == Type::Bool && count > 0 {
                    return Err(Error::corrupt(
                        "a list of truth values, which nothing of Parquet is here",
                    ));
                }
                (0..count).try_for_each(|_| self.element(ty, depth + 1))
            }
            Type::Map => {
                let count = self.count()?;
                if count == 0 {
                    return Ok(());
                }
                let types = self.byte()?;
                let (key, value) = (Type::of(types >> 4)?, Type::of(types & 0x0F)?);
                (0..count).try_for_each(|_| {
                    self.element(key, depth + 1)?;
                    self.element(value, depth + 1)
                })
            }
        }
    }

    pub(super) fn element(&mut self, ty: Type, depth: usize) -> Result<()> {
        if depth > GREATEST_DEPTH {
            return Err(Error::corrupt("structs are too deep in each other"));
        }
        self.skip(ty, depth)
    }
}

fn cut() -> Error {
    Error::corrupt("a struct is cut short")
}
