//! What the fields of Parquet's structs are, by their ids (`parquet.thrift`). Fields that are not here are
//! known to no decoder, and passed over as what they say they are.

use super::{Input, Type};
use crate::Result;

/// The fields of a struct.
pub(in crate::read) struct Fields(&'static [(i64, Kind)]);

/// What a field is.
enum Kind {
    Flag,
    Byte,
    Number,
    Double,
    Binary,
    Struct(&'static Fields),
    List(&'static Kind),
}

use Kind::{Binary, Byte, Double, Flag, List, Number, Struct};

impl Fields {
    /// Goes over a field of such a struct.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) if it, or what is in it, is of another type than it must be.
    pub(in crate::read) fn pass(
        &self,
        input: &mut Input<'_>,
        id: i64,
        ty: Type,
        depth: usize,
    ) -> Result<()> {
        match self.0.iter().find(|(own, _)| *own == id) {
            Some((_, kind)) => kind.pass(input, ty, depth),
            None => input.skip(ty, depth),
        }
        .map_err(|error| error.with("field", id))
    }
}

impl Kind {
    fn ty(&self) -> Type {
        match self {
            Flag => Type::Flag,
            Byte => Type::Byte,
            Number => Type::Number,
            Double => Type::Double,
            Binary => Type::Binary,
            Struct(_) => Type::Struct,
            List(_) => Type::List,
        }
    }

    fn pass(&self, input: &mut Input<'_>, ty: Type, depth: usize) -> Result<()> {
        ty.must_be(self.ty())?;
        match self {
            Struct(fields) => {
                input.fields(depth, |input, id, ty| fields.pass(input, id, ty, depth + 1))
            }
            List(kind) => {
                let count = input.list_of(kind.ty())?;
                (0..count).try_for_each(|_| kind.pass(input, kind.ty(), depth + 1))
            }
            Flag | Byte | Number | Double | Binary => input.skip(ty, depth),
        }
    }
}

/// The schema is walked by whoever looks at its shape.
pub(in crate::read) const FILE_METADATA: Fields = Fields(&[
    (1, Number),
    (2, List(&Struct(&SCHEMA_ELEMENT))),
    (3, Number),
    (4, List(&Struct(&ROW_GROUP))),
    (5, List(&Struct(&KEY_VALUE))),
    (6, Binary),
    (7, List(&Struct(&UNION))),
    (8, Struct(&UNION)),
    (9, Binary),
]);

pub(in crate::read) const SCHEMA_ELEMENT: Fields = Fields(&[
    (1, Number),
    (2, Number),
    (3, Number),
    (4, Binary),
    (5, Number),
    (6, Number),
    (7, Number),
    (8, Number),
    (9, Number),
    (10, Struct(&LOGICAL_TYPE)),
]);

const LOGICAL_TYPE: Fields = Fields(&[
    (1, Struct(&NOTHING)),
    (2, Struct(&NOTHING)),
    (3, Struct(&NOTHING)),
    (4, Struct(&NOTHING)),
    // Decimal: scale and precision.
    (5, Struct(&Fields(&[(1, Number), (2, Number)]))),
    (6, Struct(&NOTHING)),
    (7, Struct(&TIME)),
    (8, Struct(&TIME)),
    // Integer: width and sign.
    (10, Struct(&Fields(&[(1, Byte), (2, Flag)]))),
    (11, Struct(&NOTHING)),
    (12, Struct(&NOTHING)),
    (13, Struct(&NOTHING)),
    (14, Struct(&NOTHING)),
    (15, Struct(&NOTHING)),
    // Variant: its version.
    (16, Struct(&Fields(&[(1, Byte)]))),
    // Geometry and geography: the reference system, and how edges are drawn.
    (17, Struct(&Fields(&[(1, Binary)]))),
    (18, Struct(&Fields(&[(1, Binary), (2, Number)]))),
]);

/// Whether it is in UTC, and the unit.
const TIME: Fields = Fields(&[(1, Flag), (2, Struct(&UNION))]);

/// One of several structs without fields.
const UNION: Fields = Fields(&[
    (1, Struct(&NOTHING)),
    (2, Struct(&NOTHING)),
    (3, Struct(&NOTHING)),
]);

const NOTHING: Fields = Fields(&[]);

const KEY_VALUE: Fields = Fields(&[(1, Binary), (2, Binary)]);

const ROW_GROUP: Fields = Fields(&[
    (1, List(&Struct(&COLUMN_CHUNK))),
    (2, Number),
    (3, Number),
    // What it is sorted by: column, whether falling, whether NULLs are first.
    (
        4,
        List(&Struct(&Fields(&[(1, Number), (2, Flag), (3, Flag)]))),
    ),
    (5, Number),
    (6, Number),
    (7, Number),
]);

const COLUMN_CHUNK: Fields = Fields(&[
    (1, Binary),
    (2, Number),
    (3, Struct(&COLUMN_METADATA)),
    (4, Number),
    (5, Number),
    (6, Number),
    (7, Number),
    (8, Struct(&NOTHING)),
    (9, Binary),
]);

const COLUMN_METADATA: Fields = Fields(&[
    (1, Number),
    (2, List(&Number)),
    (3, List(&Binary)),
    (4, Number),
    (5, Number),
    (6, Number),
    (7, Number),
    (8, List(&Struct(&KEY_VALUE))),
    (9, Number),
    (10, Number),
    (11, Number),
    (12, Struct(&STATISTICS)),
    // How many pages have which encoding.
    (
        13,
        List(&Struct(&Fields(&[(1, Number), (2, Number), (3, Number)]))),
    ),
    (14, Number),
    (15, Number),
    // The size of texts, and how many values have which levels.
    (
        16,
        Struct(&Fields(&[
            (1, Number),
            (2, List(&Number)),
            (3, List(&Number)),
        ])),
    ),
    // The box of geometries, and of what kinds they are.
    (
        17,
        Struct(&Fields(&[(1, Struct(&BOX)), (2, List(&Number))])),
    ),
]);

const BOX: Fields = Fields(&[
    (1, Double),
    (2, Double),
    (3, Double),
    (4, Double),
    (5, Double),
    (6, Double),
    (7, Double),
    (8, Double),
]);

const STATISTICS: Fields = Fields(&[
    (1, Binary),
    (2, Binary),
    (3, Number),
    (4, Number),
    (5, Binary),
    (6, Binary),
    (7, Flag),
    (8, Flag),
]);

pub(in crate::read) const PAGE_HEADER: Fields = Fields(&[
    (1, Number),
    (2, Number),
    (3, Number),
    (4, Number),
    (5, Struct(&DATA_PAGE)),
    (6, Struct(&NOTHING)),
    (7, Struct(&DICTIONARY_PAGE)),
    (8, Struct(&DATA_PAGE_V2)),
]);

pub(in crate::read) const DATA_PAGE: Fields = Fields(&[
    (1, Number),
    (2, Number),
    (3, Number),
    (4, Number),
    (5, Struct(&STATISTICS)),
]);

pub(in crate::read) const DICTIONARY_PAGE: Fields = Fields(&[(1, Number), (2, Number), (3, Flag)]);

pub(in crate::read) const DATA_PAGE_V2: Fields = Fields(&[
    (1, Number),
    (2, Number),
    (3, Number),
    (4, Number),
    (5, Number),
    (6, Number),
    (7, Flag),
    (8, Struct(&STATISTICS)),
]);

/// Lists of truth values, and the column's minimums and maximums, are walked by whoever counts them.
pub(in crate::read) const COLUMN_INDEX: Fields = Fields(&[
    (4, Number),
    (5, List(&Number)),
    (6, List(&Number)),
    (7, List(&Number)),
]);

/// The locations of pages are walked by whoever wants them.
pub(in crate::read) const OFFSET_INDEX: Fields = Fields(&[(2, List(&Number))]);

pub(in crate::read) const PAGE_LOCATION: Fields = Fields(&[(1, Number), (2, Number), (3, Number)]);
