//! The only unsafe code of vswitch: one syscall family a file, a safe function around each call.

pub mod packet;
pub mod tap;
