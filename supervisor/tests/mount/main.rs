//! Mounts by FUSE, made by the real `atoll` in namespaces of their own.
//!
//! Every test runs its script as root of a new user, mount and process namespace
//! (`unshare`): so it needs no rights, nothing is mounted on the host, and when the
//! namespace's first process ends, killed or not, all that was in it is gone. What needs
//! a second user runs in namespaces of real root. A test that cannot run here says why.

#[path = "../e2e/fixture.rs"]
#[allow(dead_code)] // what other tests need
mod fixture;
mod guest;
mod inside;
mod kernel;
mod life;
mod table;
mod tree;
mod users;
