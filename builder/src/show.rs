//! Payloads, manifests and segments as text and as JSON, for the verbs that
//! print what was generated.

use std::fmt::Write;

use atoll_config::atom::{FileKind, ModuleFile};
use atoll_config::image::Segment;
use atoll_config::kinds;
use atoll_config::payload::{Component, OnFault, Payload, Value};
use atoll_config::text::{show_size, show_span};
use serde_json::{Value as Json, json};

/// A payload as JSON.
pub fn payload_json(p: &Payload<'_>) -> Json {
    let component = |c: &Component<'_>| {
        let kind = kinds::find(c.kind);
        if let Some(module) = c.module {
            return atom_json(c, p, module);
        }
        let names = kind.into_iter().flat_map(|k| k.params).map(|p| p.name);
        let params: serde_json::Map<_, _> =
            names.zip(&c.params).map(|(n, v)| (n.to_owned(), value_json(v))).collect();
        json!({ "name": c.name, "kind": c.kind, "state_version": c.state_version, "params": params })
    };
    json!({
        "name": p.name,
        "version": p.version,
        "memory": p.memory,
        "on_fault": on_fault(p.on_fault),
        "sponsor": {
            "memory": p.budget.memory, "messages": p.budget.messages,
            "sessions": p.budget.sessions, "fids": p.budget.fids,
        },
        "files": p.files.iter()
            .map(|f| json!({ "path": f.path, "bytes": f.data.len() })).collect::<Vec<_>>(),
        "components": p.components.iter().map(component).collect::<Vec<_>>(),
        "imports": p.imports.iter()
            .map(|i| json!({ "name": i.name, "at": i.at })).collect::<Vec<_>>(),
        "writable": p.writable,
        "modules": p.modules.iter().map(|m| json!({
            "name": m.name, "hash": m.hash.to_string(), "wasm": m.wasm.len(),
            "files": m.files.iter().map(file_text).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
    })
}

fn atom_json(c: &Component<'_>, p: &Payload<'_>, module: u32) -> Json {
    json!({
        "name": c.name, "kind": c.kind, "state_version": c.state_version,
        "module": p.modules.get(module as usize).map(|m| m.name),
        "params": told(c),
        "memory": c.limits.memory, "stack": c.limits.stack,
        "deadline": show_span(c.limits.deadline_ns),
    })
}

/// What an atom is told at its start.
fn told<'a>(c: &Component<'a>) -> &'a str {
    match c.params[..] {
        [Value::Text(text)] => text,
        _ => "",
    }
}

/// A module's file as the module declares it.
fn file_text(f: &ModuleFile<'_>) -> String {
    match f.kind {
        FileKind::Text => format!("text {}", f.name),
        FileKind::Ctl => format!("ctl {}", f.name),
        FileKind::Events { keep } => format!("events {} {keep}", f.name),
        FileKind::Next { keep } => format!("next {} {keep}", f.name),
        FileKind::Names => format!("names {}", f.name),
    }
}

fn value_json(v: &Value<'_>) -> Json {
    match v {
        Value::Int(n) => json!(n),
        Value::Text(t) => json!(t),
        Value::Bool(b) => json!(b),
        Value::Span(n) => json!(show_span(*n)),
    }
}

fn on_fault(f: OnFault) -> &'static str {
    match f {
        OnFault::Restart => "restart",
        OnFault::Stop => "stop",
        OnFault::Restore => "restore",
    }
}

