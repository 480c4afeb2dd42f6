//! The modules that are loaded, and how atoms are made of them.
//!
//! Machine code is taken whole or refused with the reason: it must be of our own
//! compiler, for this processor, and be the bytes that its hash stands for. (wasmtime
//! trusts what is in it; the image that it comes from says whose it is.)

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;

use atoll_9p::fault::{Blame, Errno, Fault};
use atoll_config::atom::{FileKind, ModuleFile};
use atoll_config::code::Code;
use atoll_config::payload::Payload;
use atoll_runtime::component::Component;
use atoll_runtime::engine::{AtomLimits, Engine};
use wasmtime::{ExternType, InstancePre, Linker, Module, UnknownImportError, ValType};

use crate::atom::Atom;
use crate::calls;
use crate::config::{COMPILER, CPU, MAX_STACK, config};
use crate::guard::{self, Guard};
use crate::memory::Track;
use crate::pool::Pool;
use crate::state::State;

/// Why the code of an image's modules is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadError {
    /// Another compiler made it, or the same with other settings.
    Compiler(String),
    /// It is for another kind of processor.
    Cpu(String),
    /// The bytes are not those that were compiled.
    Hash,
    /// One of the modules: its name, and what is wrong with it.
    Module(String, BadModule),
}

/// Why the code of a module is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadModule {
    /// There is none.
    Missing,
    /// It wants more stack than there is for an atom.
    Stack(u64),
    /// It imports what there is not.
    Import(String),
    /// What it should export is not there, or is of another type.
    Export(&'static str),
    /// wasmtime does not take it.
    Code(String),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::Compiler(c) => {
                write!(f, "its code was made by {c:?}, not by {COMPILER}: build the image again")
            }
            LoadError::Cpu(c) => write!(f, "its code is for processor {c:?}, not for {CPU}"),
            LoadError::Hash => f.write_str("its code is damaged: its hash is another"),
            LoadError::Module(name, why) => write!(f, "module {name}: {why}"),
        }
    }
}

impl fmt::Display for BadModule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadModule::Missing => f.write_str("the image has no code of it"),
            BadModule::Stack(n) => {
                write!(f, "it wants {n} bytes of stack; {MAX_STACK} are the most")
            }
            BadModule::Import(i) => write!(f, "it imports {i}, which is not to be had here"),
            BadModule::Export(e) => write!(f, "it does not export {e} as an atom must"),
            BadModule::Code(why) => write!(f, "its code is not taken: {why}"),
        }
    }
}

impl core::error::Error for LoadError {}

/// What a machine gives to its atoms.
pub struct Machine {
    /// Its watchdog.
    pub guard: Arc<dyn Guard>,
    /// Finds out what changes in a memory.
    pub track: Box<dyn Fn() -> Box<dyn Track>>,
    /// Adds to [`config`] what only the machine knows.
    pub config: fn(&mut wasmtime::Config),
}

/// A module that is loaded.
pub(crate) struct Loaded {
    pub(crate) engine: wasmtime::Engine,
    pub(crate) pre: InstancePre<State>,
    pub(crate) code: guard::Code,
    /// The files that take lines: bit n is file n.
    pub(crate) events: u64,
    pub(crate) machine: Rc<Machine>,
    pub(crate) pool: RefCell<Pool>,
}

/// The atoms' engine, for one payload.
pub struct Atoms {
    machine: Rc<Machine>,
    /// One for each size of stack, which is a setting of wasmtime's engine.
    engines: Vec<(u64, Linker<State>)>,
    modules: Vec<Rc<Loaded>>,
}

/// Results and parameters of the exports (ABI, section 2). The first is an i32 where
/// there is one.
const EXPORTS: [(&str, &[ValType], bool, bool); 5] = {
    use ValType::{I32, I64};
    [
        ("atoll_abi", &[], true, true),
        ("invoke", &[I32, I64, I32], true, true),
        ("interrupt", &[I32, I64, I32], true, false),
        ("future", &[I64, I32, I32], true, false),
        ("_initialize", &[], false, false),
    ]
};

impl Atoms {
    /// An engine without modules.
    pub fn new(machine: Machine) -> Atoms {
        Atoms { machine: Rc::new(machine), engines: Vec::new(), modules: Vec::new() }
    }

    /// Loads the modules of a payload, all or none.
    ///
    /// # Safety
    /// With feature `bare` the code is used in place: it must begin at a page, live as
    /// long as anything that was made here, and be changed by nobody; and the host that
    /// put it there is believed that it is whole. Whoever built the image is believed that
    /// the code was compiled from Wasm: the hash only tells that it is what he wrote.
    pub unsafe fn load(&mut self, payload: &Payload<'_>, code: &Code<'_>) -> Result<(), LoadError> {
        if code.compiler() != COMPILER {
            return Err(LoadError::Compiler(code.compiler().to_string()));
        }
        if code.level() != CPU {
            return Err(LoadError::Cpu(code.level().to_string()));
        }
        #[cfg(feature = "std")]
        if !code.intact() {
            return Err(LoadError::Hash);
        }
        let mut modules = Vec::new();
        for (place, module) in payload.modules.iter().enumerate() {
            let bad = |why| LoadError::Module(module.name.to_string(), why);
            let atoms = payload.components.iter();
            let atoms = atoms.filter(|c| c.module.is_some_and(|m| m as usize == place));
            let stack = atoms.map(|c| c.limits.stack).max().unwrap_or(MAX_STACK as u64);
            let bytes = code.find(&module.hash).ok_or_else(|| bad(BadModule::Missing))?;
            // SAFETY: passed on to the caller.
            let mut loaded = unsafe { self.load_one(bytes, stack) }.map_err(bad)?;
            for (_, bit) in module.files.iter().zip(0..u64::BITS).filter(|(f, _)| takes_lines(f)) {
                loaded.events |= 1 << bit;
            }
            modules.push(Rc::new(loaded));
        }
        self.modules = modules;
        Ok(())
    }

