//! `new`: a guest to begin with.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use atoll_builder::files;
use atoll_config::kinds::{KINDS, Type};
use atoll_config::rules;
use atoll_config::text::show_span;

use super::Context;

mod atom;

/// Begin a guest: a folder with a commented guest.toml that builds right away, and a page.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask new weather && cargo xtask run weather
  cargo xtask new --atom tally && cargo xtask run tally    with an atom in Rust")]
pub(crate) struct New {
    /// The guest's name: a to z, 0 to 9 and -.
    name: String,
    /// Where to put it; images/NAME else.
    folder: Option<PathBuf>,
    /// With an atom, a Rust package in its folder `atom`, instead of a built-in component.
    #[arg(long)]
    atom: bool,
}

impl New {
    pub(crate) fn run(self, cx: &Context) -> Result<ExitCode> {
        if let Err(why) = rules::guest_name(&self.name) {
            bail!("`{}` is no name for a guest: {why}", self.name);
        }
        let folder = self.folder.unwrap_or_else(|| cx.repo.path("images").join(&self.name));
        let file = folder.join("guest.toml");
        if file.exists() {
            bail!("{} is there already; choose another name or folder", cx.repo.show(&file));
        }
        let text = if self.atom {
            if let Err(why) = rules::item_name(&self.name) {
                bail!("`{}` is no name for an atom: {why}", self.name);
            }
            let package = folder.join("atom");
            if package.exists() {
                bail!("{} is there already; choose another folder", cx.repo.show(&package));
            }
            for (path, text) in atom::package(&self.name, &cx.repo.path("atom")) {
                files::write_atomically(&package.join(path), text.as_bytes())?;
            }
            atom::skeleton(&self.name)
        } else {
            skeleton(&self.name)
        };
        files::write_atomically(&file, text.as_bytes())?;
        let page = folder.join("README.md");
        if !page.exists() {
            files::write_atomically(&page, readme(&self.name).as_bytes())?;
        }
        let shown = cx.repo.show(&folder);
        cx.ui.step("Made", format_args!("{}", cx.repo.show(&file)));
        cx.ui.step("Next", format_args!("cargo xtask run {shown}"));
        println!("{}", file.display());
        Ok(ExitCode::SUCCESS)
    }
}

/// A page to begin with, for every guest in images/ has one.
fn readme(name: &str) -> String {
    format!("# {name}\n\nWhat it is for.\n\n```console\n$ cargo xtask run {name}\n```\n")
}

fn skeleton(name: &str) -> String {
    let mut text = format!(
        r#"# A guest. `cargo xtask check`, `plan`, `build` and `run` take this file.

[guest]
name = "{name}"
version = "1"               # free text of one line
memory = "4MiB"             # of its machine: 2MiB to 3GiB
#platforms = ["qemu"]       # where it may run; everywhere when not given
#on_fault = "stop"          # a component that fails ends the guest ("restart": it is made anew)

# What it may use at one time. These follow from its memory when not given.
#[sponsor]
#memory = "512KiB"          # in messages, event streams and answers
#messages = 256
#sessions = 16              # clients
#fids = 256                 # open files of one client

# A file that never changes, at export/motd.
[[file]]
path = "motd"
text = "This is {name}.\n"
#source = "files/motd"      # or a file beside this one

# A component; its files are at export/greeter/.
[[component]]
name = "greeter"
kind = "greeter"
[component.params]
name = "{name}"

# A tree of somebody else's, bound at launch: atoll run IMAGE --export data=DIR
#[[import]]
#name = "data"
#at = "/data"

# Which components' files clients may write to; all when not given.
#[export]
#write = ["greeter"]

# The kinds of components, with their parameters and defaults:
"#
    );
    for kind in KINDS.iter().filter(|k| !k.test_only) {
        text += &format!("#   {}: {}\n", kind.name, kind.about);
        for p in kind.params {
            let default = match p.ty {
                Type::Int { default, .. } => default.map(|n| n.to_string()),
                Type::Text { default, .. } => default.map(|t| format!("{t:?}")),
                Type::Span { default, .. } => default.map(|n| format!("{:?}", show_span(n))),
            };
            text +=
                &format!("#     {} = {}   {}\n", p.name, default.unwrap_or("…".into()), p.about);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use atoll_config::text::{NoFiles, parse};

    #[test]
    fn what_new_writes_is_correct_as_it_is() {
        let guest = parse("guest.toml", &skeleton("weather-2"), &mut NoFiles).unwrap();
        assert_eq!(guest.name, "weather-2");
        assert_eq!(guest.components.len(), 1);
    }

    #[test]
    fn what_it_leaves_commented_out_is_correct_too() {
        let text = skeleton("w").replace("\n#source", "\n# ");
        let uncommented: String = text
            .lines()
            .map(|l| match l.strip_prefix('#') {
                Some(rest) if !rest.starts_with(' ') => format!("{rest}\n"),
                _ => format!("{l}\n"),
            })
            .collect();
        let guest = parse("guest.toml", &uncommented, &mut NoFiles).unwrap();
        assert_eq!(guest.imports.len(), 1);
    }
}
