//! Marks and signatures as a list of handlers.

use proc_macro2::{Span, TokenStream};
use syn::parse::{Parse, ParseStream, Parser};
use syn::spanned::Spanned;
use syn::{
    Attribute, Error, Expr, FnArg, GenericArgument, Ident, ImplItem, ItemImpl, LitInt, LitStr, Pat,
    PathArguments, ReceiverKind, Result, ReturnType, Signature, Token, Type,
};

/// The most files of a module, and bytes that one keeps (ABI.md, sections 2 and 7).
const FILES: usize = 64;
const KEEP: u32 = 1 << 20;

/// An atom as it is declared.
pub(crate) struct Atom {
    /// The block, without the marks.
    pub(crate) block: ItemImpl,
    pub(crate) files: Vec<File>,
    pub(crate) handlers: Vec<Handler>,
}

pub(crate) struct File {
    pub(crate) kind: &'static str,
    pub(crate) name: String,
    /// Of event files.
    pub(crate) keep: Option<u32>,
}

/// What a function is marked with. Numbers are files.
pub(crate) enum Mark {
    Start,
    Begin,
    Text(u32),
    Command(u32, String),
    List(u32),
    Get(u32),
    Put(u32),
    Remove(u32),
    Message,
    Ask,
    Interrupt(Box<Expr>),
    Watched(u32),
}

/// How a function gets at the state.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Receiver {
    /// `&self`, `&mut self`
    State,
    /// `This<Self>`
    This,
    Nothing,
}

/// What a function gives.
pub(crate) enum Gives {
    Nothing,
    Value(Box<Type>),
    /// A `Result` of this; none where the type was not written out.
    Result(Option<Box<Type>>),
}

pub(crate) struct Handler {
    pub(crate) mark: Mark,
    pub(crate) name: Ident,
    pub(crate) waits: bool,
    pub(crate) receiver: Receiver,
    pub(crate) args: Vec<(String, Type)>,
    pub(crate) gives: Gives,
}

/// A file's name: an identifier or a string.
struct Name(String, Span);

impl Parse for Name {
    fn parse(input: ParseStream<'_>) -> Result<Name> {
        let (name, span) = if input.peek(LitStr) {
            let lit: LitStr = input.parse()?;
            (lit.value(), lit.span())
        } else {
            let ident: Ident = input.parse()?;
            (ident.to_string(), ident.span())
        };
        let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
        if name.is_empty() || name.len() > 63 || name.starts_with('.') || !name.bytes().all(good) {
            let what = "a file's name has a to z, 0 to 9, '.', '_' and '-', 1 to 63 of them, \
                        and does not begin with '.'";
            return Err(Error::new(span, what));
        }
        Ok(Name(name, span))
    }
}

pub(crate) fn atom(args: TokenStream, item: TokenStream) -> Result<Atom> {
    let mut block: ItemImpl = syn::parse2(item)?;
    if block.trait_.is_some() || !block.generics.params.is_empty() {
        return Err(Error::new(block.span(), "an atom is an `impl` block of one plain type"));
    }
    let mut files = Vec::new();
    let attribute = |input: ParseStream<'_>| event_files(input, &mut files);
    attribute.parse2(args)?;
    let mut handlers = Vec::new();
    for item in &mut block.items {
        let ImplItem::Fn(function) = item else { continue };
        let mut marks = Vec::new();
        let mut rest = Vec::new();
        for attr in function.attrs.drain(..) {
            match mark(&attr, &function.sig, &mut files)? {
                Some(mark) => marks.push(mark),
                None => rest.push(attr),
            }
        }
        function.attrs = rest;
        for mark in marks {
            handlers.push(handler(mark, &function.sig)?);
        }
    }
    Ok(Atom { block, files, handlers })
}

/// `events(a = 4096, b = 64), next(c = 512)`
fn event_files(input: ParseStream<'_>, files: &mut Vec<File>) -> Result<()> {
    while !input.is_empty() {
        let kind: Ident = input.parse()?;
        let kind = match kind.to_string().as_str() {
            "events" => "events",
            "next" => "next",
            _ => return Err(Error::new(kind.span(), "events(NAME = BYTES) or next(NAME = BYTES)")),
        };
        let list;
        syn::parenthesized!(list in input);
        while !list.is_empty() {
            let name: Name = list.parse()?;
            list.parse::<Token![=]>()?;
            let keep: LitInt = list.parse()?;
            let bytes = keep.base10_parse().ok().filter(|b| (1..=KEEP).contains(b));
            let bytes = bytes.ok_or_else(|| Error::new(keep.span(), "1 to 1048576 bytes"))?;
            file(files, kind, name, Some(bytes))?;
            if !list.is_empty() {
                list.parse::<Token![,]>()?;
            }
        }
        if !input.is_empty() {
            input.parse::<Token![,]>()?;
        }
    }
    Ok(())
}

