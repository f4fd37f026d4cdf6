//! Docker's shapes of what vswitch has besides networks: containers, events, the daemon itself (`api/types` of moby 28).
//! Fields that cannot mean anything here are there with the value that Docker gives to "nothing", since its clients
//! take them for granted.

pub mod archive;
pub mod container;
pub mod create;
pub mod event;
pub mod exec;
pub mod image;
pub mod system;
pub mod usage;
pub mod volume;
