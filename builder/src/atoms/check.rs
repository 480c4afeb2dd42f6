//! Which modules can be atoms: valid, of our ABI, deterministic, and with no state that
//! a capture between two events would miss.
//!
//! A capture holds a module's memory and its mutable globals. So whatever else could
//! change at run time is refused: tables and segments. Between two machines the same
//! events must give the same state, so threads and relaxed SIMD are refused; floats
//! are taken, though the bits of a NaN may differ between processors of different
//! kinds (`atom/ABI.md`, section 10).

use std::collections::BTreeMap;

use atoll_config::atom::{self, FileKind};
use atoll_config::text::suggestion;
use wasmparser::{
    CompositeInnerType, ExternalKind, FuncType, FunctionBody, KnownCustom, Name, Operator, Parser,
    Payload, TypeRef, ValType, Validator, WasmFeatures,
};

use super::abi;
use super::refusal::Refusal;
use super::segments::Segments;

/// The most bytes of a module that is read.
pub const MAX_WASM: usize = 16 << 20;
/// The most mutable globals.
pub(super) const MAX_GLOBALS: usize = 1024;

/// What a module may use: WebAssembly 2.0, without references to the host's objects.
pub const FEATURES: WasmFeatures = WasmFeatures::WASM2.difference(WasmFeatures::GC_TYPES);

/// What is known of a module that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// The files that it declares.
    pub(super) files: Vec<(String, FileKind)>,
    /// The text of that declaration.
    pub(super) declared: String,
    /// The mutable globals, by index.
    pub(super) mutable: Vec<u32>,
    /// The exports that the ABI knows: name, kind and index.
    pub(super) exports: BTreeMap<&'static str, (ExternalKind, u32)>,
    /// Bytes of memory at the start.
    pub(super) memory: u64,
}

/// Checks a module.
pub(super) fn check(wasm: &[u8]) -> Result<Facts, Refusal> {
    if wasm.len() > MAX_WASM {
        let what = format!("{} bytes are too many for a module", wasm.len());
        return Err(Refusal::new(
            what,
            format!("at most {MAX_WASM} are possible; leave something out"),
        ));
    }
    if !wasm.starts_with(b"\0asm") {
        return Err(Refusal::new(
            "it is no Wasm: it does not begin with \\0asm",
            "name a binary module (.wasm), a text (.wat), a .c file, or a Rust package's folder",
        )
        .at(0));
    }
    let mut module = Module::default();
    let outcome = module.validate(wasm).and_then(|()| module.read(wasm));
    outcome.map_err(|refusal| module.place(refusal))
}

/// What is collected on the way.
#[derive(Default)]
struct Module<'a> {
    types: Vec<FuncType>,
    /// The type of each function, imported ones first.
    functions: Vec<u32>,
    imported: usize,
    bodies: Vec<FunctionBody<'a>>,
    names: BTreeMap<u32, &'a str>,
    declared: String,
    segments: Segments,
    mutable: Vec<u32>,
    exports: Vec<(&'a str, ExternalKind, u32)>,
}

/// The proposals that people meet, what they are called, and what to do.
const PROPOSALS: [(WasmFeatures, &str, &str); 9] = [
    (WasmFeatures::THREADS, "threads", "compile without `atomics` and with one thread"),
    (
        WasmFeatures::RELAXED_SIMD,
        "relaxed SIMD, whose results differ between machines",
        "compile without `relaxed-simd`",
    ),
    (WasmFeatures::EXCEPTIONS, "exceptions", "compile without exceptions (`panic = \"abort\"`)"),
    (
        WasmFeatures::LEGACY_EXCEPTIONS,
        "exceptions",
        "compile without exceptions (`panic = \"abort\"`)",
    ),
    (WasmFeatures::MEMORY64, "a memory of 64 bits", "compile for wasm32"),
    (WasmFeatures::MULTI_MEMORY, "several memories", "keep to one memory"),
    (WasmFeatures::TAIL_CALL, "tail calls", "compile without `tail-call`"),
    (WasmFeatures::GC, "garbage collection", "compile to linear memory"),
    (WasmFeatures::GC_TYPES, "references to objects of the host", "use numbers instead"),
];

