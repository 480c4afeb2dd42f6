//! `atoll`.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    atoll_supervisor::cli::main()
}
