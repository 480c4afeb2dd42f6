//! What a person sees: progress on stderr, data on stdout, colours only where
//! they are wanted.

use std::io::IsTerminal;

/// How much is said, and how.
#[derive(Clone, Copy, Debug)]
pub struct Ui {
    /// Nothing but errors.
    pub quiet: bool,
    /// Details too.
    pub verbose: bool,
    /// Whether stderr takes colours.
    pub colours: bool,
}

impl Ui {
    /// For a person at a terminal, or for whatever else stderr is.
    pub fn new(quiet: bool, verbose: bool) -> Ui {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
            && std::env::var_os("TERM").is_none_or(|v| v != "dumb");
        Ui { quiet, verbose, colours: wanted && std::io::stderr().is_terminal() }
    }

    /// A line of progress: a word, and what it is about.
    pub fn step(&self, word: &str, about: impl std::fmt::Display) {
        if !self.quiet {
            eprintln!("{} {about}", self.bold(&format!("{word:>12}")));
        }
    }

    /// A line for those who asked for details.
    pub fn detail(&self, about: impl std::fmt::Display) {
        if self.verbose {
            eprintln!("{:>12} {about}", "");
        }
    }

    /// The text in bold, where there are colours.
    pub fn bold(&self, text: &str) -> String {
        self.paint("1;32", text)
    }

    /// The text in a colour, where there are colours.
    pub fn paint(&self, code: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Says what went wrong. A report is drawn, with carets.
    pub fn error(&self, e: &anyhow::Error) {
        use atoll_config::text::BadGuest;
        match e.downcast_ref::<BadGuest>() {
            Some(BadGuest::Report(report)) => {
                eprint!("{}", report.render(self.colours, 100));
                eprintln!("{} {report}; nothing was built", self.paint("1;31", "error:"));
            }
            _ => eprintln!("{} {e:#}", self.paint("1;31", "error:")),
        }
    }
}