/// The place of a file; a new one if there was none.
fn file(files: &mut Vec<File>, kind: &'static str, name: Name, keep: Option<u32>) -> Result<u32> {
    let Name(name, span) = name;
    if let Some(at) = files.iter().position(|f| f.name == name) {
        // Several commands make one ctl, several functions a directory.
        if files[at].kind == kind && matches!(kind, "ctl" | "names") {
            return Ok(at as u32);
        }
        return Err(Error::new(span, format!("there is a file {name} already")));
    }
    if files.len() == FILES {
        return Err(Error::new(span, "an atom has at most 64 files"));
    }
    files.push(File { kind, name, keep });
    Ok(files.len() as u32 - 1)
}

fn mark(attr: &Attribute, sig: &Signature, files: &mut Vec<File>) -> Result<Option<Mark>> {
    let Some(ident) = attr.path().get_ident() else { return Ok(None) };
    let own = || Name(sig.ident.to_string(), sig.ident.span());
    Ok(Some(match ident.to_string().as_str() {
        "start" => Mark::Start,
        "begin" => Mark::Begin,
        "text" => {
            let name = match attr.meta.require_path_only() {
                Ok(_) => own(),
                Err(_) => attr.parse_args()?,
            };
            Mark::Text(file(files, "text", name, None)?)
        }
        "command" => {
            let (name, verb) = attr.parse_args_with(|input: ParseStream<'_>| {
                let name: Name = input.parse()?;
                let verb = if input.is_empty() {
                    own().0
                } else {
                    input.parse::<Token![,]>()?;
                    input.parse::<LitStr>()?.value()
                };
                Ok((name, verb))
            })?;
            if verb.is_empty() || verb.contains(char::is_whitespace) {
                return Err(Error::new(attr.span(), "a verb is one word"));
            }
            Mark::Command(file(files, "ctl", name, None)?, verb)
        }
        "list" => Mark::List(file(files, "names", attr.parse_args()?, None)?),
        "get" => Mark::Get(file(files, "names", attr.parse_args()?, None)?),
        "put" => Mark::Put(file(files, "names", attr.parse_args()?, None)?),
        "remove" => Mark::Remove(file(files, "names", attr.parse_args()?, None)?),
        "on_message" => Mark::Message,
        "on_ask" => Mark::Ask,
        "on_interrupt" => Mark::Interrupt(Box::new(attr.parse_args()?)),
        "on_watched" => {
            let Name(name, span) = attr.parse_args()?;
            let at = files.iter().position(|f| f.keep.is_some() && f.name == name);
            let what = "no such file in #[atom(events(..), next(..))]";
            Mark::Watched(at.ok_or_else(|| Error::new(span, what))? as u32)
        }
        _ => return Ok(None),
    }))
}

/// The last name of a type's path, and what is in its first angle brackets.
pub(crate) fn named(ty: &Type) -> Option<(String, Option<&Type>)> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last()?;
    let inner = match &last.arguments {
        PathArguments::AngleBracketed(list) => list.args.iter().find_map(|a| match a {
            GenericArgument::Type(t) => Some(t),
            _ => None,
        }),
        _ => None,
    };
    Some((last.ident.to_string(), inner))
}

fn handler(mark: Mark, sig: &Signature) -> Result<Handler> {
    let mut receiver = Receiver::Nothing;
    let mut args = Vec::new();
    for (i, input) in sig.inputs.iter().enumerate() {
        match input {
            FnArg::Receiver(me) if matches!(me.kind, ReceiverKind::Reference(..)) => {
                receiver = Receiver::State
            }
            FnArg::Receiver(me) => {
                return Err(Error::new(me.span(), "&self, &mut self or this: This<Self>"));
            }
            FnArg::Typed(arg) => {
                if i == 0 && named(&arg.ty).is_some_and(|(name, _)| name == "This") {
                    receiver = Receiver::This;
                    continue;
                }
                let name = match &*arg.pat {
                    Pat::Ident(ident) => ident.ident.to_string(),
                    _ => String::from("arg"),
                };
                args.push((name, (*arg.ty).clone()));
            }
        }
    }
    let waits = sig.asyncness.is_some();
    if waits {
        let what = "an async handler outlives its event: it takes this: This<Self> and values of \
                    its own, no references";
        let borrows = args.iter().find(|(_, ty)| matches!(ty, Type::Reference(_)));
        if receiver == Receiver::State || borrows.is_some() {
            return Err(Error::new(sig.span(), what));
        }
        if matches!(mark, Mark::Start | Mark::Text(_) | Mark::List(_) | Mark::Get(_)) {
            return Err(Error::new(sig.span(), "a reader is answered at once: no async here"));
        }
    } else if matches!(mark, Mark::Begin) {
        return Err(Error::new(sig.span(), "the main thread is an async fn(This<Self>)"));
    }
    let gives = match &sig.output {
        ReturnType::Default => Gives::Nothing,
        ReturnType::Type(_, ty) => match named(ty) {
            Some((name, inner)) if name == "Result" => {
                Gives::Result(inner.map(|t| Box::new(t.clone())))
            }
            _ => Gives::Value(ty.clone()),
        },
    };
    Ok(Handler { mark, name: sig.ident.clone(), waits, receiver, args, gives })
}
