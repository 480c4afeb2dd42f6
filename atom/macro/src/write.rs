//! Handlers as one match over all events.

use proc_macro2::{Literal, Span, TokenStream};
use quote::{format_ident, quote};
use syn::{Error, Ident, Result, Type};

use crate::parse::{Atom, Gives, Handler, Mark, Receiver, named};

pub(crate) fn atom(atom: &Atom) -> Result<TokenStream> {
    let (block, ty) = (&atom.block, &atom.block.self_ty);
    let mut lines = String::new();
    let mut constants = Vec::new();
    for (at, file) in atom.files.iter().enumerate() {
        lines += &match file.keep {
            Some(keep) => format!("{} {} {keep}\n", file.kind, file.name),
            None => format!("{} {}\n", file.kind, file.name),
        };
        if file.keep.is_some() {
            let name = file.name.to_uppercase().replace(['-', '.'], "_");
            let name = Ident::new(&name, Span::call_site());
            let (at, doc) = (at as u32, format!("The file `{}`.", file.name));
            constants.push(quote! {
                #[doc = #doc]
                pub const #name: ::atoll_atom::Events = ::atoll_atom::Events(#at);
            });
        }
    }
    let start = start(atom)?;
    let begin = begin(atom)?;
    let arms = arms(atom)?;
    let commands = commands(atom)?;
    let bytes = Literal::byte_string(lines.as_bytes());
    let len = lines.len();
    let section = if lines.is_empty() { quote!() } else { quote!(#bytes, #len) };
    Ok(quote! {
        #block

        impl #ty {
            #(#constants)*
        }

        impl ::atoll_atom::Atom for #ty {
            const FILES: &'static str = #lines;

            fn start(params: ::atoll_atom::Params<'_>) -> ::atoll_atom::Result<Self> {
                #start
            }

            fn begin(this: &::atoll_atom::This<Self>) -> ::atoll_atom::Result<()> {
                #begin
            }

            fn event(
                this: &::atoll_atom::This<Self>,
                event: ::atoll_atom::Event<'_>,
            ) -> ::atoll_atom::Result<()> {
                match event {
                    #(#arms)*
                    #(#commands)*
                    ::atoll_atom::Event::Watched { .. }
                    | ::atoll_atom::Event::Interrupt { code: ::atoll_atom::abi::RESTORED, .. } => {
                        ::core::result::Result::Ok(())
                    }
                    _ => ::core::result::Result::Err(::atoll_atom::private::unknown()),
                }
            }
        }

        ::atoll_atom::exports!(#ty, #section);
    })
}

/// At most one handler of a kind.
fn only<'a>(atom: &'a Atom, what: &str, is: fn(&Mark) -> bool) -> Result<Option<&'a Handler>> {
    let mut all = atom.handlers.iter().filter(|h| is(&h.mark));
    let first = all.next();
    match all.next() {
        None => Ok(first),
        Some(h) => Err(Error::new(h.name.span(), format!("a second handler for {what}"))),
    }
}