/// A payload as text, one record a line.
pub fn payload_text(p: &Payload<'_>) -> String {
    let mut out = String::new();
    let b = &p.budget;
    let lines = [
        format!("guest     {} version {}", p.name, p.version),
        format!("memory    {}", show_size(p.memory)),
        format!("on_fault  {}", on_fault(p.on_fault)),
        format!(
            "sponsor   memory {} messages {} sessions {} fids {}",
            show_size(b.memory),
            b.messages,
            b.sessions,
            b.fids
        ),
    ];
    let files =
        p.files.iter().map(|f| format!("file      export/{} {} bytes", f.path, f.data.len()));
    let components = p.components.iter().map(|c| {
        if let Some(module) = c.module {
            let of = p.modules.get(module as usize).map_or("?", |m| m.name);
            let params: String = told(c).lines().map(|l| format!(" {}", l.replacen(' ', "=", 1))).collect();
            let (memory, stack) = (show_size(c.limits.memory), show_size(c.limits.stack));
            let deadline = show_span(c.limits.deadline_ns);
            return format!(
                "atom      export/{}/ module {of} ABI {} memory {memory} stack {stack} deadline {deadline}{params}",
                c.name, c.state_version
            );
        }
        let names = kinds::find(c.kind).into_iter().flat_map(|k| k.params).map(|p| p.name);
        let params = names.zip(&c.params).map(|(n, v)| format!(" {n}={}", value_json(v)));
        let params: String = params.collect();
        format!("component export/{}/ kind {} state {}{params}", c.name, c.kind, c.state_version)
    });
    let imports = p.imports.iter().map(|i| format!("import    {} at {}", i.name, i.at));
    let writable = p.writable.iter().map(|w| format!("writable  export/{w}"));
    let modules = p.modules.iter().map(|m| {
        let files: Vec<_> = m.files.iter().map(file_text).collect();
        let hash = &m.hash.to_string()[..16];
        format!("module    {} {hash} {} bytes of Wasm: {}", m.name, m.wasm.len(), files.join(", "))
    });
    let all = lines.into_iter().chain(files).chain(components).chain(modules);
    for line in all.chain(imports).chain(writable) {
        let _ = writeln!(out, "{line}");
    }
    out
}

/// Segments as JSON.
pub fn segments_json<'a>(segments: impl Iterator<Item = (&'static str, &'a Segment)>) -> Json {
    segments
        .map(|(name, s)| {
            json!({
                "segment": name, "mode": s.mode(), "address": format!("{:#x}", s.paddr),
                "virtual": format!("{:#x}", s.vaddr), "offset": s.offset,
                "bytes": s.filesz, "memory": s.memsz,
            })
        })
        .collect()
}

/// Segments as text: where they are in memory and in the file.
pub fn segments_text<'a>(segments: impl Iterator<Item = (&'static str, &'a Segment)>) -> String {
    let mut out = format!(
        "{:<9} mode {:>10} {:>10} {:>9} {:>9}\n",
        "segment", "from", "to", "bytes", "offset"
    );
    for (name, s) in segments {
        let (from, to) = match s.memsz {
            0 => ("-".to_owned(), "-".to_owned()),
            n => (format!("{:#x}", s.paddr), format!("{:#x}", s.paddr + n)),
        };
        let _ = writeln!(
            out,
            "{name:<9} {:<4} {from:>10} {to:>10} {:>9} {:>9}",
            s.mode(),
            s.filesz,
            s.offset
        );
    }
    out
}

/// Bytes as a hexdump; of long ones the first and last lines.
pub fn hexdump(bytes: &[u8], all: bool) -> String {
    let lines: Vec<String> = bytes
        .chunks(16)
        .enumerate()
        .map(|(i, chunk)| {
            let hex: String = chunk.iter().map(|b| format!("{b:02x} ")).collect();
            let text: String = chunk
                .iter()
                .map(|b| if b.is_ascii_graphic() || *b == b' ' { *b as char } else { '.' })
                .collect();
            format!("{:06x}  {hex:<48} {text}\n", i * 16)
        })
        .collect();
    match lines.len() {
        n if n > 12 && !all => {
            let left = n - 10;
            format!(
                "{}        … {left} lines, shown with -v\n{}",
                lines[..8].concat(),
                lines[n - 2..].concat()
            )
        }
        _ => lines.concat(),
    }
}
