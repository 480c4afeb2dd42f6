//! Tables and segments that an instance can be made with, wherever it is made: a module
//! that would trap before its first event, every time, is refused when it is built.

use wasmparser::{ConstExpr, DataKind, ElementItems, ElementKind, Operator, Payload};

use super::check::invalid;
use super::refusal::Refusal;

/// The most tables.
const MAX_TABLES: usize = 4;
/// The most elements of a table.
const MAX_ELEMENTS: u64 = 1 << 16;

/// What was seen of a module so far.
#[derive(Default)]
pub(super) struct Segments {
    /// Elements of each table.
    tables: Vec<u64>,
    /// Bytes of memory at the start.
    pub(super) memory: u64,
}

impl Segments {
    /// Looks at a section; memory and tables come before what is put into them.
    pub(super) fn payload(&mut self, payload: &Payload<'_>) -> Result<(), Refusal> {
        match payload {
            Payload::TableSection(tables) => {
                for table in tables.clone().into_iter_with_offsets() {
                    let (offset, table) = table.map_err(|e| invalid(&e))?;
                    self.table(table.ty.initial).map_err(|r| r.at(offset))?;
                }
            }
            Payload::ElementSection(elements) => {
                for element in elements.clone().into_iter_with_offsets() {
                    let (offset, element) = element.map_err(|e| invalid(&e))?;
                    let ElementKind::Active { table_index, offset_expr } = element.kind else {
                        continue;
                    };
                    let count = match element.items {
                        ElementItems::Functions(items) => items.count(),
                        ElementItems::Expressions(_, items) => items.count(),
                    };
                    let size = self.tables.get(table_index.unwrap_or(0) as usize);
                    let size = size.copied().unwrap_or(0);
                    fits("elements", &offset_expr, u64::from(count), size)
                        .map_err(|r| r.at(offset))?;
                }
            }
            Payload::DataSection(data) => {
                for data in data.clone().into_iter_with_offsets() {
                    let (offset, data) = data.map_err(|e| invalid(&e))?;
                    let DataKind::Active { offset_expr, .. } = data.kind else { continue };
                    fits("data", &offset_expr, data.data.len() as u64, self.memory)
                        .map_err(|r| r.at(offset))?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn table(&mut self, elements: u64) -> Result<(), Refusal> {
        if self.tables.len() == MAX_TABLES {
            let what = format!("it has more than {MAX_TABLES} tables");
            return Err(Refusal::new(what, "keep functions in one table"));
        }
        if elements > MAX_ELEMENTS {
            let what = format!("its table of {elements} elements is too large");
            return Err(Refusal::new(what, format!("at most {MAX_ELEMENTS} are possible")));
        }
        self.tables.push(elements);
        Ok(())
    }
}

/// Whether so much lies inside of `size`, from where the expression says.
fn fits(what: &str, from: &ConstExpr<'_>, count: u64, size: u64) -> Result<(), Refusal> {
    let first = from.get_operators_reader().into_iter().next().and_then(Result::ok);
    let Some(Operator::I32Const { value }) = first else {
        let what = format!("a segment of {what} begins where a global says");
        return Err(Refusal::new(what, "say it as a number"));
    };
    let from = u64::from(value.cast_unsigned());
    if from + count > size {
        let what = format!("{what} at {from} to {} do not fit into {size}", from + count);
        return Err(Refusal::new(what, "no instance of it could be made; make room for them"));
    }
    Ok(())
}