fn start(atom: &Atom) -> Result<TokenStream> {
    let Some(h) = only(atom, "start", |m| matches!(m, Mark::Start))? else {
        return Ok(quote! {
            let _ = params;
            ::core::result::Result::Ok(::core::default::Default::default())
        });
    };
    let name = &h.name;
    let call = match h.args.len() {
        0 => quote!({ let _ = params; Self::#name() }),
        1 => quote!(Self::#name(params)),
        _ => return Err(Error::new(name.span(), "#[start] fn(Params<'_>) -> Result<Self>")),
    };
    Ok(match h.gives {
        Gives::Result(_) => call,
        _ => quote!(::core::result::Result::Ok(#call)),
    })
}

fn begin(atom: &Atom) -> Result<TokenStream> {
    let Some(h) = only(atom, "begin", |m| matches!(m, Mark::Begin))? else {
        return Ok(quote! {
            let _ = this;
            ::core::result::Result::Ok(())
        });
    };
    takes(h, 0, "#[begin] async fn(This<Self>)")?;
    Ok(run(h, &[], &done()))
}

/// The handler takes so many arguments.
fn takes(h: &Handler, n: usize, usage: &str) -> Result<()> {
    if h.args.len() == n { Ok(()) } else { Err(Error::new(h.name.span(), usage)) }
}

fn done() -> TokenStream {
    quote! {{
        let () = value;
        ::core::result::Result::Ok(())
    }}
}

/// The handler's value: its call, and `?` where it may fail.
fn value(h: &Handler, args: &[TokenStream]) -> TokenStream {
    let name = &h.name;
    let call = match h.receiver {
        Receiver::State => quote!(this.with(|me| Self::#name(me, #(#args),*))),
        Receiver::This if h.waits => quote!(Self::#name(this, #(#args),*)),
        Receiver::This => quote!(Self::#name(this.clone(), #(#args),*)),
        Receiver::Nothing => quote!(Self::#name(#(#args),*)),
    };
    let call = if h.waits { quote!(#call.await) } else { call };
    match h.gives {
        Gives::Result(_) => quote!(#call?),
        _ => call,
    }
}

/// Runs a handler: an expression of type `Result<()>`. `then` is one too, and uses
/// `value`.
fn run(h: &Handler, args: &[TokenStream], then: &TokenStream) -> TokenStream {
    let value = value(h, args);
    if h.waits {
        return quote! {{
            let this = this.clone();
            ::atoll_atom::private::wait(async move {
                let value = #value;
                #then
            })
        }};
    }
    quote! {{
        let value = #value;
        #then
    }}
}

fn arms(atom: &Atom) -> Result<Vec<TokenStream>> {
    only(atom, "messages", |m| matches!(m, Mark::Message))?;
    only(atom, "asks", |m| matches!(m, Mark::Ask))?;
    let mut arms = Vec::new();
    for h in &atom.handlers {
        arms.push(match &h.mark {
            Mark::Start | Mark::Begin | Mark::Command(..) => continue,
            Mark::Text(file) => {
                takes(h, 0, "#[text] fn(&self) -> T")?;
                let body = run(h, &[], &quote!(::atoll_atom::private::answer(value)));
                quote!(::atoll_atom::Event::Read { file: #file } => #body)
            }
            Mark::List(file) => {
                takes(h, 1, "#[list(..)] fn(&self, &mut Names)")?;
                let body = run(h, &[quote!(names)], &done());
                quote! {
                    ::atoll_atom::Event::Names { file: #file, skip } => {
                        ::atoll_atom::private::names(skip, |names| #body)
                    }
                }
            }
            Mark::Get(file) => {
                takes(h, 1, "#[get(..)] fn(&self, &str) -> Result<Vec<u8>>")?;
                let then = quote! {
                    ::atoll_atom::private::answer_bytes(::core::convert::AsRef::<[u8]>::as_ref(&value))
                };
                let body = run(h, &[quote!(name)], &then);
                quote!(::atoll_atom::Event::Get { file: #file, name } => #body)
            }
            Mark::Put(file) => {
                takes(h, 2, "#[put(..)] fn(&mut self, &str, &[u8])")?;
                let args = [quote!(name), quote!(data)];
                let body = run(h, &args, &done());
                quote! {
                    ::atoll_atom::Event::Put { file: #file, name, data } => {
                        let name = ::core::convert::Into::into(name);
                        let data = ::core::convert::Into::into(data);
                        #body
                    }
                }
            }
            Mark::Remove(file) => {
                takes(h, 1, "#[remove(..)] fn(&mut self, &str)")?;
                let body = run(h, &[quote!(name)], &done());
                quote! {
                    ::atoll_atom::Event::Remove { file: #file, name } => {
                        let name = ::core::convert::Into::into(name);
                        #body
                    }
                }
            }
            Mark::Message => {
                let (decode, args) = message(h)?;
                let body = run(h, &args, &done());
                quote!(::atoll_atom::Event::Message { from, body } => { let _ = from; #decode #body })
            }
            Mark::Ask => ask(h)?,
            Mark::Interrupt(code) => {
                let args = if h.args.is_empty() { vec![] } else { vec![quote!(arg)] };
                takes(h, args.len(), "#[on_interrupt(N)] fn(&mut self, i64)")?;
                let body = run(h, &args, &done());
                quote! {
                    ::atoll_atom::Event::Interrupt { code, arg } if code == (#code) => {
                        let _ = arg;
                        #body
                    }
                }
            }
            Mark::Watched(file) => {
                takes(h, 1, "#[on_watched(..)] fn(&mut self, bool)")?;
                let body = run(h, &[quote!(on)], &done());
                quote!(::atoll_atom::Event::Watched { file: #file, on } => #body)
            }
        });
    }
    Ok(arms)
}

fn is_bytes(ty: &Type) -> bool {
    let of = |inner: &Type| named(inner).is_some_and(|(name, _)| name == "u8");
    match ty {
        Type::Reference(r) => matches!(&*r.elem, Type::Slice(s) if of(&s.elem)),
        _ => named(ty).is_some_and(|(name, t)| name == "Vec" && t.is_some_and(of)),
    }
}

/// What makes `body` the message that the handler takes, and the handler's arguments.
fn message(h: &Handler) -> Result<(TokenStream, Vec<TokenStream>)> {
    let (mut decode, mut args) = (None, Vec::new());
    for (_, ty) in &h.args {
        args.push(match named(ty) {
            Some((name, _)) if name == "Component" => quote!(from),
            Some((name, _)) if name == "Token" => quote!(token),
            _ => {
                let body = if is_bytes(ty) {
                    quote!(::core::convert::Into::into(body))
                } else {
                    quote!(::atoll_atom::decode(body)?)
                };
                if decode.replace(quote!(let message: #ty = #body;)).is_some() {
                    return Err(Error::new(h.name.span(), "one message is one value"));
                }
                quote!(message)
            }
        });
    }
    let what = "a handler of messages takes one, and before it, if it likes, a Component";
    decode.map(|d| (d, args)).ok_or_else(|| Error::new(h.name.span(), what))
}

fn ask(h: &Handler) -> Result<TokenStream> {
    let (decode, args) = message(h)?;
    let by_hand = h.args.iter().any(|(_, t)| named(t).is_some_and(|(name, _)| name == "Token"));
    let body = if by_hand {
        run(h, &args, &done())
    } else {
        let raw = match &h.gives {
            Gives::Nothing => false,
            Gives::Value(ty) => is_bytes(ty),
            Gives::Result(ty) => ty.as_ref().is_some_and(|ty| is_bytes(ty)),
        };
        let encoded = if raw { quote!(value) } else { quote!(::atoll_atom::encode(&value)?) };
        let value = value(h, &args);
        if h.waits {
            quote! {{
                let this = this.clone();
                ::atoll_atom::private::wait_and_reply(token, async move {
                    let value = #value;
                    ::core::result::Result::Ok(#encoded)
                })
            }}
        } else {
            quote! {{
                let value = #value;
                token.reply(::core::result::Result::Ok(&#encoded))
            }}
        }
    };
    Ok(quote! {
        ::atoll_atom::Event::Ask { from, token, body } => {
            let _ = (from, token);
            #decode
            #body
        }
    })
}

/// How a command is written: its verb and the names of its arguments.
fn usage(h: &Handler, verb: &str) -> String {
    let args =
        h.args.iter().map(|(name, _)| format!(" {}", name.trim_start_matches('_').to_uppercase()));
    verb.to_owned() + &args.collect::<String>()
}

fn commands(atom: &Atom) -> Result<Vec<TokenStream>> {
    let mut arms = Vec::new();
    for (at, _) in atom.files.iter().enumerate().filter(|(_, f)| f.kind == "ctl") {
        let at = at as u32;
        let mut verbs: Vec<(&str, &Handler)> = Vec::new();
        for h in &atom.handlers {
            if let Mark::Command(file, verb) = &h.mark
                && *file == at
            {
                if verbs.iter().any(|(v, _)| v == verb) {
                    return Err(Error::new(h.name.span(), format!("a second handler for {verb}")));
                }
                verbs.push((verb, h));
            }
        }
        let all: Vec<String> = verbs.iter().map(|(verb, h)| usage(h, verb)).collect();
        let all = all.join(" | ");
        let cases = verbs.iter().map(|(verb, h)| command(h, verb));
        arms.push(quote! {
            ::atoll_atom::Event::Command { file: #at, line } => {
                let (verb, mut rest) = ::atoll_atom::private::verb(line);
                match verb {
                    #(#cases)*
                    _ => ::core::result::Result::Err(::atoll_atom::private::misused(#all)),
                }
            }
        });
    }
    Ok(arms)
}

fn command(h: &Handler, verb: &str) -> TokenStream {
    let usage = usage(h, verb);
    let mut lets = Vec::new();
    let mut args = Vec::new();
    let mut open = false;
    for (i, (_, ty)) in h.args.iter().enumerate() {
        let arg = format_ident!("arg{i}");
        let is_str = matches!(ty, Type::Reference(_));
        let is_text = is_str || named(ty).is_some_and(|(name, _)| name == "String");
        let word = if is_text && i + 1 == h.args.len() {
            open = true;
            quote! {{
                let _ = &mut rest;
                rest
            }}
        } else {
            quote!(::atoll_atom::private::word(&mut rest, #usage)?)
        };
        let value = if is_text {
            quote!(::core::convert::Into::into(#word))
        } else {
            quote!(::atoll_atom::private::value(#word, #usage)?)
        };
        lets.push(quote!(let #arg: #ty = #value;));
        args.push(quote!(#arg));
    }
    if !open {
        lets.push(quote! {
            let _ = &mut rest;
            ::atoll_atom::private::end(rest, #usage)?;
        });
    }
    let body = run(h, &args, &done());
    quote! {
        #verb => {
            #(#lets)*
            #body
        }
    }
}