pub(super) fn invalid(e: &wasmparser::Error) -> Refusal {
    // Several memories are the one such mistake that does not name its proposal.
    let missing = match e.message() {
        "multiple memories" => WasmFeatures::MULTI_MEMORY,
        _ => e.missing_wasm_feature().unwrap_or(WasmFeatures::empty()),
    };
    let known = PROPOSALS.iter().find(|(f, ..)| missing.contains(*f));
    let refusal = match known {
        Some((_, what, help)) => Refusal::new(format!("it uses {what} ({})", e.message()), *help),
        None if !missing.is_empty() => Refusal::new(
            e.message(),
            "an atom is WebAssembly 2.0; compile it for that (Rust: no extra target features)",
        ),
        None => Refusal::new(
            format!("it is not valid: {}", e.message()),
            "compile it again; if that does not help, the tool that made it is at fault",
        ),
    };
    refusal.at(e.offset())
}

impl<'a> Module<'a> {
    /// First of all the names, for messages; then whether it is valid.
    fn validate(&mut self, wasm: &'a [u8]) -> Result<(), Refusal> {
        for payload in Parser::new(0).parse_all(wasm) {
            match payload {
                Ok(Payload::CustomSection(s)) => {
                    if let KnownCustom::Name(names) = s.as_known() {
                        self.name(names);
                    }
                }
                Ok(Payload::CodeSectionEntry(body)) => self.bodies.push(body),
                Ok(Payload::ImportSection(imports)) => {
                    let functions = imports.into_imports().flatten();
                    self.imported = functions.filter(|i| matches!(i.ty, TypeRef::Func(_))).count();
                }
                Ok(Payload::ModuleSection { .. } | Payload::ComponentSection { .. }) | Err(_) => {
                    break;
                }
                Ok(_) => {}
            }
        }
        Validator::new_with_features(FEATURES).validate_all(wasm).map_err(|e| invalid(&e))?;
        Ok(())
    }

    fn name(&mut self, names: wasmparser::NameSectionReader<'a>) {
        for name in names.into_iter().flatten() {
            if let Name::Function(map) = name {
                self.names.extend(map.into_iter().flatten().map(|n| (n.index, n.name)));
            }
        }
    }

    /// Says in which function the byte is, and how people call that.
    fn place(&self, mut refusal: Refusal) -> Refusal {
        let Some(offset) = refusal.offset.filter(|_| refusal.function.is_none()) else {
            return refusal;
        };
        let body = self.bodies.iter().position(|b| b.range().contains(&offset));
        refusal.function = body.map(|i| self.call(self.imported + i));
        refusal
    }

    fn call(&self, index: usize) -> String {
        let name = u32::try_from(index).ok().and_then(|i| self.names.get(&i));
        match name {
            Some(name) => format!("{index} ({})", crate::sizes::readable(name)),
            None => index.to_string(),
        }
    }

    fn read(&mut self, wasm: &'a [u8]) -> Result<Facts, Refusal> {
        for payload in Parser::new(0).parse_all(wasm) {
            self.payload(payload.map_err(|e| invalid(&e))?)?;
        }
        for body in &self.bodies {
            operators(body)?;
        }
        let exports = self.abi()?;
        let files = atom::files(&self.declared).map_err(|why| {
            Refusal::new(
                format!("section {}: {why}", atom::FILES_SECTION),
                "correct the declaration of its files (atom/ABI.md, section 2)",
            )
        })?;
        Ok(Facts {
            files: files.iter().map(|f| (f.name.to_owned(), f.kind)).collect(),
            declared: self.declared.clone(),
            mutable: self.mutable.clone(),
            exports,
            memory: self.segments.memory,
        })
    }

