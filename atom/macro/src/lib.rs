//! The attribute `#[atom]`: from an `impl` block with marked functions to the exports
//! of a module and its section `atoll.files`.
//!
//! `parse.rs` reads the marks into a list of handlers, `write.rs` writes one match over
//! all events. There is nothing else in it: what happens at run time is in `atoll-atom`,
//! where it can be read.
#![forbid(unsafe_code)]

mod parse;
mod write;

use proc_macro::TokenStream;

/// Makes an atom of an `impl` block.
///
/// The block belongs to the type of the atom's state. Functions in it are marked by
/// what they handle; those without a mark are ordinary ones.
///
/// | mark | the function | handles |
/// |---|---|---|
/// | `#[start]` | `fn(Params<'_>) -> Result<Self>` | makes the state; without one, `Default` does |
/// | `#[begin]` | `async fn(This<Self>)` | the main thread, begun with the state |
/// | `#[text]` | `fn(&self) -> T`, `T: Display` | a file that shows this, its last line ended; `#[text("name")]` where it is not the function's |
/// | `#[command(ctl)]` | `fn(&mut self, words...)` | a command to the file `ctl`: the function's name is the verb, or `#[command(ctl, "verb")]`; a last `&str` or `String` takes the rest of the line |
/// | `#[list(dir)]` | `fn(&self, &mut Names)` | the names in the directory `dir` |
/// | `#[get(dir)]` | `fn(&self, &str) -> Result<Vec<u8>>` | an entry of it |
/// | `#[put(dir)]` | `fn(&mut self, &str, &[u8])` | an entry that was written |
/// | `#[remove(dir)]` | `fn(&mut self, &str)` | an entry that is removed |
/// | `#[on_message]` | `fn(&mut self, M)` or `fn(&mut self, Component, M)` | a message; `&[u8]` and `Vec<u8>` are bytes, others postcard |
/// | `#[on_ask]` | the same, `-> R` | a question: what it gives is the reply. With a parameter of type `Token` it replies itself |
/// | `#[on_interrupt(N)]` | `fn(&mut self)` or `fn(&mut self, i64)` | interrupt N |
/// | `#[on_watched(file)]` | `fn(&mut self, bool)` | an event file that has readers now, or none |
///
/// Each may give a `Result` (of that name) or what would be in it; nothing is `Ok(())`. An
/// error refuses the event: nothing that was asked for happens, but the state is as the
/// function left it.
///
/// Instead of `&mut self` a function may take `This<Self>`, and must if it is an
/// `async fn` (one of those may handle anything but texts, lists and entries that are
/// read). It then runs to its first await, and the event is done; a command has
/// succeeded then, an ask is replied to when the function ends.
///
/// Files with lines are declared in the attribute, with the bytes that they keep:
/// `#[atom(events(changes = 4096), next(ticks = 512))]`. They are constants of the type,
/// `Self::CHANGES.emit(..)`.
#[proc_macro_attribute]
pub fn atom(args: TokenStream, item: TokenStream) -> TokenStream {
    parse::atom(args.into(), item.into())
        .and_then(|atom| write::atom(&atom))
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}
