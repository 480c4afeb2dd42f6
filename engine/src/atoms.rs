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
use core::fmt;

use atoll_9p::fault::{Blame, Errno, Fault};
use atoll_runtime::component::Component;
use atoll_runtime::engine::{AtomLimits, Engine};
use wasmtime::{ExternType, InstancePre, Linker, Module, UnknownImportError, ValType};

use crate::atom::Atom;
use crate::calls;
use crate::config::{COMPILER, CPU, MAX_STACK, config};
use crate::guard::{Code, Guard};
use crate::memory::Track;
use crate::state::State;

/// A module's machine code, as an image holds it.
#[derive(Clone, Copy, Debug)]
pub struct Aot<'c> {
    /// What made it: [`COMPILER`].
    pub compiler: &'c str,
    /// What it runs on: [`CPU`].
    pub cpu: &'c str,
    /// BLAKE3 of `bytes`.
    pub hash: [u8; 32],
    /// What `compile` gave.
    pub bytes: &'c [u8],
}

/// Why a module's code is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadError {
    /// Another compiler made it, or the same with other settings.
    Compiler(String),
    /// It is for another kind of processor.
    Cpu(String),
    /// The bytes are not those that were compiled.
    Hash,
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
            LoadError::Cpu(c) => write!(f, "its code is for {c:?}, not for {CPU}"),
            LoadError::Hash => f.write_str("its code is damaged: its hash is another"),
            LoadError::Stack(n) => {
                write!(f, "it wants {n} bytes of stack; {MAX_STACK} are the most")
            }
            LoadError::Import(i) => write!(f, "it imports {i}, which is not to be had here"),
            LoadError::Export(e) => write!(f, "it does not export {e} as an atom must"),
            LoadError::Code(why) => write!(f, "its code is not taken: {why}"),
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
    pub(crate) code: Code,
    pub(crate) machine: Rc<Machine>,
}

/// The atoms' engine: give it the modules of a payload in their order.
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

    /// Loads the next module. Its atoms may use so many bytes of stack.
    ///
    /// # Safety
    /// With feature `bare` the bytes are used in place: they must begin at a page, live
    /// as long as anything that was made here, and be changed by nobody. Whoever built
    /// the image is believed that the code was compiled from Wasm: the hash
    /// only tells that it is what he wrote.
    pub unsafe fn load(&mut self, aot: &Aot<'_>, stack: u64) -> Result<(), LoadError> {
        if aot.compiler != COMPILER {
            return Err(LoadError::Compiler(aot.compiler.to_string()));
        }
        if aot.cpu != CPU {
            return Err(LoadError::Cpu(aot.cpu.to_string()));
        }
        if *blake3::hash(aot.bytes).as_bytes() != aot.hash {
            return Err(LoadError::Hash);
        }
        if stack == 0 || stack > MAX_STACK as u64 {
            return Err(LoadError::Stack(stack));
        }
        let said = |e: wasmtime::Error| LoadError::Code(alloc::format!("{e:#}"));
        let linker = self.linker(stack).map_err(said)?;
        // SAFETY: passed on to the caller; the bytes are those that he meant.
        let module = unsafe { module(linker.engine(), aot.bytes) }.map_err(said)?;
        fits(&module)?;
        let pre = linker.instantiate_pre(&module).map_err(|e| match e.downcast_ref() {
            Some::<&UnknownImportError>(i) => {
                LoadError::Import(alloc::format!("{}.{}", i.module(), i.name()))
            }
            None => said(e),
        })?;
        let engine = linker.engine().clone();
        let functions = module.functions().map(|f| (f.offset as u32, (f.offset + f.len) as u32));
        let code = Code::new(module.text(), functions.collect())
            .ok_or_else(|| LoadError::Code("there is no tripwire in it".to_string()))?;
        self.modules.push(Rc::new(Loaded { engine, pre, code, machine: self.machine.clone() }));
        Ok(())
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

/// Checks what a module exports.
fn fits(module: &Module) -> Result<(), LoadError> {
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
            return Err(LoadError::Export(name));
        }
    }
    match module.get_export("memory") {
        Some(ExternType::Memory(m)) if !m.is_shared() && !m.is_64() => Ok(()),
        _ => Err(LoadError::Export("memory")),
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
