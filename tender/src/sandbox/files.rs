//! Landlock: no file, no network address, no other process.
//!
//! What the running kernel knows of it is used; what it does not is said.

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetError,
    RulesetStatus, Scope,
};

/// Denies all that Landlock can deny. Says what the kernel does not enforce.
pub(super) fn deny() -> Result<Option<String>, RulesetError> {
    let abi = ABI::V6;
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))?
        .handle_access(AccessNet::from_all(abi))?
        .scope(Scope::from_all(abi))?
        .create()?
        .restrict_self()?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => None,
        RulesetStatus::PartiallyEnforced => {
            Some("sandbox: landlock is enforced in part only by this kernel".into())
        }
        RulesetStatus::NotEnforced => {
            Some("sandbox: landlock is not enforced, this kernel has none; seccomp is".into())
        }
    })
}