    fn payload(&mut self, payload: Payload<'a>) -> Result<(), Refusal> {
        self.segments.payload(&payload)?;
        let bad = |e: wasmparser::Error| invalid(&e);
        match payload {
            Payload::TypeSection(types) => {
                for group in types {
                    for sub in group.map_err(bad)?.into_types() {
                        if let CompositeInnerType::Func(f) = sub.composite_type.inner {
                            self.types.push(f);
                        }
                    }
                }
            }
            Payload::ImportSection(imports) => {
                for import in imports.into_imports_with_offsets() {
                    let (offset, import) = import.map_err(bad)?;
                    self.import(&import).map_err(|r| r.at(offset))?;
                }
            }
            Payload::FunctionSection(functions) => {
                for ty in functions {
                    self.functions.push(ty.map_err(bad)?);
                }
            }
            Payload::MemorySection(memories) => {
                for memory in memories {
                    let initial = memory.map_err(bad)?.initial;
                    self.segments.memory = initial.saturating_mul(atom::WASM_PAGE);
                }
            }
            Payload::GlobalSection(globals) => {
                for (i, global) in globals.into_iter_with_offsets().enumerate() {
                    let (offset, global) = global.map_err(bad)?;
                    self.global(i as u32, global.ty).map_err(|r| r.at(offset))?;
                }
            }
            Payload::ExportSection(exports) => {
                for export in exports {
                    let e = export.map_err(bad)?;
                    self.exports.push((e.name, e.kind, e.index));
                }
            }
            Payload::StartSection { func, range } => {
                let what = format!("it has a start function, {}", self.call(func as usize));
                let help = "export it as `_initialize` instead; it is then called once, before the first event";
                return Err(Refusal::new(what, help).at(range.start));
            }
            Payload::CustomSection(s) if s.name() == atom::FILES_SECTION => {
                let text = core::str::from_utf8(s.data()).map_err(|_| {
                    Refusal::new(
                        format!("section {} is not UTF-8", atom::FILES_SECTION),
                        "declare files as text (atom/ABI.md, section 2)",
                    )
                    .at(s.data_offset())
                })?;
                self.declared.push_str(text);
            }
            _ => {}
        }
        Ok(())
    }

    fn import(&mut self, import: &wasmparser::Import<'_>) -> Result<(), Refusal> {
        let wanted = format!("`{}::{}`", import.module, import.name);
        let TypeRef::Func(ty) = import.ty else {
            let what = match import.ty {
                TypeRef::Memory(_) => "a memory",
                TypeRef::Table(_) => "a table",
                TypeRef::Global(_) => "a global",
                _ => "something that is no function",
            };
            return Err(Refusal::new(
                format!("it imports {what}, {wanted}"),
                "an atom has its own memory, tables and globals: define it (wasm-ld: no --import-memory, --import-table)",
            ));
        };
        self.functions.push(ty);
        if import.module != abi::MODULE {
            let help = match import.module {
                m if m.starts_with("wasi") => {
                    "there is no WASI here: compile for wasm32-unknown-unknown and leave out files, clocks and printing"
                }
                _ => "see atom/ABI.md, section 6, for what there is",
            };
            let what = format!("it imports {wanted}, but only module `atoll` is there");
            return Err(Refusal::new(what, help));
        }
        let known = abi::IMPORTS.iter().find(|s| s.name == import.name);
        let Some(known) = known else {
            let names = abi::IMPORTS.iter().map(|s| s.name);
            let near = suggestion(import.name, names.clone());
            let help = match near.starts_with("did you mean") {
                true => near,
                false => "see atom/ABI.md, section 6, for what there is".to_owned(),
            };
            return Err(Refusal::new(format!("it imports {wanted}, which is not there"), help));
        };
        let found = self.types.get(ty as usize);
        match found {
            Some(f) if known.fits(f.params(), f.results()) => Ok(()),
            _ => Err(Refusal::new(
                format!("it imports {wanted} as {}", found.map(shown).unwrap_or_default()),
                format!("its type is {}", known.show()),
            )),
        }
    }

    fn global(&mut self, index: u32, ty: wasmparser::GlobalType) -> Result<(), Refusal> {
        if !ty.mutable {
            return Ok(());
        }
        let number =
            matches!(ty.content_type, ValType::I32 | ValType::I64 | ValType::F32 | ValType::F64);
        if !number {
            return Err(Refusal::new(
                format!(
                    "its global {index} is a mutable {}, which cannot be captured",
                    ty.content_type
                ),
                "keep it in memory",
            ));
        }
        if self.mutable.len() == MAX_GLOBALS {
            return Err(Refusal::new(
                format!("it has more than {MAX_GLOBALS} mutable globals"),
                "keep them in memory",
            ));
        }
        self.mutable.push(index);
        Ok(())
    }

