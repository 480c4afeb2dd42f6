//! 9P.
#![no_std]
