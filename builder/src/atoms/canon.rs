//! A module as the payload carries it: what does not matter left out, what must be
//! captured exported.
//!
//! The canonical form has the sections of the standard in its order; of exports the
//! ABI's, by name, and `__atoll_g0`, `__atoll_g1` … for the mutable globals; tables
//! that cannot grow; and one custom section, the declaration of its files, because
//! two modules that differ in nothing else must not be one. It is its own canonical
//! form.

use atoll_config::atom::{FILES_SECTION, FileKind, WASM_PAGE};
use wasm_encoder::reencode::{Reencode, RoundtripReencoder};
use wasm_encoder::{
    CodeSection, CustomSection, DataSection, ElementSection, ExportKind, ExportSection,
    FunctionSection, GlobalSection, ImportSection, MemorySection, Module, TableSection,
    TypeSection,
};
use wasmparser::{ExternalKind, Parser, Payload};

use super::abi;
use super::check::{self, Facts};
use super::refusal::Refusal;

/// A module that was taken, in canonical form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canonical {
    /// The binary.
    pub wasm: Vec<u8>,
    /// The files that it declares.
    pub files: Vec<(String, FileKind)>,
    /// Bytes of memory that it has at its start.
    pub memory: u64,
    /// How many mutable globals it has: exported as `__atoll_g0` and on.
    pub globals: usize,
}

/// Bytes of memory that a canonical module has at its start; 0 for anything else.
pub fn memory_at_start(wasm: &[u8]) -> u64 {
    let memory = |payload| match payload {
        Ok(Payload::MemorySection(memories)) => memories.into_iter().next()?.ok(),
        _ => None,
    };
    let first = Parser::new(0).parse_all(wasm).find_map(memory);
    first.map_or(0, |m| m.initial.saturating_mul(WASM_PAGE))
}

/// Checks a module and brings it into canonical form. `name` is for messages.
pub fn canonical(name: &str, wasm: &[u8]) -> Result<Canonical, Refusal> {
    let named = |refusal: Refusal| Refusal { module: name.to_owned(), ..refusal };
    let facts = check::check(wasm).map_err(named)?;
    let out = rewrite(wasm, &facts).map_err(|why| {
        named(Refusal::new(
            format!("it cannot be rewritten: {why}"),
            "this is a mistake of the builder's; please report it with the module",
        ))
    })?;
    Ok(Canonical {
        wasm: out,
        files: facts.files,
        memory: facts.memory,
        globals: facts.mutable.len(),
    })
}

fn rewrite(wasm: &[u8], facts: &Facts) -> Result<Vec<u8>, String> {
    let mut out = Module::new();
    let mut r = RoundtripReencoder;
    let text = |e: wasm_encoder::reencode::Error| e.to_string();
    // Bodies come one by one, in the order of their functions.
    let mut code = CodeSection::new();
    let mut bodies = 0;
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.map_err(|e| e.to_string())? {
            Payload::TypeSection(s) => {
                let mut types = TypeSection::new();
                r.parse_type_section(&mut types, s).map_err(text)?;
                out.section(&types);
            }
            Payload::ImportSection(s) => {
                let mut imports = ImportSection::new();
                r.parse_import_section(&mut imports, s).map_err(text)?;
                out.section(&imports);
            }
            Payload::FunctionSection(s) => {
                let mut functions = FunctionSection::new();
                r.parse_function_section(&mut functions, s).map_err(text)?;
                out.section(&functions);
            }
            Payload::TableSection(s) => {
                let mut tables = TableSection::new();
                for table in s {
                    let mut ty =
                        r.table_type(table.map_err(|e| e.to_string())?.ty).map_err(text)?;
                    ty.maximum = Some(ty.minimum);
                    tables.table(ty);
                }
                out.section(&tables);
            }
            Payload::MemorySection(s) => {
                let mut memories = MemorySection::new();
                r.parse_memory_section(&mut memories, s).map_err(text)?;
                out.section(&memories);
            }
            Payload::GlobalSection(s) => {
                let mut globals = GlobalSection::new();
                r.parse_global_section(&mut globals, s).map_err(text)?;
                out.section(&globals);
            }
            Payload::ExportSection(_) => {
                out.section(&exports(facts));
            }
            Payload::ElementSection(s) => {
                let mut elements = ElementSection::new();
                r.parse_element_section(&mut elements, s).map_err(text)?;
                out.section(&elements);
            }
            Payload::CodeSectionStart { count, .. } => bodies = count,
            Payload::CodeSectionEntry(body) => {
                r.parse_function_body(&mut code, body).map_err(text)?;
                if code.len() == bodies {
                    out.section(&code);
                }
            }
            Payload::DataSection(s) => {
                let mut data = DataSection::new();
                r.parse_data_section(&mut data, s).map_err(text)?;
                out.section(&data);
            }
            // Names, debug information and who made it do not run; nothing may name
            // a segment, so their count is not needed either.
            _ => {}
        }
    }
    if !facts.declared.is_empty() {
        let data = facts.declared.as_bytes().into();
        out.section(&CustomSection { name: FILES_SECTION.into(), data });
    }
    Ok(out.finish())
}

fn exports(facts: &Facts) -> ExportSection {
    let mut out = ExportSection::new();
    for (name, (kind, index)) in &facts.exports {
        let kind = match kind {
            ExternalKind::Memory => ExportKind::Memory,
            _ => ExportKind::Func,
        };
        out.export(name, kind, *index);
    }
    for (i, global) in facts.mutable.iter().enumerate() {
        out.export(&format!("{}g{i}", abi::OWN), ExportKind::Global, *global);
    }
    out
}