    /// The exports that the ABI wants, of their types.
    fn abi(&self) -> Result<BTreeMap<&'static str, (ExternalKind, u32)>, Refusal> {
        let mut out = BTreeMap::new();
        let find = |name: &str| self.exports.iter().find(|(n, ..)| *n == name);
        match find("memory") {
            Some((_, ExternalKind::Memory, i)) => {
                out.insert("memory", (ExternalKind::Memory, *i));
            }
            _ => {
                return Err(Refusal::new(
                    "it exports no memory of the name `memory`",
                    "export it (wasm-ld: --export-memory; WAT: (memory (export \"memory\") 1))",
                ));
            }
        }
        for wanted in abi::NEEDED.iter().chain(&abi::OPTIONAL) {
            let index = match find(wanted.name) {
                Some((_, ExternalKind::Func, index)) => *index,
                Some(_) => {
                    let what = format!("its export `{}` is no function", wanted.name);
                    return Err(Refusal::new(what, format!("it is a function {}", wanted.show())));
                }
                None if abi::OPTIONAL.contains(wanted) => continue,
                None => {
                    let names = self.exports.iter().map(|(n, ..)| *n);
                    let near = suggestion(wanted.name, names);
                    let help = match near.strip_prefix("did you mean ") {
                        Some(near) => format!(
                            "it has {}; export a function `{}` {}",
                            near.trim_end_matches('?'),
                            wanted.name,
                            wanted.show()
                        ),
                        None => format!("export a function `{}` {}", wanted.name, wanted.show()),
                    };
                    return Err(Refusal::new(format!("it exports no `{}`", wanted.name), help));
                }
            };
            let ty = self.functions.get(index as usize).and_then(|t| self.types.get(*t as usize));
            if !ty.is_some_and(|f| wanted.fits(f.params(), f.results())) {
                let found = ty.map(shown).unwrap_or_default();
                let what = format!("its export `{}` is {found}", wanted.name);
                return Err(Refusal::new(what, format!("its type is {}", wanted.show())));
            }
            out.insert(wanted.name, (ExternalKind::Func, index));
        }
        let (_, index) = out["atoll_abi"];
        self.version(index)?;
        Ok(out)
    }

    /// Which ABI it says it is of: its function must do nothing but say so.
    fn version(&self, index: u32) -> Result<(), Refusal> {
        let body = (index as usize).checked_sub(self.imported).and_then(|i| self.bodies.get(i));
        let constant = body.and_then(|body| {
            let mut ops = body.get_operators_reader().ok()?.into_iter().flatten();
            let Operator::I32Const { value } = ops.next()? else { return None };
            ops.all(|op| matches!(op, Operator::Return | Operator::End)).then_some(value)
        });
        let at = body.map_or(0, |b| b.range().start);
        match constant {
            Some(v) if v == i32::from(atom::ABI) => Ok(()),
            Some(v) => Err(Refusal::new(
                format!("it is of ABI {v}, but this builder knows ABI {}", atom::ABI),
                "take the atom and the builder from the same version",
            )
            .at(at)),
            None => Err(Refusal::new(
                "its `atoll_abi` does more than to give a number",
                format!("write it as `return {};` and compile with optimisation", atom::ABI),
            )
            .at(at)),
        }
    }
}

fn shown(f: &FuncType) -> String {
    abi::show(f.params(), f.results())
}

/// Instructions that change what a capture does not hold.
fn operators(body: &FunctionBody<'_>) -> Result<(), Refusal> {
    let reader = body.get_operators_reader().map_err(|e| invalid(&e))?;
    for op in reader.into_iter_with_offsets() {
        let (op, offset) = op.map_err(|e| invalid(&e))?;
        let (name, what) = match op {
            Operator::TableSet { .. } => ("table.set", "a table"),
            Operator::TableGrow { .. } => ("table.grow", "a table"),
            Operator::TableFill { .. } => ("table.fill", "a table"),
            Operator::TableCopy { .. } => ("table.copy", "a table"),
            Operator::TableInit { .. } => ("table.init", "a table"),
            Operator::ElemDrop { .. } => ("elem.drop", "a segment"),
            Operator::MemoryInit { .. } => {
                ("memory.init", "a passive segment, which may be dropped")
            }
            Operator::DataDrop { .. } => ("data.drop", "a segment"),
            _ => continue,
        };
        let verb = if name == "memory.init" { "copies from" } else { "changes" };
        return Err(Refusal::new(
            format!("`{name}` {verb} {what}: a checkpoint could not hold that"),
            match what {
                "a table" => {
                    "fill tables by element segments, and choose among functions by `call_indirect`"
                }
                _ => "use active segments, which are in memory from the start",
            },
        )
        .at(offset));
    }
    Ok(())
}
