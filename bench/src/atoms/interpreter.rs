//! The work in an interpreter, wasmi: the same module, in a process of its own, with as
//! much of a runtime around it as it asks for.

use std::path::Path;

use anyhow::{Context, Result, bail};
use wasmi::{Caller, Engine, Linker, Memory, Module, Store};

use super::worker;

/// The word on the command line that makes this program the peer.
pub const WASMI: &str = "__wasmi";

/// Kinds of `invoke` (atom/ABI.md, section 4).
const MESSAGE: i32 = 2;
const COMMAND: i32 = 5;

/// What the atom is told and says.
#[derive(Default)]
struct Told {
    memory: Option<Memory>,
    line: Vec<u8>,
    /// Messages to itself that wait.
    sent: u32,
    said: Vec<u8>,
}

/// Runs the work in this module.
pub fn run(wasm: &Path) -> Result<()> {
    let engine = Engine::default();
    let module = Module::new(&engine, &std::fs::read(wasm)?[..])?;
    let mut store = Store::new(&engine, Told::default());
    let mut linker = Linker::new(&engine);
    linker.func_wrap("atoll", "me", || 0i32)?;
    linker.func_wrap("atoll", "send", |mut c: Caller<'_, Told>, _: i32, _: i32, _: i32| {
        c.data_mut().sent += 1;
        0i32
    })?;
    linker.func_wrap("atoll", "recv", |mut c: Caller<'_, Told>, to: i32, cap: i32, _: i32| {
        let line = c.data().line.clone();
        let n = line.len().min(cap as usize);
        match c.data().memory.map(|m| m.write(&mut c, to as usize, &line[..n])) {
            Some(Ok(())) => n as i32,
            _ => -14,
        }
    })?;
    linker.func_wrap("atoll", "emit", |mut c: Caller<'_, Told>, _: i32, at: i32, len: i32| {
        let mut line = vec![0; len as usize];
        match c.data().memory.map(|m| m.read(&c, at as usize, &mut line)) {
            Some(Ok(())) => {
                c.data_mut().said = line;
                0
            }
            _ => -14i32,
        }
    })?;
    let instance = linker.instantiate_and_start(&mut store, &module)?;
    store.data_mut().memory = instance.get_memory(&store, "memory");
    let invoke = instance.get_typed_func::<(i32, i64, i32), i32>(&store, "invoke")?;
    worker::serve(|what, n| {
        let line = format!("{what} {n}").into_bytes();
        let len = line.len() as i32;
        store.data_mut().line = line;
        let mut outcome = invoke.call(&mut store, (COMMAND, 0, len))?;
        while outcome >= 0 && store.data().sent > 0 {
            store.data_mut().sent -= 1;
            outcome = invoke.call(&mut store, (MESSAGE, 0, 0))?;
        }
        if outcome < 0 {
            bail!("the module refuses: {outcome}");
        }
        let said = String::from_utf8(std::mem::take(&mut store.data_mut().said))?;
        u64::from_str_radix(&said, 16).context("the module says no number")
    })
}
