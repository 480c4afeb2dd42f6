//! The configuration as it is written: the right keys and types, nothing more.

use std::ops::Range;

use toml::Spanned;
use toml::de::DeTable;

use super::diag::Problem;
use super::walk::{Scalar, Walk};

pub(super) type Text = Spanned<String>;

#[derive(Debug, Default)]
pub(super) struct Raw {
    pub(super) guest: Guest,
    pub(super) sponsor: Sponsor,
    pub(super) files: Vec<File>,
    pub(super) components: Vec<Component>,
    pub(super) atoms: Vec<Atom>,
    pub(super) imports: Vec<Import>,
    pub(super) write: Option<Vec<Text>>,
}

#[derive(Debug, Default)]
pub(super) struct Guest {
    /// Where the table is; the start of the file when there is none.
    pub(super) span: Range<usize>,
    pub(super) name: Option<Text>,
    pub(super) version: Option<Text>,
    pub(super) memory: Option<Spanned<Scalar>>,
    pub(super) platforms: Option<Spanned<Vec<Text>>>,
    pub(super) on_fault: Option<Text>,
    pub(super) test: bool,
}

#[derive(Debug, Default)]
pub(super) struct Sponsor {
    pub(super) memory: Option<Spanned<Scalar>>,
    pub(super) messages: Option<Spanned<Scalar>>,
    pub(super) sessions: Option<Spanned<Scalar>>,
    pub(super) fids: Option<Spanned<Scalar>>,
}

#[derive(Debug)]
pub(super) struct File {
    pub(super) span: Range<usize>,
    pub(super) path: Option<Text>,
    pub(super) text: Option<Text>,
    pub(super) source: Option<Text>,
}

#[derive(Debug)]
pub(super) struct Component {
    pub(super) span: Range<usize>,
    pub(super) name: Option<Text>,
    pub(super) kind: Option<Text>,
    pub(super) params: Vec<(Text, Spanned<Scalar>)>,
}

#[derive(Debug)]
pub(super) struct Atom {
    pub(super) span: Range<usize>,
    pub(super) name: Option<Text>,
    pub(super) path: Option<Text>,
    pub(super) memory: Option<Spanned<Scalar>>,
    pub(super) stack: Option<Spanned<Scalar>>,
    pub(super) deadline: Option<Spanned<Scalar>>,
    pub(super) params: Vec<(Text, Spanned<Scalar>)>,
}

#[derive(Debug)]
pub(super) struct Import {
    pub(super) span: Range<usize>,
    pub(super) name: Option<Text>,
    pub(super) at: Option<Text>,
}

/// Reads the text. None when it is not TOML at all; then `problems` says where.
pub(super) fn read(text: &str, problems: &mut Vec<Problem>) -> Option<Raw> {
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        // After a syntax error the rest of the table is guesswork: further
        // problems would be consequences, not causes.
        problems.extend(errors.iter().map(|e| {
            Problem::new(e.span().unwrap_or(0..0), format!("not TOML: {}", e.message()))
                .help("the syntax of TOML is described at https://toml.io")
        }));
        return None;
    }
    let mut top = Walk::new("guest.toml", 0..0, table.get_ref(), problems);
    let raw = Raw {
        guest: top.table("guest", guest).unwrap_or_default(),
        sponsor: top.table("sponsor", sponsor).unwrap_or_default(),
        files: top.tables("file", file),
        components: top.tables("component", component),
        atoms: top.tables("atom", atom),
        imports: top.tables("import", import),
        write: top.table("export", export).flatten(),
    };
    top.finish();
    Some(raw)
}

fn guest(mut t: Walk<'_, '_, '_>) -> Guest {
    let guest = Guest {
        span: t.span.clone(),
        name: t.text("name"),
        version: t.text("version"),
        memory: t.scalar("memory"),
        platforms: t.texts("platforms"),
        on_fault: t.text("on_fault"),
        test: t.flag("test").is_some_and(|f| *f.get_ref()),
    };
    t.finish();
    guest
}

fn sponsor(mut t: Walk<'_, '_, '_>) -> Sponsor {
    let sponsor = Sponsor {
        memory: t.scalar("memory"),
        messages: t.scalar("messages"),
        sessions: t.scalar("sessions"),
        fids: t.scalar("fids"),
    };
    t.finish();
    sponsor
}

fn file(mut t: Walk<'_, '_, '_>) -> File {
    let file = File {
        span: t.span.clone(),
        path: t.text("path"),
        text: t.text("text"),
        source: t.text("source"),
    };
    t.finish();
    file
}

fn component(mut t: Walk<'_, '_, '_>) -> Component {
    let component = Component {
        span: t.span.clone(),
        name: t.text("name"),
        kind: t.text("kind"),
        params: t.table("params", |params| params.open()).unwrap_or_default(),
    };
    t.finish();
    component
}

fn atom(mut t: Walk<'_, '_, '_>) -> Atom {
    let atom = Atom {
        span: t.span.clone(),
        name: t.text("name"),
        path: t.text("path"),
        memory: t.scalar("memory"),
        stack: t.scalar("stack"),
        deadline: t.scalar("deadline"),
        params: t.table("params", |params| params.open()).unwrap_or_default(),
    };
    t.finish();
    atom
}

fn import(mut t: Walk<'_, '_, '_>) -> Import {
    let import = Import { span: t.span.clone(), name: t.text("name"), at: t.text("at") };
    t.finish();
    import
}

fn export(mut t: Walk<'_, '_, '_>) -> Option<Vec<Text>> {
    let write = t.texts("write").map(Spanned::into_inner);
    t.finish();
    write
}
