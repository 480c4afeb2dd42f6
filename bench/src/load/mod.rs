//! A load generator for any 9P2000.L server: blocking, one thread, raw frames.
//!
//! It is nobody's client. It shares no code with the servers that it measures (the
//! frames are written here, byte by byte), does for each of them exactly the same,
//! and believes no answer: a type, a tag, a length or a sample of the content that
//! is not what it must be ends the measurement. What it does per request is as
//! little as that allows, so that what is measured is the server.

pub mod content;
pub mod echo;
pub mod frame;
pub mod link;
pub mod work;
pub mod works;