    unsafe fn load_one(&mut self, bytes: &[u8], stack: u64) -> Result<Loaded, BadModule> {
        if stack == 0 || stack > MAX_STACK as u64 {
            return Err(BadModule::Stack(stack));
        }
        let said = |e: wasmtime::Error| BadModule::Code(alloc::format!("{e:#}"));
        let machine = self.machine.clone();
        let linker = self.linker(stack).map_err(said)?;
        // SAFETY: passed on to the caller.
        let module = unsafe { module(linker.engine(), bytes) }.map_err(said)?;
        fits(&module)?;
        // At once: in a sandbox it could not be done any more.
        module.initialize_copy_on_write_image().map_err(said)?;
        let pre = linker.instantiate_pre(&module).map_err(|e| match e.downcast_ref() {
            Some::<&UnknownImportError>(i) => {
                BadModule::Import(alloc::format!("{}.{}", i.module(), i.name()))
            }
            None => said(e),
        })?;
        let engine = linker.engine().clone();
        let functions = module.functions().map(|f| (f.offset as u32, (f.offset + f.len) as u32));
        let code = guard::Code::new(module.text(), functions.collect())
            .ok_or_else(|| BadModule::Code("there is no tripwire in it".to_string()))?;
        Ok(Loaded { engine, pre, code, events: 0, machine, pool: RefCell::default() })
    }

    /// A module that was loaded.
    #[cfg(test)]
    pub(crate) fn module(&self, place: usize) -> Option<Rc<Loaded>> {
        self.modules.get(place).cloned()
    }

    fn linker(&mut self, stack: u64) -> wasmtime::Result<&Linker<State>> {
        let at = match self.engines.iter().position(|(s, _)| *s == stack) {
            Some(at) => at,
            None => {
                let mut c = config();
                c.max_wasm_stack(stack as usize);
                #[cfg(feature = "compile")]
                c.enable_compiler(false);
                (self.machine.config)(&mut c);
                let mut linker = Linker::new(&wasmtime::Engine::new(&c)?);
                calls::link(&mut linker)?;
                self.engines.push((stack, linker));
                self.engines.len() - 1
            }
        };
        Ok(&self.engines[at].1)
    }
}

/// A module from what `compile` gave.
#[cfg(feature = "std")]
unsafe fn module(engine: &wasmtime::Engine, bytes: &[u8]) -> wasmtime::Result<Module> {
    // The code is copied, so that nobody who can write the image's file can change it.
    // SAFETY: passed on to the caller.
    unsafe { Module::deserialize(engine, bytes) }
}

/// A module from what `compile` gave.
#[cfg(not(feature = "std"))]
unsafe fn module(engine: &wasmtime::Engine, bytes: &[u8]) -> wasmtime::Result<Module> {
    // SAFETY: passed on to the caller.
    unsafe { Module::deserialize_raw(engine, core::ptr::NonNull::from(bytes)) }
}

fn takes_lines(file: &ModuleFile<'_>) -> bool {
    matches!(file.kind, FileKind::Events { .. } | FileKind::Next { .. })
}

/// Checks what a module exports.
fn fits(module: &Module) -> Result<(), BadModule> {
    let is = |a: &ValType, b: &ValType| {
        matches!((a, b), (ValType::I32, ValType::I32) | (ValType::I64, ValType::I64))
    };
    for (name, params, result, must) in EXPORTS {
        let good = match module.get_export(name) {
            Some(ExternType::Func(f)) => {
                f.params().len() == params.len()
                    && f.params().zip(params).all(|(a, b)| is(&a, b))
                    && f.results().len() == usize::from(result)
                    && f.results().all(|r| is(&r, &ValType::I32))
            }
            Some(_) => false,
            None => !must,
        };
        if !good {
            return Err(BadModule::Export(name));
        }
    }
    match module.get_export("memory") {
        Some(ExternType::Memory(m)) if !m.is_shared() && !m.is_64() => Ok(()),
        _ => Err(BadModule::Export("memory")),
    }
}

impl Engine for Atoms {
    fn make(&self, module: usize, limits: &AtomLimits) -> Result<Box<dyn Component>, Fault> {
        let loaded = self.modules.get(module).ok_or_else(|| {
            Fault::new(Errno::ENOENT, "the image has no code of that module").blame(Blame::Operator)
        })?;
        Ok(Box::new(Atom::new(loaded.clone(), limits)?))
    }
}
